"""Who is in an account: browsers, connected apps, unproven addresses, and what happened lately; each can be ended.

Ending something of somebody else's is NotFound, as if it were not there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.accounts import sessions
from cdp.operations.oauth import grants
from cdp.tables.account import session
from cdp.tables.audit import audit_event, audit_note
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.oauth import oauth_client, oauth_grant, oauth_token

MOST_SHOWN = 50


@dataclass(frozen=True)
class Browser:
    """One living session."""

    id: UUID
    is_current: bool
    started_at: datetime
    seen_at: datetime
    address: str = field(repr=False)
    user_agent: str = field(repr=False)


@dataclass(frozen=True)
class App:
    """One living grant. ``used_at`` is when it last fetched a token."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    since: datetime
    used_at: datetime


@dataclass(frozen=True)
class Happening:
    """One entry of the log; ``note`` is what was typed with it."""

    at: datetime
    action: str
    is_refused: bool
    by_staff: bool
    details: Mapping[str, Any] = field(repr=False)
    note: str | None = field(repr=False)


@dataclass(frozen=True)
class Unproven:
    """An e-mail address nobody has proven."""

    id: UUID
    address: str = field(repr=False)


@dataclass(frozen=True)
class Security:
    """Everything the page shows; each list newest first and bounded."""

    browsers: tuple[Browser, ...]
    apps: tuple[App, ...]
    happenings: tuple[Happening, ...]
    unproven: tuple[Unproven, ...]


async def look(platform: Platform, viewer: Viewer, *, actions: Iterable[str]) -> Security:
    """Read it for the viewer; ``actions`` are the entries of the log that are shown."""
    async with platform.db.transaction(Role.WORKER) as tx:
        return Security(
            await _browsers(tx, viewer, platform.clock()),
            await _apps(tx, viewer),
            await _happenings(tx, viewer, list(actions)),
            await _unproven(tx, viewer),
        )


async def _browsers(tx: Tx, viewer: Viewer, now: datetime) -> tuple[Browser, ...]:
    living = select(session).where(
        session.c.customer_id == viewer.subject, session.c.revoked_at.is_(None), session.c.expires_at > now
    )
    rows = await tx.all(living.order_by(session.c.last_seen_at.desc(), session.c.id).limit(MOST_SHOWN))
    return tuple(
        Browser(
            row.id,
            row.id == viewer.session_id,
            row.created_at,
            row.last_seen_at,
            row.ip_address or "",
            row.user_agent or "",
        )
        for row in rows
    )


async def _apps(tx: Tx, viewer: Viewer) -> tuple[App, ...]:
    used = select(func.max(oauth_token.c.issued_at)).where(oauth_token.c.family_id == oauth_grant.c.id)
    rows = await tx.all(
        select(oauth_grant.c.id, oauth_client.c.name, oauth_grant.c.scope, oauth_grant.c.created_at)
        .add_columns(func.coalesce(used.scalar_subquery(), oauth_grant.c.created_at).label("used_at"))
        .join_from(oauth_grant, oauth_client)
        .where(
            oauth_grant.c.customer_id == viewer.subject,
            oauth_grant.c.revoked_at.is_(None),
            oauth_grant.c.acting_staff_id.is_(None),
            oauth_client.c.revoked_at.is_(None),
        )
        .order_by(oauth_grant.c.created_at.desc(), oauth_grant.c.id)
        .limit(MOST_SHOWN)
    )
    return tuple(App(row.id, row.name, tuple(row.scope.split()), row.created_at, row.used_at) for row in rows)


async def _happenings(tx: Tx, viewer: Viewer, actions: list[str]) -> tuple[Happening, ...]:
    mine = select(customer.c.audit_ref).where(customer.c.id == viewer.subject).scalar_subquery()
    rows = await tx.all(
        select(
            audit_event.c.occurred_at,
            audit_event.c.action,
            audit_event.c.outcome,
            audit_event.c.actor_kind,
            audit_event.c.details,
            audit_note.c.text,
        )
        .outerjoin(audit_note, audit_note.c.event_id == audit_event.c.id)
        .where(audit_event.c.subject_ref == mine, audit_event.c.action.in_(actions))
        .order_by(audit_event.c.occurred_at.desc(), audit_event.c.id.desc())
        .limit(MOST_SHOWN)
    )
    return tuple(
        Happening(
            row.occurred_at, row.action, row.outcome != "ok", row.actor_kind == Actor.STAFF, row.details, row.text
        )
        for row in rows
    )


async def _unproven(tx: Tx, viewer: Viewer) -> tuple[Unproven, ...]:
    mine = select(email_address.c.id, email_address.c.address).where(
        email_address.c.customer_id == viewer.subject, email_address.c.verified_at.is_(None)
    )
    return tuple(Unproven(row.id, row.address) for row in await tx.all(mine.order_by(email_address.c.id)))


async def end_session(platform: Platform, viewer: Viewer, session_id: UUID) -> None:
    """Sign one browser of the viewer's out. Raises NotFound; ending one that has ended changes nothing."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(session.c.id).where(session.c.id == session_id, session.c.customer_id == viewer.subject)
        if await tx.scalar(mine) is None:
            raise NotFound
        await sessions.end(tx, session_id, now=platform.clock())
        await _record(tx, viewer, "session.ended", "Session", session_id)


async def end_app(platform: Platform, viewer: Viewer, grant_id: UUID) -> None:
    """End what the viewer allowed an app; audited as ``grant.ended``. Raises NotFound."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(oauth_grant.c.id).where(oauth_grant.c.id == grant_id, oauth_grant.c.customer_id == viewer.subject)
        if await tx.scalar(mine) is None:
            raise NotFound
        await grants.end(tx, grant_id, now=platform.clock())


async def end_everything(platform: Platform, viewer: Viewer) -> None:
    """Sign every browser and every app of the viewer's out, this one too."""
    async with platform.db.transaction(Role.WORKER) as tx:
        await sessions.end_everywhere(tx, customer_id=viewer.subject, now=platform.clock())
        await _record(tx, viewer, "session.ended_everywhere", "Account", None)


async def _record(tx: Tx, viewer: Viewer, action: str, object_type: str, object_id: UUID | None) -> None:
    subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == viewer.subject))
    await audit.record(tx, viewer, action, subject_ref=subject_ref, object_type=object_type, object_id=object_id)
