"""Which apps are told that a session ends: each one that learnt from it who is signed in, once a session.

The notice is written in the transaction that ends the session, so that none is lost; delivering it is another matter.
Source: OpenID Connect Back-Channel Logout 1.0 section 2.5, https://openid.net/specs/openid-connect-backchannel-1_0.html
"""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.tables.customer import customer
from cdp.tables.logout import logout_notice
from cdp.tables.oauth import oauth_client, oauth_grant

JOB = "announce_logout"


async def announce(tx: Tx, *which: ColumnElement[bool]) -> None:
    """Queue a notice to every app that wants one, for the sessions behind these living grants.

    Called before the grants end, as the worker's role. A session that was announced already is not announced again.
    """
    found = await tx.all(
        select(
            oauth_grant.c.client_id,
            oauth_grant.c.session_id,
            func.coalesce(oauth_grant.c.customer_id, oauth_grant.c.staff_id).label("subject"),
            customer.c.audit_ref.label("subject_ref"),
        )
        .select_from(
            oauth_grant.join(oauth_client, oauth_client.c.id == oauth_grant.c.client_id).outerjoin(
                customer, customer.c.id == oauth_grant.c.customer_id
            )
        )
        .where(
            *which,
            oauth_grant.c.session_id.is_not(None),
            oauth_grant.c.revoked_at.is_(None),
            oauth_grant.c.acting_staff_id.is_(None),
            oauth_grant.c.scope.regexp_match(r"(^| )openid( |$)"),
            oauth_client.c.backchannel_logout_uri.is_not(None),
            oauth_client.c.revoked_at.is_(None),
        )
        .distinct()
    )
    if not found:
        return
    rows = [{"id": new_id(), **row._mapping} for row in found]  # noqa: SLF001 - SQLAlchemy's name for a row as mapping
    written = await tx.all(insert(logout_notice).values(rows).on_conflict_do_nothing().returning(logout_notice.c.id))
    for row in written:
        tx.ring(JOB, row.id)
