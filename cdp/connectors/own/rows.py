"""What we hold about one customer, found, cut and removed by the data map: one statement a table.

Nothing here names a table's columns except the identity columns at the end: a new personal table or column is erased
because its data map says how.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Date,
    Delete,
    LargeBinary,
    Select,
    Table,
    TableValuedAlias,
    Text,
    Update,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.sql.visitors import iterate

from cdp.connectors.base import Identifier, Retained
from cdp.connectors.holds import Hold, effective
from cdp.connectors.own.held import LINKED, delete_unheld, kept_rows, loosen
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.tables import metadata
from cdp.tables.base import Erase, Identifies, Personal
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import identity_columns, keeps_rows, personal_tables, retention, subject_column
from cdp.tables.request import privacy_request


@dataclass(frozen=True)
class Holding:
    """What one table holds about a customer; ``basis`` and ``until`` where its rows outlive them."""

    table: str
    rows: int
    basis: str | None = None
    until: date | None = None


@dataclass(frozen=True)
class Erased:
    """Rows per table that went, and that stayed without the person."""

    deleted: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, int] = field(default_factory=dict)
    retained: tuple[Retained, ...] = ()
    held: tuple[Hold, ...] = ()


@dataclass(frozen=True)
class Trace:
    """Rows of one identity column that carry an identifier: the subject's own, and other customers'."""

    column: str
    own: int
    elsewhere: int


async def holdings(tx: Tx, customer_id: CustomerId) -> list[Holding]:
    """Count a customer's rows in every personal table, in one statement; tables without any are left out."""
    found = await tx.all(_holdings(tuple(personal_tables())), {"customer": customer_id})
    return [Holding(row.table_name, row.rows, row.basis, row.until) for row in found if row.rows]


@lru_cache(maxsize=2)
def _holdings(tables: tuple[Table, ...]) -> CompoundSelect[Any]:
    """Built once: building it takes longer than Postgres takes to run it."""
    return union_all(*(_holding(table) for table in tables))


async def held_holdings(tx: Tx, customer_id: CustomerId, held: Sequence[Hold]) -> list[Holding]:
    """What of a customer's rows the holds keep, table by table."""
    counts = []
    for table in personal_tables():
        stays = kept_rows(table, held)
        if stays is not None and table is not customer:
            mine = (subject_column(table) == customer_id) & stays
            counts.append(select(literal(table.name, Text).label("table_name"), func.count().label("rows")).where(mine))
    if not counts:
        return []
    since = min(held, key=lambda hold: hold.since)
    return [Holding(row.table_name, row.rows, since.basis) for row in await tx.all(union_all(*counts)) if row.rows]


async def erase_rows(tx: Tx, customer_id: CustomerId, *, request_id: RequestId | None = None) -> Erased:
    """Remove a customer from every personal table, inside the caller's transaction (GDPR art. 17).

    Rows kept under a law lose everything personal and every way back to the customer. ``request_id`` is the erasure
    under way: its sealed identifiers stay, since verification needs them and their key dies by itself. Locks the
    customer row; doing it again finds nothing. Identity and collection rows go before the customer row, whose
    references to them are deferred. What a legal hold covers stays, and ``held`` says so.
    """
    await tx.execute(_LOCKED, {"customer": customer_id})
    held = await effective(tx, customer_id)
    found = await holdings(tx, customer_id)
    retained = await _retained(tx, customer_id, held, found)
    # Nobody can add rows that refer to a locked customer, so what is empty now stays empty.
    full = {one.table for one in found}
    tables = tuple(table for table in personal_tables() if table.name in full or not _is_settled_by_lock(table))
    given = {"customer": customer_id, "salt": secrets.token_bytes(32), "request": request_id}
    if held:
        deleted, cut = await _erase_around(tx, tables, held, given)
    else:
        statement = _erasing(tables)
        row = await tx.first(statement, {name: given[name] for name in _asked(statement)})
        assert row is not None, "counts are one row"
        counts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a row as mapping
        cut = {table.name: counts[table.name] for table in tables if table.name in counts and keeps_rows(table)}
        deleted = {table.name: counts[table.name] for table in tables if not keeps_rows(table)}
    return Erased(_nonzero(deleted), _nonzero(cut), retained, held)


