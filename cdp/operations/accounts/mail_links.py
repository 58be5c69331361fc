"""Links we mail: a random token, good once and for a while; only its SHA-256 is kept.

A link opens a page and nothing else happens: mail scanners and previews open links too. What it is good for happens
when a form is sent, and there a token is consumed by one conditional UPDATE, so that of two at once exactly one wins.
The token stands behind the ``#`` of the link, which browsers never send: it stays out of logs and Referer.
Source: OWASP Forgot Password Cheat Sheet,
https://cheatsheetseries.owasp.org/cheatsheets/Forgot_Password_Cheat_Sheet.html
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select, update

from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.ids import CustomerId, new_id, new_token
from cdp.operations.accounts.owner import Owner
from cdp.tables.account import LinkKind, mail_link

GOOD_FOR: Mapping[LinkKind, timedelta] = {
    LinkKind.EMAIL_PROOF: timedelta(hours=24),
    LinkKind.RESET: timedelta(hours=1),
}


class LinkRefused(InvalidInput):
    """This link was used already, is too old, or was not made for this account; ask for a new one."""

    code = "LINK_REFUSED"


@dataclass(frozen=True)
class Link:
    """A link that is good, or was until this moment."""

    id: UUID
    owner: Owner
    address: str = field(repr=False)


async def issue(
    tx: Tx, owner: Owner, kind: LinkKind, address: str, *, now: datetime, good_for: timedelta | None = None
) -> str:
    """Make a link to be mailed to a normalised address; answers its token, which is kept nowhere."""
    token = new_token()
    await tx.execute(
        insert(mail_link).values(
            id=new_id(),
            **owner.columns,
            kind=kind,
            address=address,
            token_hash=_digest(token),
            created_at=now,
            expires_at=now + (good_for or GOOD_FOR[kind]),
        )
    )
    return token


async def look(tx: Tx, kind: LinkKind, token: str, *, now: datetime) -> Link:
    """Read a good link without using it. Raises LinkRefused."""
    row = await tx.first(select(*_COLUMNS).where(_is_good(kind, token, now)))
    if row is None:
        raise LinkRefused
    return Link(row.id, _owner(row.customer_id, row.staff_id), row.address)


async def redeem(tx: Tx, owner: Owner, kind: LinkKind, token: str, *, now: datetime) -> Link:
    """Use up somebody's own link. Raises LinkRefused; another's link stays as it is."""
    row = await tx.first(
        update(mail_link)
        .where(_is_good(kind, token, now), owner.holds(mail_link))
        .values(used_at=now)
        .returning(*_COLUMNS)
    )
    if row is None:
        raise LinkRefused
    return Link(row.id, _owner(row.customer_id, row.staff_id), row.address)


async def void(tx: Tx, owner: Owner, kind: LinkKind, *, now: datetime) -> None:
    """Use up every link of a kind that somebody has left."""
    mine = update(mail_link).where(owner.holds(mail_link), mail_link.c.kind == kind, mail_link.c.used_at.is_(None))
    await tx.execute(mine.values(used_at=now))


_COLUMNS = (mail_link.c.id, mail_link.c.customer_id, mail_link.c.staff_id, mail_link.c.address)


def _owner(customer_id: UUID | None, staff_id: UUID | None) -> Owner:
    return Owner(CustomerId(customer_id) if customer_id else None, staff_id)


def _is_good(kind: LinkKind, token: str, now: datetime) -> ColumnElement[bool]:
    return (
        (mail_link.c.token_hash == _digest(token))
        & (mail_link.c.kind == kind)
        & mail_link.c.used_at.is_(None)
        & (mail_link.c.expires_at > now)
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
