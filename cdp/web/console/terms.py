"""What an agent types into the search, and which lookups it can be: an address, a number, a reference, a name.

Everything but a name is matched exactly, as masked fields must be. A national phone number says no country, so it is
tried in every country's numbering plan where it is a valid one.
"""

import re
from dataclasses import dataclass
from uuid import UUID

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from cdp.core.ids import InvalidGlobalId, global_id, parse_global_id

LONGEST = 200
SHORTEST_NAME = 3
"""The index of names is made of groups of three letters."""
_REFERENCE = re.compile(r"[A-Za-z]{2}-[0-9A-Za-z]{4}-[0-9A-Za-z]{4}")
_NUMBER = re.compile(r"[^\s@]*\d[^\s@]*")
_PHONE = re.compile(r"\+?[\d\s()/.\-]{5,30}")


@dataclass(frozen=True)
class Terms:
    """What was typed, in the form each lookup wants it; empty where it can not be that."""

    email: str
    phones: list[str]
    name: str
    swapped: str
    number: list[str]
    reference: str
    id: str

    @property
    def variables(self) -> dict[str, object]:
        """Variables of the search document: the values, and which lookups take part."""
        return {
            "email": self.email,
            "phones": self.phones,
            "name": self.name,
            "swapped": self.swapped,
            "number": self.number,
            "reference": self.reference,
            "id": self.id or global_id("Customer", UUID(int=0)),
            "by_email": bool(self.email),
            "by_phone": bool(self.phones),
            "by_name": bool(self.name),
            "by_swapped": bool(self.swapped),
            "by_number": bool(self.number),
            "by_reference": bool(self.reference),
            "by_id": bool(self.id),
        }

    @property
    def is_anything(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self.email or self.phones or self.name or self.number or self.reference or self.id)


def read(typed: str) -> Terms:
    """Say what it can be."""
    text = " ".join(typed.replace("\0", "").split())[:LONGEST]
    row_id = _customer_id(text)
    reference = text.upper() if _REFERENCE.fullmatch(text) else ""
    is_number = bool(_NUMBER.fullmatch(text)) and not row_id
    is_other = bool("@" in text or row_id or reference or _PHONE.fullmatch(text))
    name = "" if is_other or len(text) < SHORTEST_NAME else text
    return Terms(
        email=text if "@" in text and " " not in text else "",
        phones=_phones(text) if not row_id else [],
        name=name.replace(",", ""),
        swapped=_swapped(name),
        number=sorted({text, text.upper()}) if is_number else [],
        reference=reference,
        id=row_id,
    )


def _customer_id(text: str) -> str:
    try:
        return global_id("Customer", UUID(text))
    except ValueError:
        pass
    try:
        parse_global_id(text, expected="Customer")
    except InvalidGlobalId:
        return ""
    return text


def _swapped(name: str) -> str:
    """Two words the other way round: an index card says the family name first."""
    words = name.replace(",", " ").split()
    return " ".join(reversed(words)) if len(words) == 2 else ""


def _phones(text: str) -> list[str]:
    """Every number in international form that this can be."""
    if not _PHONE.fullmatch(text) or sum(c.isdigit() for c in text) < 5:
        return []
    text = "+" + text[2:] if text.startswith("00") else text
    regions = [None] if text.startswith("+") else sorted(phonenumbers.SUPPORTED_REGIONS)
    found: set[str] = set()
    for region in regions:
        try:
            number = phonenumbers.parse(text, region)
        except NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            found.add(phonenumbers.format_number(number, PhoneNumberFormat.E164))
    return sorted(found)