async def _erase_around(
    tx: Tx, tables: Sequence[Table], held: Sequence[Hold], given: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, int]]:
    """Erase what no hold keeps, table by table; how many rows of each went, and were cut."""
    await loosen(tx, given["customer"], held)
    cut, deleted = {}, {}
    for table in tables:
        if keeps_rows(table) and kept_rows(table, held) is None:
            cutting = _cut(table, keeps_link=table.name in LINKED)
            if cutting is not None:
                cut[table.name] = (await tx.execute(cutting, {name: given[name] for name in _asked(cutting)})).rowcount
    for table in reversed(tables):
        if not keeps_rows(table):
            deleted[table.name] = await delete_unheld(tx, table, given["customer"], held)
    return deleted, cut


@lru_cache(maxsize=64)
def _erasing(tables: tuple[Table, ...]) -> Select[Any]:
    """Cut and delete the rows of all these tables, and count them, in one round.

    References between them are looked at when all of it is done, so the order does not matter.
    Source: https://www.postgresql.org/docs/18/queries-with.html#QUERIES-WITH-MODIFYING
    """
    done = []
    for table in tables:
        statement = _cut(table, keeps_link=False) if keeps_rows(table) else _delete(table)
        if statement is not None:
            rows = statement.returning(literal(1).label("one")).cte(f"{table.name}_rows")
            done.append(select(func.count()).select_from(rows).scalar_subquery().label(table.name))
    return select(*done)


# Built once: every deletion needs it.
_LOCKED = select(customer.c.id).where(customer.c.id == bindparam("customer")).with_for_update()


async def _retained(
    tx: Tx, customer_id: CustomerId, held: Sequence[Hold], found: Sequence[Holding]
) -> tuple[Retained, ...]:
    """What stays under a law, and what a hold keeps: the same rows are named once."""
    for_holds = await held_holdings(tx, customer_id, held)
    named = {one.table for one in for_holds}
    by_law = kept([one for one in found if one.table not in named])
    return (*by_law, *kept(for_holds))


async def traces(tx: Tx, customer_id: CustomerId, identifiers: Sequence[Identifier]) -> list[Trace]:
    """Look every identifier up in every identity column, by indexed equality, in one statement."""
    found = await tx.all(_traces(), _sought(customer_id, identifiers))
    return [Trace(row.column_name, row.own, row.elsewhere) for row in found if row.own or row.elsewhere]


def trace_statements(customer_id: CustomerId, identifiers: Sequence[Identifier]) -> list[Select[str, int, int]]:
    """The look into each identity column, by itself."""
    return [look.params(**_sought(customer_id, identifiers)) for look in _looks()]


@cache
def _traces() -> CompoundSelect[Any]:
    """Built once: building it takes longer than Postgres takes to run it."""
    return union_all(*_looks())


def kept(found: Sequence[Holding]) -> tuple[Retained, ...]:
    """The part of the holdings that outlives an erasure."""
    return tuple(Retained(held.table, held.rows, held.basis, held.until) for held in found if held.basis)


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


@cache
def _is_settled_by_lock(table: Table) -> bool:
    """Whether whoever adds a row has to wait for the lock on the customer, and counting sees every row."""
    rule = retention(table)
    refers = any(key.column is customer.c.id for key in subject_column(table).foreign_keys)
    return refers and (rule is None or "." not in rule.since)


@cache
def _delete(table: Table) -> Delete:
    return delete(table).where(_is_customers(table))


@cache
def _cut(table: Table, *, keeps_link: bool) -> Update | None:
    """Parameters ``customer``, ``salt`` and ``request``; None where there is nothing to cut."""
    values = _cut_values(table, bindparam("salt", type_=LargeBinary), bindparam("request", type_=Uuid))
    if keeps_link:
        del values["customer_id"]
    return update(table).where(_is_customers(table)).values(values) if values else None


@cache
def _asked(statement: Update | Select[Any]) -> frozenset[str]:
    """The parameters a statement has; others would be taken for columns."""
    return frozenset(one.key for one in iterate(statement) if isinstance(one, BindParameter) and one.required)


def _is_customers(table: Table) -> ColumnElement[bool]:
    return subject_column(table) == bindparam("customer")


