"""A row in every personal table that is still empty for a person, made from the columns alone.

A table added tomorrow is filled, and so erased and looked for in the tests, without a line here.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, Boolean, Column, Date, DateTime, Enum, LargeBinary, Numeric, Table, Uuid, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import Integer

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.tables.datamap import personal_tables, subject_column
from cdp.tables.hold import HoldStatus
from cdp.tables.transfer import transfer, transfer_customer
from tests.population import Person

# A hold in force would keep what the tests erase.
GIVEN: dict[str, dict[str, Any]] = {
    "legal_hold": {"status": HoldStatus.RELEASED},
    "transfer_customer": {"cohort_id": None},
}
# What a trigger ties to another table, as a foreign key would.
TIED: dict[Column[Any], Column[Any]] = {transfer_customer.c.transfer_id: transfer.c.id}
MOMENT = datetime(2026, 1, 20, 8, tzinfo=UTC)


async def fill(tx: Tx, person: Person) -> None:
    """Write one row into every personal table that has none of this person."""
    for table in personal_tables():
        mine = subject_column(table) == person.customer_id
        if await tx.first(select(table.c.id).where(mine).limit(1)) is None:
            await tx.execute(insert(table).values(await _row(tx, table, person)))


async def _row(tx: Tx, table: Table, person: Person) -> dict[str, Any]:
    values: dict[str, Any] = dict(GIVEN.get(table.name, {}))
    for column in table.columns:
        if column.name in values:
            continue
        if column.name in person.origin:
            values[column.name] = person.origin[column.name]
        elif column.name == "subject_ref":
            values[column.name] = person.audit_ref
        elif column.foreign_keys or column in TIED:
            values[column.name] = await _referred(tx, column, person)
        elif column.server_default is None:
            values[column.name] = _value(column)
    return values


async def _referred(tx: Tx, column: Column[Any], person: Person) -> Any:
    target = TIED[column] if column in TIED else next(iter(column.foreign_keys)).column
    if column.nullable and "customer_id" not in target.table.c:
        return None
    statement = select(target).limit(1)
    if "customer_id" in target.table.c:
        statement = statement.where(target.table.c.customer_id == person.customer_id)
    elif "subject_ref" in target.table.c:
        statement = statement.where(target.table.c.subject_ref == person.audit_ref)
    found = await tx.scalar(statement)
    if found is None:
        row = await _row(tx, target.table, person)
        await tx.execute(insert(target.table).values(row))
        found = row[target.name]
    return found


def _value(column: Column[Any]) -> Any:
    mark = secrets.token_hex(4)
    match column.type:
        case Enum():
            return next(iter(column.type.enum_class or ()))
        case Uuid():
            return new_id()
        case Date():
            return MOMENT.date()
        case DateTime():
            return MOMENT
        case Boolean():
            return True
        case Integer() | Numeric():
            return 1
        case LargeBinary():
            return secrets.token_bytes(32)
        case JSONB():
            return {}
        case ARRAY():
            return [mark]
        case _:
            return mark[: getattr(column.type, "length", None)]
