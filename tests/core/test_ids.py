"""Identifiers: ordered, opaque, and refused when they are not ours."""

import base64
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.core import ids
from cdp.core.ids import InvalidGlobalId, global_id, parse_global_id


def test_new_ids_are_version_seven_and_ascend():
    made = [ids.new_id() for _ in range(2_000)]
    assert all(one.version == 7 for one in made)
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@given(st.from_regex(r"[A-Z][A-Za-z]{0,30}", fullmatch=True), st.uuids())
def test_a_global_id_goes_both_ways(type_name: str, row_id: UUID):
    opaque = global_id(type_name, row_id)
    assert parse_global_id(opaque) == (type_name, row_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", opaque)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "=",
        "ü",
        "customer",
        "A" * 10_000,
        _encoded("Customer:"),
        _encoded("Customer:1"),
        _encoded("Customer:{0192b3c4-0000-7000-8000-000000000000}"),
        _encoded("Customer:0192B3C4-0000-7000-8000-000000000000"),
        _encoded("Customer:0192b3c4000070008000000000000000"),
        _encoded("Customer:0192b3c4-0000-7000-8000-000000000000 "),
        _encoded("Kunde\u00fc:0192b3c4-0000-7000-8000-000000000000"),
        _encoded("Customer:0192b3c4-0000-7000-8000-000000000000") + "\n",
        _encoded("Customer:0192b3c4-0000-7000-8000-000000000000") + "====",
    ],
)
def test_what_is_no_id_is_refused(value: str):
    with pytest.raises(InvalidGlobalId) as refusal:
        parse_global_id(value)
    assert refusal.value.code == "INVALID_ID"


def test_an_id_has_one_spelling():
    row_id = UUID("0192b3c4-0000-7000-8000-00000000000f")
    opaque = global_id("Abc", row_id)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twins = [opaque[:-1] + letter for letter in alphabet if letter != opaque[-1]]
    accepted = []
    for twin in twins:
        try:
            accepted.append(parse_global_id(twin))
        except InvalidGlobalId:
            continue
    assert ("Abc", row_id) not in accepted


def test_an_id_of_another_type_is_refused():
    opaque = global_id("Order", ids.new_id())
    assert parse_global_id(opaque, expected="Order")[0] == "Order"
    with pytest.raises(InvalidGlobalId):
        parse_global_id(opaque, expected="Customer")


def test_references_can_be_read_aloud():
    made = {ids.new_reference("ER") for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"ER-[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}", reference) for reference in made)


def test_tokens_carry_256_bits():
    assert {len(base64.urlsafe_b64decode(ids.new_token() + "=")) for _ in range(50)} == {32}
