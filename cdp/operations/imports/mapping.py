"""What a mapping file may say: which columns of a source become which fields of a customer.

A mapping is YAML or JSON; ``docs/import.md`` shows every key. A section names its table or file (``from``), or a list
inside the records of an NDJSON file (``each``), whose rows know the record around them as ``parent.<column>``. A value
is the name of a column, or one of ``column``, ``constant``, ``join`` and ``first`` with options. The target decides the
form (country, phone, decimal, timestamp), so that a mapping only says what a source does unusually.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cdp.core.errors import InvalidInput
from cdp.operations.reference import MAIN_BRAND
from cdp.tables.contact import AddressKind, PhoneKind
from cdp.tables.customer import IdentityType

Scalar = str | int | float | bool


class MappingInvalid(InvalidInput):
    """The mapping file is not valid."""

    code = "MAPPING_INVALID"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Value(_Strict):
    """Where a value comes from: exactly one of column, constant, join or first; then the options."""

    column: str | None = Field(None, min_length=1)
    constant: Scalar | None = None
    join: tuple["Expression", ...] | None = Field(None, min_length=1)
    separator: str = " "
    first: tuple["Expression", ...] | None = Field(None, min_length=1)
    choices: dict[str, Scalar] | None = None
    present: Scalar | None = None
    absent: Scalar | None = None
    default: Scalar | None = None
    format: str | None = None
    zone: str | None = None
    decimal_mark: Literal[".", ","] = "."

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [name for name in ("column", "constant", "join", "first") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of column, constant, join, first")
        if (self.present is None) != (self.absent is None):
            raise ValueError("present and absent go together")
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("zone is not a time zone of the IANA database") from error
        return self

    def columns(self) -> Iterator[str]:
        """Every column this reads."""
        if self.column is not None:
            yield self.column
        for inner in (*(self.join or ()), *(self.first or ())):
            yield from inner.columns()


def _column_name(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


Expression = Annotated[Value, BeforeValidator(_column_name)]


class _Values(_Strict):
    """A group of targets; every field that holds a Value is one."""

    def targets(self) -> Iterator[tuple[str, Value]]:
        """The mapped targets by name."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Value):
                yield name, value


class CustomerFields(_Values):
    """Columns of the customer itself; ``kind`` is person unless mapped."""

    kind: Expression | None = None
    given_name: Expression | None = None
    family_name: Expression | None = None
    organisation_name: Expression | None = None
    country: Expression | None = None
    locale: Expression | None = None


class Identity(_Values):
    """An identifier by which the customer is known; numbers need to say whose they are."""

    type: IdentityType
    issuer: str = Field("", max_length=100)
    value: Expression

    @model_validator(mode="after")
    def _numbers_have_an_issuer(self) -> Self:
        if self.type in {IdentityType.CUSTOMER_NUMBER, IdentityType.COOKIE} and not self.issuer:
            raise ValueError("issuer is needed: a number means nothing without who gave it")
        return self


class Email(_Values):
    """An e-mail address; the first one of the list is primary unless the customer has one."""

    address: Expression
    verified_at: Expression | None = None


class Phone(_Values):
    """A phone number; ``country`` reads numbers without a country code."""

    number: Expression
    country: Expression | None = None
    kind: PhoneKind | None = None


class Address(_Values):
    """A postal address; there is none where ``line1`` is empty."""

    kind: AddressKind
    recipient: Expression | None = None
    line1: Expression
    line2: Expression | None = None
    city: Expression | None = None
    region: Expression | None = None
    postal_code: Expression | None = None
    country: Expression | None = None


class Preference(_Values):
    """A preference by name; stored as text, number or boolean."""

    key: str = Field(pattern=r"^[a-z][a-zA-Z0-9_.-]{0,99}$")
    value: Expression
    form: Literal["text", "number", "boolean"] = "text"