def _holding(table: Table) -> Select[str, int, str | None, date | None]:
    basis: ColumnElement[str | None] = cast(null(), Text)
    until: ColumnElement[date | None] = cast(null(), Date)
    source = table
    if keeps_rows(table):
        basis = literal(_basis(table), Text)
    rule = retention(table)
    statement = select(literal(table.name, Text).label("table_name"), func.count().label("rows"))
    if rule is not None:
        other, _, column = rule.since.rpartition(".")
        since = (metadata.tables[other] if other else table).c[column]
        until = cast(func.max(since + func.make_interval(rule.years)), Date)
        joined = source.join(metadata.tables[other]) if other else source
        statement = statement.select_from(joined)
    else:
        statement = statement.select_from(source)
    return statement.add_columns(basis.label("basis"), until.label("until")).where(_is_customers(table))


def _basis(table: Table) -> str:
    rule = retention(table)
    if rule is not None:
        return rule.basis
    declared = [column.info.get("datamap") for column in table.columns]
    named = {entry.basis for entry in declared if isinstance(entry, Personal) and entry.basis}
    return "; ".join(sorted(named))


def cut_values(table: Table, salt: bytes, request_id: RequestId | None) -> dict[str, ColumnElement[Any]]:
    """What each column of a kept row becomes: the data map's decision, and NULL for every way back to the person."""
    return _cut_values(table, literal(salt), literal(request_id, Uuid))


def _cut_values(
    table: Table, salt: ColumnElement[bytes], request_id: ColumnElement[UUID | None]
) -> dict[str, ColumnElement[Any]]:
    values: dict[str, ColumnElement[Any]] = {}
    for column in table.columns:
        declared = column.info.get("datamap")
        to_the_person = any(_goes(key.column.table) for key in column.foreign_keys)
        if to_the_person or (isinstance(declared, Personal) and declared.erase is Erase.NULL):
            values[column.name] = null()
        elif isinstance(declared, Personal) and declared.erase is Erase.HASH:
            text = func.convert_to(cast(column, Text), "UTF8")
            values[column.name] = func.encode(func.sha256(salt.op("||")(text)), "hex")
    rule = retention(table)
    if rule is not None and "retained_until" in table.columns:
        values["retained_until"] = table.c[rule.since] + func.make_interval(rule.years)
    if table is privacy_request:
        sealed = privacy_request.c.identifiers_sealed
        values["identifiers_sealed"] = case((privacy_request.c.id == request_id, sealed), else_=null())
    return values


def _goes(table: Table) -> bool:
    return (table.name == "customer" or "customer_id" in table.columns) and not keeps_rows(table)


def _looks() -> Iterator[Select[str, int, int]]:
    """The look into each column of the data map that holds identifiers, as parameters that ``_sought`` gives."""
    for column, holds in identity_columns():
        table = metadata.tables[column.table.name]
        values = bindparam(_name_of(holds), type_=ARRAY(Text))
        where = (func.lower(column) if holds.lower else column) == any_(values)
        if table is identity:  # there a value is one person's only together with its type and issuer
            where &= tuple_(cast(identity.c.type, Text), identity.c.issuer, identity.c.value).in_(select(_same()))
        yield _trace(f"{table.name}.{column.name}", table, where)


def _name_of(holds: Identifies) -> str:
    return "_".join(["sought", *sorted(holds.types), *(["lower"] if holds.lower else [])])


def _same() -> TableValuedAlias:
    names = ("types", "issuers", "values")
    return func.unnest(*(bindparam(name, type_=ARRAY(Text)) for name in names)).table_valued(*names).render_derived()


def _sought(customer_id: CustomerId, identifiers: Sequence[Identifier]) -> dict[str, Any]:
    """Which column holds which type of identifier; usernames are often e-mail addresses."""
    given: dict[str, Any] = {
        "customer": customer_id,
        "types": [known.type for known in identifiers],
        "issuers": [known.issuer for known in identifiers],
        "values": [known.value for known in identifiers],
    }
    for _, holds in identity_columns():
        values = [known.value for known in identifiers if known.type in holds.types]
        given[_name_of(holds)] = [value.lower() for value in values] if holds.lower else values
    return given


def _trace(name: str, table: Table, where: ColumnElement[bool]) -> Select[str, int, int]:
    person = bindparam("customer", type_=Uuid)
    own = func.count().filter(table.c.customer_id == person)
    elsewhere = func.count().filter(table.c.customer_id.is_distinct_from(person))
    return select(literal(name, Text).label("column_name"), own.label("own"), elsewhere.label("elsewhere")).where(where)
