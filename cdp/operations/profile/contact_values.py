"""Contacts as people type them, and the columns they become: e-mail address, phone number, postal address."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sqlalchemy import RowMapping

from cdp.operations import values
from cdp.tables.contact import AddressKind, PhoneKind


class ContactKind(StrEnum):
    """Kinds of contacts; the values are the names of their types in the API."""

    EMAIL = "EmailAddress"
    PHONE = "PhoneNumber"
    ADDRESS = "PostalAddress"


@dataclass(frozen=True)
class EmailValue:
    """An e-mail address as typed."""

    address: str


@dataclass(frozen=True)
class PhoneValue:
    """A phone number as typed; ``country`` reads national ones, otherwise the customer's country does."""

    number: str
    country: str | None = None
    kind: PhoneKind | None = None


@dataclass(frozen=True)
class AddressValue:
    """A postal address as typed."""

    kind: AddressKind
    line1: str
    recipient: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


ContactValue = EmailValue | PhoneValue | AddressValue
Columns = dict[str, str | None]


def kind_of(value: ContactValue) -> ContactKind:
    """The kind a typed value belongs to."""
    match value:
        case EmailValue():
            return ContactKind.EMAIL
        case PhoneValue():
            return ContactKind.PHONE
        case AddressValue():
            return ContactKind.ADDRESS
        case _:
            assert_never(value)


def columns_of(value: ContactValue, *, country: str | None) -> Columns:
    """Read a typed value into the columns of its table; ``country`` reads a national phone number.

    Raises the refusals of ``values``.
    """
    match value:
        case EmailValue(address):
            email = values.email(address)
            return {"address": email.address, "normalized": email.normalized}
        case PhoneValue(number, own_country, kind):
            phone = values.phone(number, country=values.country(own_country) if own_country else country)
            return {"number": phone.number, "e164": phone.e164, "kind": kind or phone.kind}
        case AddressValue():
            return _address_columns(value)
        case _:
            assert_never(value)


def _address_columns(value: AddressValue) -> Columns:
    def read(name: str, longest: int) -> str | None:
        typed: str | None = getattr(value, name)
        return values.optional(lambda v: values.text(v, name, longest=longest), typed)

    return {
        "kind": value.kind,
        "line1": values.text(value.line1, "line1", longest=200),
        "recipient": read("recipient", 200),
        "line2": read("line2", 200),
        "city": read("city", 100),
        "region": read("region", 100),
        "postal_code": read("postal_code", 20),
        "country": values.optional(values.country, value.country),
    }


def identifier(kind: ContactKind, columns: Mapping[str, object] | RowMapping) -> object:
    """What makes two contacts of a kind the same; addresses count as the same only when nothing differs."""
    match kind:
        case ContactKind.EMAIL:
            return columns["normalized"]
        case ContactKind.PHONE:
            return columns["e164"]
        case ContactKind.ADDRESS:
            names = ("kind", "recipient", "line1", "line2", "city", "region", "postal_code", "country")
            return tuple(columns[name] for name in names)
        case _:
            assert_never(kind)