class OrderFields(_Values):
    """Columns of an order; ``total`` is the sum of the items unless mapped."""

    number: Expression
    kind: Expression | None = None
    status: Expression
    placed_at: Expression
    confirmed_at: Expression | None = None
    currency: Expression
    total: Expression | None = None
    purchase_order_number: Expression | None = None
    billing_name: Expression | None = None
    billing_line1: Expression | None = None
    billing_city: Expression | None = None
    billing_region: Expression | None = None
    billing_postal_code: Expression | None = None
    billing_country: Expression | None = None


class ItemFields(_Values):
    """Columns of an order's item; ``position`` counts the rows of the order unless mapped, ``quantity`` is 1."""

    position: Expression | None = None
    sku: Expression
    title: Expression
    quantity: Expression | None = None
    unit_price: Expression


class Lookup(_Strict):
    """Another table whose row is found by ``by`` = ``key`` and whose columns are then ``<name>.<column>``."""

    table: str = Field(alias="from", min_length=1)
    key: str = Field(min_length=1)
    by: str = Field(min_length=1)


class _Section(_Strict):
    table: str | None = Field(None, alias="from", min_length=1)
    each: tuple[str, ...] = ()
    lookups: dict[str, Lookup] = Field(default_factory=dict)

    def values(self) -> Iterator[tuple[str, Value]]:
        """Every value with its path inside the section."""
        for name in type(self).model_fields:
            part = getattr(self, name)
            for index, group in enumerate(part if isinstance(part, tuple) else (part,)):
                if isinstance(group, _Values):
                    place = f"{name}.{index}" if isinstance(part, tuple) else name
                    yield from ((f"{place}.{target}", value) for target, value in group.targets())


class Customers(_Section):
    """The source of customers: a table, a file of the folder, or the only file."""

    key: str = Field(min_length=1)
    fields: CustomerFields = Field(default_factory=CustomerFields)
    identities: tuple[Identity, ...] = Field(min_length=1)
    emails: tuple[Email, ...] = ()
    phones: tuple[Phone, ...] = ()
    addresses: tuple[Address, ...] = ()
    preferences: tuple[Preference, ...] = ()


class Orders(_Section):
    """The source of orders; ``customer`` is the column that holds their customer's key."""

    key: str = Field(min_length=1)
    customer: str = Field(min_length=1)
    fields: OrderFields


class Items(_Section):
    """The source of items; ``order`` is the column that holds their order's key."""

    order: str = Field(min_length=1)
    fields: ItemFields


class Files(_Strict):
    """How files are written where they differ from comma-separated UTF-8."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8-sig"


class Mapping(_Strict):
    """One mapping file."""

    version: Literal[1]
    name: str = Field(min_length=1, max_length=200, pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    brand: str = MAIN_BRAND
    files: Files = Field(default_factory=Files)
    customers: Customers
    orders: Orders | None = None
    items: Items | None = None

    @model_validator(mode="after")
    def _items_have_orders(self) -> Self:
        if self.items is not None and self.orders is None:
            raise ValueError("items need orders")
        if self.orders is not None and self.orders.fields.total is None and self.items is None:
            raise ValueError("orders.fields.total is needed where there are no items to add up")
        return self

    def sections(self) -> Iterator[tuple[str, Customers | Orders | Items]]:
        """The sections that are there, by name, parents first."""
        yield "customers", self.customers
        if self.orders is not None:
            yield "orders", self.orders
        if self.items is not None:
            yield "items", self.items


@dataclass(frozen=True)
class MappingFile:
    """A valid mapping and the hash of the file it was read from."""

    mapping: Mapping
    sha256: str


def read(path: Path) -> MappingFile:
    """Read a mapping file. Raises MappingInvalid; ``errors`` in its extensions names every path that is wrong."""
    try:
        raw = path.read_bytes()
        document = yaml.safe_load(raw.decode())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MappingInvalid(errors=[{"path": "", "message": "cannot be read as YAML or JSON"}]) from error
    return MappingFile(parse(document), hashlib.sha256(raw).hexdigest())


def parse(document: object) -> Mapping:
    """Check a mapping that was already loaded. Raises MappingInvalid."""
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        found = [
            {"path": ".".join(str(part) for part in entry["loc"]), "message": entry["msg"]}
            for entry in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise MappingInvalid(errors=found) from error
