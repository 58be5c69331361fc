"""A frozen customer: signed out everywhere, nothing changes, nothing is sent but what is about the erasure; undo works.

The person's own transaction may end their browser sessions; grants of apps are the worker's to end, a moment later.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, select, update

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.operations.accounts.logout_notices import announce
from cdp.tables.account import AccountStatus, account, session
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.oauth import oauth_grant

_CUSTOMERS = any_(bindparam("customers", type_=ARRAY(Uuid)))
# Most people let no app in; asked once or twice for every deletion.
_LIVING = select(oauth_grant.c.customer_id, oauth_grant.c.created_at).where(
    oauth_grant.c.customer_id == _CUSTOMERS, oauth_grant.c.revoked_at.is_(None)
)


async def freeze(tx: Tx, customer_id: CustomerId, *, now: datetime) -> None:
    """Freeze customer and account, and end every browser session."""
    await tx.execute(update(customer).where(customer.c.id == customer_id).values(status=CustomerStatus.FROZEN))
    await tx.execute(update(account).where(account.c.customer_id == customer_id).values(status=AccountStatus.FROZEN))
    await tx.execute(
        update(session)
        .where(session.c.customer_id == customer_id, session.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def end_grants(tx: Tx, frozen: Mapping[CustomerId, datetime]) -> int:
    """End every app's access given before somebody was frozen, as the worker role; who signs in again to undo stays.

    Returns how many it ended.
    """
    found = await tx.all(_LIVING, {"customers": list(frozen)}) if frozen else ()
    count = 0
    for customer_id in {row.customer_id for row in found if row.created_at <= frozen[row.customer_id]}:
        given = (oauth_grant.c.customer_id == customer_id, oauth_grant.c.created_at <= frozen[customer_id])
        await announce(tx, *given)
        living = oauth_grant.c.revoked_at.is_(None)
        ended = await tx.execute(update(oauth_grant).where(*given, living).values(revoked_at=func.now()))
        count += ended.rowcount
    return count


async def unfreeze(tx: Tx, customer_id: CustomerId) -> None:
    """Let customer and account work again; they sign in anew."""
    await tx.execute(update(customer).where(customer.c.id == customer_id).values(status=CustomerStatus.ACTIVE))
    await tx.execute(update(account).where(account.c.customer_id == customer_id).values(status=AccountStatus.ACTIVE))
