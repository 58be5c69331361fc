"""Sign-in's leftovers: codes, tokens, links, sessions and counts that are over are deleted, a batch at a time.

A used refresh token stays until it would have expired: meeting it again is how a theft is noticed. A session stays a
month after its end, since its owner may look up where they were signed in.
"""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import ColumnElement, Table, delete, exists, func, or_, select

from cdp.core.db import Tx
from cdp.tables.account import mail_link, session, sign_in_brake
from cdp.tables.datamap import categories
from cdp.tables.device import oauth_device_code
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.logout import logout_notice
from cdp.tables.message import MessageStatus, message
from cdp.tables.oauth import (
    oauth_code,
    oauth_ended_grant,
    oauth_grant,
    oauth_pushed_request,
    oauth_registration_token,
    oauth_seen_proof,
    oauth_token,
)
from cdp.tables.reveal import reveal

SHOWN_FOR = timedelta(days=30)
# Longer than any access token lives.
SETTLED_AFTER = timedelta(days=1)
# Between a process that judged a proof and the database that forgets it.
CLOCKS_DIFFER = timedelta(minutes=10)


async def forget(tx: Tx, *, limit: int) -> int:
    """Delete what is over, by the database's clock; answers how many rows went. Children before parents."""
    gone = 0
    for table, is_over in _rules():
        key = next(iter(table.primary_key.columns))
        over = select(key).where(is_over, *_is_free(table)).limit(limit).with_for_update(skip_locked=True)
        gone += (await tx.execute(delete(table).where(key.in_(over)))).rowcount
    return gone


def _is_free(table: Table) -> Iterable[ColumnElement[bool]]:
    """What a legal hold covers is not over."""
    named = sorted(categories(table))
    if named and "customer_id" in table.c:
        held = (legal_hold.c.category.in_(named), legal_hold.c.status.in_(EFFECTIVE))
        yield ~exists().where(legal_hold.c.customer_id == table.c.customer_id, *held)


def _rules() -> Iterable[tuple[Table, ColumnElement[bool]]]:
    settled = func.now() - SETTLED_AFTER
    shown = func.now() - SHOWN_FOR
    yield oauth_code, oauth_code.c.expires_at < settled
    yield oauth_seen_proof, oauth_seen_proof.c.expires_at < func.now() - CLOCKS_DIFFER
    yield oauth_pushed_request, oauth_pushed_request.c.expires_at < settled
    yield oauth_registration_token, oauth_registration_token.c.expires_at < settled
    yield oauth_device_code, oauth_device_code.c.expires_at < settled
    yield logout_notice, logout_notice.c.settled_at < settled
    yield oauth_token, oauth_token.c.expires_at < settled
    has_children = or_(
        exists().where(oauth_code.c.family_id == oauth_grant.c.id),
        exists().where(oauth_device_code.c.family_id == oauth_grant.c.id),
        exists().where(oauth_token.c.family_id == oauth_grant.c.id),
    )
    is_over = or_(oauth_grant.c.revoked_at.is_(None), oauth_grant.c.revoked_at < shown)
    yield oauth_grant, (oauth_grant.c.created_at < shown) & is_over & ~has_children
    # A client's own grant carries one access token, and nobody looks it up in a list of theirs.
    nobodys = oauth_grant.c.customer_id.is_(None) & oauth_grant.c.staff_id.is_(None)
    yield oauth_grant, nobodys & (oauth_grant.c.created_at < settled)
    yield oauth_ended_grant, oauth_ended_grant.c.ended_at < settled
    has_left = message.c.status.in_((MessageStatus.SENT, MessageStatus.FAILED, MessageStatus.CANCELLED))
    yield message, message.c.customer_id.is_(None) & has_left & (message.c.created_at < settled)
    yield mail_link, mail_link.c.expires_at < settled
    yield session, session.c.expires_at < shown
    yield reveal, reveal.c.expires_at < settled
    yield (
        sign_in_brake,
        (sign_in_brake.c.blocked_until < settled) & (sign_in_brake.c.first_failure_at < settled),
    )
