"""Staged rows turned into drafts: what a customer should look like; or into coded rejects, never half of one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Table

from cdp.core.errors import InvalidInput
from cdp.operations import values as typed
from cdp.operations.imports import values
from cdp.operations.imports.mapping import Identity, Mapping, Phone, Value
from cdp.operations.imports.sources import Record
from cdp.operations.imports.staging import Reject, Staged
from cdp.operations.imports.values import Converter, RowInvalid
from cdp.tables.consent import preference
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import IdentityType, customer
from cdp.tables.order import sales_order, sales_order_item

Columns = dict[str, object]


@dataclass(frozen=True)
class IdentityKey:
    """An identifier in the form it is stored."""

    type: IdentityType
    issuer: str
    value: str


@dataclass(frozen=True)
class Child:
    """A row that hangs below the customer; ``key`` tells it from its siblings in the same table."""

    table: Table
    key: tuple[object, ...]
    columns: Columns


@dataclass(frozen=True)
class OrderDraft:
    """An order with its items."""

    row: int
    columns: Columns
    items: tuple[Columns, ...]

    @property
    def number(self) -> str:
        """The order's number, which is unique on the platform."""
        return str(self.columns["number"])


@dataclass(frozen=True)
class CustomerDraft:
    """A customer as the source has it. ``notices`` are codes of what was taken with a loss."""

    place: int
    row: int
    columns: Columns
    identities: tuple[IdentityKey, ...]
    children: tuple[Child, ...]
    orders: tuple[OrderDraft, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Target:
    name: str
    value: Value
    convert: Converter
    is_required: bool


class Reader:
    """Reads staged rows by one mapping."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        part = mapping.customers
        self._customer = _targets(part.fields.targets(), customer)
        self._emails = [(_targets([("address", entry.address)], email_address), entry) for entry in part.emails]
        self._addresses = [(_targets(entry.targets(), postal_address), entry.kind) for entry in part.addresses]
        orders, items = mapping.orders, mapping.items
        self._order = _targets(orders.fields.targets(), sales_order) if orders else []
        self._item = _targets(items.fields.targets(), sales_order_item) if items else []

    def read(self, staged: Staged) -> CustomerDraft | list[Reject]:
        """Read one customer with all its rows; a list of rejects, one a bad row, when any of them is bad."""
        rejects: list[Reject] = []
        orders: list[OrderDraft] = []
        numbers: set[str] = set()
        for entry in staged.children:
            items = self._items(entry, rejects)
            try:
                order = self._read_order(entry, items, numbers)
                numbers.add(order.number)
                orders.append(order)
            except RowInvalid as error:
                rejects.append(Reject("orders", entry.row, error.reason, error.field))
        try:
            draft = self._read_customer(staged, orders)
        except RowInvalid as error:
            return [Reject("customers", staged.row, error.reason, error.field), *rejects]
        return rejects or draft

    def _read_customer(self, staged: Staged, orders: list[OrderDraft]) -> CustomerDraft:
        record = staged.record
        if _is_empty(record.get(self._mapping.customers.key)):
            raise RowInvalid("KEY_MISSING", "customers.key")
        if staged.is_duplicate:
            raise RowInvalid("DUPLICATE_KEY", "customers.key")
        notices: list[str] = []
        columns = _columns(self._customer, record, "fields")
        identities = self._read_identities(record)
        children = [*self._read_emails(record), *self._read_phones(record, notices), *self._read_addresses(record)]
        children += self._read_preferences(record)
        unique = {(child.table.name, child.key): child for child in reversed(children)}
        return CustomerDraft(
            place=staged.place,
            row=staged.row,
            columns=columns,
            identities=identities,
            children=tuple(reversed(unique.values())),
            orders=tuple(orders),
            notices=tuple(notices),
        )

    def _read_identities(self, record: Record) -> tuple[IdentityKey, ...]:
        found: dict[IdentityKey, None] = {}
        for index, entry in enumerate(self._mapping.customers.identities):
            place = f"identities.{index}.value"
            written = _raw(entry.value, record, place)
            if written is not None:
                found[IdentityKey(entry.type, entry.issuer, _identifier(entry, str(written), place))] = None
        if not found:
            raise RowInvalid("NO_IDENTITY", "identities")
        return tuple(found)

    def _read_emails(self, record: Record) -> Iterator[Child]:
        for index, (_, entry) in enumerate(self._emails):
            place = f"emails.{index}"
            written = _raw(entry.address, record, f"{place}.address")
            if written is None:
                continue
            email = _email(str(written), f"{place}.address")
            columns: Columns = {"address": email.address, "normalized": email.normalized}
            if entry.verified_at is not None:
                proven = _raw(entry.verified_at, record, f"{place}.verified_at")
                columns["verified_at"] = None if proven is None else values.moment(proven, entry.verified_at)
            yield Child(email_address, (email.normalized,), columns)

    def _read_phones(self, record: Record, notices: list[str]) -> Iterator[Child]:
        for index, entry in enumerate(self._mapping.customers.phones):
            place = f"phones.{index}"
            written = _raw(entry.number, record, f"{place}.number")
            if written is not None:
                yield _phone(entry, str(written), _phone_country(entry, record, place), place, notices)

    def _read_addresses(self, record: Record) -> Iterator[Child]:
        for index, (targets, kind) in enumerate(self._addresses):
            line1 = next(target for target in targets if target.name == "line1")
            if _raw(line1.value, record, f"addresses.{index}.line1") is None:
                continue
            columns = {"kind": kind, **_columns(targets, record, f"addresses.{index}")}
            yield Child(postal_address, address_key(columns), columns)

    def _read_preferences(self, record: Record) -> Iterator[Child]:
        forms: dict[str, Converter] = {
            "text": values.text(1000),
            "boolean": values.boolean,
            "number": values.number,
        }
        for index, entry in enumerate(self._mapping.customers.preferences):
            place = f"preferences.{index}.value"
            written = _raw(entry.value, record, place)
            if written is not None:
                chosen = _converted(forms[entry.form], written, entry.value, place)
                yield Child(preference, (entry.key,), {"key": entry.key, "value": chosen})

    def _items(self, order: Staged, rejects: list[Reject]) -> list[Columns]:
        found: list[Columns] = []
        positions: set[object] = set()
        for count, entry in enumerate(order.children, start=1):
            try:
                columns = {"position": count, "quantity": 1, **_columns(self._item, entry.record, "fields")}
            except RowInvalid as error:
                rejects.append(Reject("items", entry.row, error.reason, error.field))
                continue
            if columns["position"] in positions or count > 32_767:
                rejects.append(Reject("items", entry.row, "DUPLICATE_POSITION", "fields.position"))
            positions.add(columns["position"])
            found.append(columns)
        return found

    def _read_order(self, entry: Staged, items: list[Columns], numbers: set[str]) -> OrderDraft:
        part = self._mapping.orders
        if part is None or _is_empty(entry.record.get(part.key)):
            raise RowInvalid("KEY_MISSING", "orders.key")
        if entry.is_duplicate:
            raise RowInvalid("DUPLICATE_KEY", "orders.key")
        columns = _columns(self._order, entry.record, "fields")
        if "total" not in columns:
            columns["total"] = sum((_amount(item) for item in items), Decimal(0))
        if columns["number"] in numbers:
            raise RowInvalid("DUPLICATE_ORDER_NUMBER", "fields.number")
        return OrderDraft(entry.row, columns, tuple(items))


def address_key(columns: Columns) -> tuple[object, ...]:
    """What makes two addresses of a customer the same: everything they say."""
    names = ("kind", "recipient", "line1", "line2", "city", "region", "postal_code", "country")
    return tuple(columns.get(name) for name in names)


def phone_key(columns: Columns) -> tuple[object, ...]:
    """What makes two numbers the same: E.164 where there is one."""
    return (columns.get("e164") or columns["number"],)


def _targets(named: Iterable[tuple[str, Value]], table: Table) -> list[_Target]:
    return [
        _Target(name, value, values.converter_of(table.c[name]), not table.c[name].nullable) for name, value in named
    ]


def _columns(targets: list[_Target], record: Record, place: str) -> Columns:
    found: Columns = {}
    for target in targets:
        where = f"{place}.{target.name}"
        written = _raw(target.value, record, where)
        if written is not None:
            found[target.name] = _converted(target.convert, written, target.value, where)
        elif target.is_required:
            raise RowInvalid("VALUE_MISSING", where)
        else:
            found[target.name] = None
    return found


def _raw(value: Value, record: Record, place: str) -> object:
    try:
        return values.raw(value, record)
    except RowInvalid as error:
        raise RowInvalid(error.reason, place) from error


def _converted(convert: Converter, written: object, value: Value, place: str) -> object:
    try:
        return convert(written, value)
    except RowInvalid as error:
        raise RowInvalid(error.reason, place) from error


def _email(written: str, place: str) -> typed.Email:
    try:
        return typed.email(written)
    except typed.InvalidEmail as error:
        raise RowInvalid(error.code, place) from error


def _phone_country(entry: Phone, record: Record, place: str) -> str | None:
    written = None if entry.country is None else _raw(entry.country, record, f"{place}.country")
    if written is None or entry.country is None:
        return None
    return str(_converted(values.country, written, entry.country, f"{place}.country"))


def _phone(entry: Phone, written: str, country: str | None, place: str, notices: list[str]) -> Child:
    """A number nobody can dial is still what the source has: it is kept as written, without E.164, and noticed."""
    number = _converted(values.text(40), written, entry.number, f"{place}.number")
    try:
        found = typed.phone(str(number), country=country)
        columns: Columns = {"number": found.number, "e164": found.e164, "kind": entry.kind or found.kind}
    except typed.InvalidPhone:
        notices.append("PHONE_NOT_E164")
        columns = {"number": number, "e164": None, "kind": entry.kind or "unknown"}
    return Child(phone_number, phone_key(columns), columns)


def _identifier(entry: Identity, written: str, place: str) -> str:
    try:
        match entry.type:
            case IdentityType.EMAIL:
                return typed.email(written).normalized
            case IdentityType.PHONE:
                return typed.phone(written).e164
            case IdentityType.USERNAME:
                return typed.text(written, "", longest=320).lower()
            case IdentityType.CUSTOMER_NUMBER | IdentityType.COOKIE:
                return typed.text(written, "", longest=320)
    except InvalidInput as error:
        raise RowInvalid(error.code, place) from error


def _is_empty(found: object) -> bool:
    return found is None or not str(found).strip()


def _amount(item: Columns) -> Decimal:
    price, quantity = item["unit_price"], item["quantity"]
    assert isinstance(price, Decimal)
    assert isinstance(quantity, int)
    return price * quantity
