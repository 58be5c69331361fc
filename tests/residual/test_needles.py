"""What is found in texts and what is not: strong identifiers in every spelling people use, never a bare name."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from cdp.connectors.base import Identifier
from cdp.core.ids import CustomerId, new_id
from cdp.operations.residual.haystack import CELL, OWNER_DIGITS, OWNER_LETTERS, ROW, Haystack, Place, Source, Stream
from cdp.operations.residual.needles import Needle, sought
from cdp.operations.subjects import Person

REQUEST = new_id()
OWNER = UUID("0190a0b0-1234-7222-8333-444455556666")
ADA = Person(
    CustomerId(new_id()),
    new_id(),
    (
        Identifier("email", "ada.o'hara+shop@example.com"),
        Identifier("email", "ada@example.com"),
        Identifier("phone", "+4915112345678"),
        Identifier("username", "ada.lovelace"),
        Identifier("customer_number", "KD-10029", "shop"),
        Identifier("cookie", "0b7e4c1d-9f00-4a5e-8a2f-77a1f0a1b2c3"),
    ),
    None,
    None,
    (("Storgatan 12 B", ("Ada Lovelace", "Lovelace")),),
)


def row(*cells: str, owner: UUID | None = OWNER, source: int = 0) -> str:
    whose = str(owner).translate(str.maketrans(OWNER_DIGITS, OWNER_LETTERS)) if owner else ""
    return f"{ROW}{source}{CELL}{whose}{''.join(CELL + cell for cell in cells)}"


def look(*rows: str, needles: Sequence[Needle] = sought(REQUEST, ADA).needles) -> Haystack:
    found = Haystack(needles, [Source("letter", ("subject", "body")), Source("order", ("note",))])
    found.look("".join(rows))
    return found


FOUND = {
    "email": "please write to Ada@Example.COM, thanks",
    "at the end of a sentence": "It is ada@example.com.",
    "in angle brackets": "Ada <ada@example.com>",
    "in typographic quotes": "„ada@example.com“ – she said",
    "in a link": "https://shop.example/unsubscribe?e=ada%40example.com&x=1",
    "in JSON": '{"to": ["ada@example.com"], "n": 1}',
    "after a dash": "contact:-ada@example.com",
    "an odd email": "mail from ada.o'hara+SHOP@example.com",
    "phone in digits": "4915112345678",
    "phone as written": "call +49 151 12345678 now",
    "phone with a zero in brackets": "+49 (0)151 / 123-456-78",
    "phone of the country": "0151 12345678",
    "phone after double zero": "0049.151.12345678",
    "phone beside a date": "2026-01-31 0151 12345678",
    "username": "user ada.lovelace signed in",
    "number of another system": "see kd-10029;",
    "cookie": "id=0B7E4C1D-9F00-4A5E-8A2F-77A1F0A1B2C3",
    "address with the name": "Ada LOVELACE, Storgatan  12 b, Lund",
}
NOT_FOUND = {
    "a bare name": "Ada Lovelace",
    "somebody else's email": "notada@example.com, ada@example.community, xada@example.com",
    "another phone": "+49 151 12345679",
    "a longer number": "94915112345678",
    "digits of two numbers": "15112345678",
    "a longer name": "ada.lovelace.junior",
    "a longer number of another system": "KD-100291",
    "the address of somebody else": "Bob Builder, Storgatan 12 B",
    "another house": "Ada Lovelace, Storgatan 12 Bis",
}


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found(name: str) -> None:
    found = look(row("Hello", "nothing"), row("Hello", FOUND[name]))
    assert {place for _, place in found.found} == {Place("letter", "body", OWNER)}
    assert sum(found.found.values()) == 1
    assert found.rows == 2


@pytest.mark.parametrize("name", NOT_FOUND)
def test_it_is_not_found(name: str) -> None:
    assert not look(row("Hello", NOT_FOUND[name]), row(NOT_FOUND[name], "")).found


@pytest.mark.parametrize("text", ["josé@example.com", "JOSÉ@example.com", "jose\u0301@example.com"])
def test_an_accent_is_the_same_joined_or_not(text: str) -> None:
    jose = Person(CustomerId(new_id()), new_id(), (Identifier("email", "josé@example.com"),), None, None)
    assert look(row("Hello", f"ask {text}"), needles=sought(REQUEST, jose).needles).found
    assert not look(row("Hello", "ask jose@example.com"), needles=sought(REQUEST, jose).needles).found


def test_whose_row_and_which_table() -> None:
    found = look(row("ada@example.com", "ada@example.com"), row("x ada@example.com", owner=None, source=1))
    assert {(place.table, place.column, place.customer_id) for _, place in found.found} == {
        ("letter", "subject", OWNER),
        ("letter", "body", OWNER),
        ("order", "note", None),
    }


def test_name_and_address_may_stand_in_different_columns() -> None:
    assert look(row("Lovelace", "Storgatan 12 B")).found
    assert not look(row("Lovelace", ""), row("Builder", "Storgatan 12 B")).found


def test_what_is_too_weak_is_counted_and_not_looked_for() -> None:
    weak = Person(
        CustomerId(new_id()),
        new_id(),
        tuple(
            Identifier(kind, value)
            for kind, value in (
                ("username", "elizabeth"),
                ("customer_number", "58"),
                ("customer_number", "123456"),
                ("phone", "112"),
                ("cookie", "abc"),
            )
        ),
        None,
        None,
        (("Home", ("Ada",)), ("12345678", ("Ada",)), ("Storgatan 12", ())),
    )
    found = sought(REQUEST, weak)
    assert (found.needles, dict(found.counts), found.weak) == ((), {}, 8)


def test_forms_of_one_identifier_count_once() -> None:
    assert dict(sought(REQUEST, ADA).counts) == {
        "address": 1,
        "cookie": 1,
        "customer_number": 1,
        "email": 2,
        "phone": 1,
        "username": 1,
    }


@pytest.mark.parametrize("size", [1, 7, 1000, 70_000, 131_072, 500_000])
def test_rows_are_whole_however_they_come(size: int) -> None:
    """Chunks end between rows, wherever the bytes of a COPY were cut, also inside a letter of several bytes."""
    rows = [row(f"subject ä{number}", "ö" * 900 + f" p{number}@example.org ") for number in range(300)]
    raw = "".join(rows).encode()
    stream, found = Stream(), look("", needles=[Needle(REQUEST, "email", f"p{n}@example.org") for n in range(300)])
    for start in range(0, len(raw), size):
        chunk = stream.feed(raw[start : start + size])
        if chunk is not None:
            found.look(chunk)
    rest = stream.rest()
    if rest is not None:
        found.look(rest)
    assert (len(found.found), found.rows) == (300, 300)
