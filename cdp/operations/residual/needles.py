"""What is looked for: the strong identifiers of an erased person, in the forms in which texts hold them.

Strong means that it can hardly be anybody else's: an e-mail address, a phone number, a name to sign in with, an id of
another system, an address line together with the name. A bare name, a short word or a short number is not looked for in
texts, since it would be found everywhere; ``weak`` counts them, so that the addendum can say so.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize
from uuid import UUID

from phonenumbers import NumberParseException, parse

from cdp.operations.subjects import Person
from cdp.tables.customer import IdentityType

ADDRESS = "address"
# What stays together in an address, a name to sign in with or an id; everything else parts words.
_KEPT = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz_@.+-")
_APART = bytes(byte if byte in _KEPT or byte >= 0x80 else 0x20 for byte in range(256))
# These belong to a word only inside of it.
_EDGES = tuple(edge for mark in (b".", b"-", b"+") for edge in (b" " + mark, mark + b" "))
_FOREIGN_MARKS = re.compile(r"[^\w\x00-\x7f]+")
PHONES = frozenset({IdentityType.PHONE.value})
NAMES = frozenset({IdentityType.EMAIL.value, IdentityType.USERNAME.value})
SHORTEST_NAME = 5
SHORTEST_NUMBER = 7
SHORTEST_LINE = 6
SHORTEST_NATIONAL = 8


@dataclass(frozen=True)
class Needle:
    """One form of one identifier. ``text`` is normalised; a row must hold one of ``beside`` too, where there are any.

    ``request_id`` is None for a canary.
    """

    request_id: UUID | None
    type: str
    text: str
    beside: tuple[str, ...] = ()

    @property
    def is_phone(self) -> bool:
        """Whether it is compared with digits alone."""
        return self.type in PHONES

    @property
    def anchor(self) -> bytes:
        """The longest word in it: texts without this one need no second look."""
        return max(words(self.text.encode()), key=len)


@dataclass(frozen=True)
class Sought:
    """What is looked for about one person: needles, how many identifiers of each type, and how many are too weak."""

    needles: tuple[Needle, ...]
    counts: Mapping[str, int]
    weak: int


def normal(text: str) -> str:
    """The form in which texts and needles are compared: case folded, accents joined, %40 and %2b as what they mean."""
    folded = text.casefold().replace("%40", "@").replace("%2b", "+")
    return folded if folded.isascii() else _FOREIGN_MARKS.sub(" ", normalize("NFC", folded))


def words(text: bytes) -> list[bytes]:
    """The words of a normalised text, in UTF-8: much faster than an expression would find them."""
    apart = b" " + text.translate(_APART) + b" "
    for _ in range(2):
        for edge in _EDGES:
            apart = apart.replace(edge, b" ")
    return apart.split()


def sought(request_id: UUID | None, person: Person) -> Sought:
    """What to look for about a person. An identifier known from two sources is one."""
    strong: set[Needle] = set()
    counts: Counter[str] = Counter()
    weak = 0
    for kind, value in sorted({(str(known.type), known.value) for known in person.identifiers}):
        forms = _phone_forms(value) if kind in PHONES else _forms(kind, value)
        strong |= {Needle(request_id, kind, form) for form in forms}
        counts[kind] += bool(forms)
        weak += not forms
    for line, names in person.homes:
        home = _home(request_id, line, names)
        strong |= {home} if home else set()
        counts[ADDRESS] += home is not None
        weak += home is None
    return Sought(tuple(strong), +counts, weak)


def _forms(kind: str, value: str) -> Sequence[str]:
    text = normal(value).strip()
    is_number = text.isdigit()
    has_mark = any(not letter.isalpha() for letter in text)
    if kind not in NAMES:
        has_mark = any(letter.isdigit() for letter in text)
    long_enough = len(text) >= (SHORTEST_NUMBER if is_number else SHORTEST_NAME)
    return [text] if long_enough and has_mark and words(text.encode()) else []


def _phone_forms(value: str) -> Sequence[str]:
    """A number's digits as people write them: with the country's code, with 0 instead of it, and with both."""
    digits = re.sub(r"\D", "", value)
    if len(digits) < SHORTEST_NUMBER:
        return []
    try:
        read = parse(value if value.startswith("+") else f"+{digits}")
    except NumberParseException:
        return [digits]
    code, national = str(read.country_code), str(read.national_number)
    forms = [f"{code}{national}", f"{code}0{national}", f"00{code}{national}"]
    return [*forms, f"0{national}"] if len(national) >= SHORTEST_NATIONAL else forms


def _home(request_id: UUID | None, line: str, names: Iterable[str]) -> Needle | None:
    text = " ".join(normal(line).split())
    beside = tuple(sorted({normal(name).strip() for name in names} - {""}))
    is_strong = len(text) >= SHORTEST_LINE and any(letter.isdigit() for letter in text) and not text.isdigit()
    return Needle(request_id, ADDRESS, text, beside) if is_strong and beside and words(text.encode()) else None
