"""Which rows of the record that goes can not live beside those of the one that stays, and are put aside."""

from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, exists, select

from cdp.core.db import Tx
from cdp.operations.merging.places import OF_ONE_RECORD, SIGN_IN
from cdp.tables.account import account
from cdp.tables.consent import preference
from cdp.tables.contact import email_address, phone_number
from cdp.tables.transfer import TransferStatus, transfer, transfer_customer

# What there may be one of for a customer: the value of the record that stays wins.
ONE_OF_EACH = {preference: "key", email_address: "normalized", phone_number: "e164"}
_BEFORE_FREEZE = (
    TransferStatus.DRAFT,
    TransferStatus.CLASSIFIED,
    TransferStatus.NOTIFYING,
    TransferStatus.WINDOW,
)


def rows_aside(table: Table, keep: UUID, drop: UUID, *, both_sign_in: bool) -> ColumnElement[bool] | None:
    """The rows of a table that are put aside; None where all of them move."""
    mine = table.c.customer_id == drop
    if table in OF_ONE_RECORD or (both_sign_in and table in SIGN_IN):
        return mine
    if table in ONE_OF_EACH:
        name = ONE_OF_EACH[table]
        twin = table.alias("twin")
        return and_(mine, exists().where(twin.c.customer_id == keep, twin.c[name] == table.c[name]))
    if table is transfer_customer:
        unsettled = select(transfer.c.id).where(transfer.c.status.in_(_BEFORE_FREEZE))
        return and_(mine, table.c.transfer_id.in_(unsettled))
    return None


async def sign_ins(tx: Tx, *customers: UUID) -> set[UUID]:
    """Those of these customers who can sign in."""
    rows = await tx.all(select(account.c.customer_id).where(account.c.customer_id.in_(customers)))
    return {row.customer_id for row in rows}
