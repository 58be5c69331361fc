"""Half a sign-in: the password was right, the second factor is outstanding.

It lives for ten minutes and five tries, and is consumed by one conditional DELETE. Its token is in a cookie of the
browser that knew the password, and nowhere else.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, insert, select, update

from cdp.access.viewer import Actor
from cdp.core.db import Tx
from cdp.core.errors import Unauthenticated
from cdp.core.ids import CustomerId, new_id, new_token
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sessions import Person
from cdp.tables.account import account
from cdp.tables.customer import customer
from cdp.tables.second_factor import half_sign_in
from cdp.tables.staff import staff

GOOD_FOR = timedelta(minutes=10)
TRIES = 5


class HalfSignInGone(Unauthenticated):
    """This took too long or too many tries; start again with your password."""

    code = "SIGN_IN_EXPIRED"


@dataclass(frozen=True)
class HalfSignIn:
    """One that is still good."""

    id: UUID
    owner: Owner
    person: Person

    @property
    def binding(self) -> str:
        """What its challenges and secrets are bound to."""
        return f"half:{self.id}"


async def start(tx: Tx, owner: Owner, *, now: datetime) -> str:
    """Note that somebody's password was right; answers the cookie's value."""
    token = new_token()
    await tx.execute(
        insert(half_sign_in).values(
            id=new_id(), **owner.columns, token_hash=_digest(token), created_at=now, expires_at=now + GOOD_FOR
        )
    )
    return token


async def find(tx: Tx, token: str | None, actor: Actor, *, now: datetime) -> HalfSignIn:
    """The one of a cookie's value. Raises HalfSignInGone."""
    row = await tx.first(
        select(
            half_sign_in,
            account.c.id.label("account_id"),
            account.c.username.label("account_name"),
            staff.c.username.label("staff_name"),
            customer.c.audit_ref,
        )
        .select_from(
            half_sign_in.outerjoin(account, account.c.customer_id == half_sign_in.c.customer_id)
            .outerjoin(customer, customer.c.id == half_sign_in.c.customer_id)
            .outerjoin(staff, staff.c.id == half_sign_in.c.staff_id)
        )
        .where(
            half_sign_in.c.token_hash == _digest(token or ""),
            half_sign_in.c.tries < TRIES,
            half_sign_in.c.expires_at > now,
            staff.c.active if actor is Actor.STAFF else half_sign_in.c.customer_id.is_not(None),
        )
    )
    if row is None:
        raise HalfSignInGone
    if row.staff_id is not None:
        return HalfSignIn(row.id, Owner(staff_id=row.staff_id), Person(Actor.STAFF, row.staff_id, row.staff_name))
    customer_id = CustomerId(row.customer_id)
    person = Person(Actor.CUSTOMER, row.account_id, row.account_name, customer_id, row.audit_ref)
    return HalfSignIn(row.id, Owner(customer_id), person)


async def count_try(tx: Tx, half: HalfSignIn) -> None:
    """Count a try before it is looked at. Raises HalfSignInGone after the last."""
    counted = await tx.execute(
        update(half_sign_in)
        .where(half_sign_in.c.id == half.id, half_sign_in.c.tries < TRIES)
        .values(tries=half_sign_in.c.tries + 1)
    )
    if counted.rowcount != 1:
        raise HalfSignInGone


async def consume(tx: Tx, half: HalfSignIn) -> None:
    """Use it up. Raises HalfSignInGone for who comes second."""
    if (await tx.execute(delete(half_sign_in).where(half_sign_in.c.id == half.id))).rowcount != 1:
        raise HalfSignInGone


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
