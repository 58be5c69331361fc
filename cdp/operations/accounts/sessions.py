"""Browser sessions: rows that can be ended, found by the SHA-256 of a random cookie; of customers, and of staff.

A fresh sign-in of the same person renews the session they have: new cookie value, new ``authenticated_at`` (OWASP
Session Management Cheat Sheet, https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html).
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, delete, exists, insert, or_, select, update

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.strength import PASSWORD, Strength, strength_of
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId, new_id, new_token
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.accounts.logout_notices import announce
from cdp.operations.accounts.owner import Owner
from cdp.tables.account import account, session
from cdp.tables.oauth import oauth_grant
from cdp.tables.second_factor import half_sign_in
from cdp.tables.staff import staff

# Writing the time of every request would turn each read of a page into a write.
SEEN_EVERY = timedelta(minutes=1)
STAFF_PURPOSE = "customer_service"
# Realms do not share a cookie: a member of staff may be a customer too, in the same browser.
COOKIES = {Actor.CUSTOMER: "cdp_session", Actor.STAFF: "cdp_console"}


@dataclass(frozen=True)
class Person:
    """Who signs in: an account of a customer, or a member of staff."""

    actor: Actor
    account_id: UUID
    username: str
    customer_id: CustomerId | None = None
    audit_ref: UUID | None = None


@dataclass(frozen=True)
class Client:
    """Where a sign-in comes from."""

    address: str
    user_agent: str


@dataclass(frozen=True)
class BrowserSession:
    """A living session and the viewer it stands for."""

    id: UUID
    viewer: Viewer
    username: str
    expires_at: datetime

    @property
    def csrf_binding(self) -> str:
        """What the tokens of its forms are bound to."""
        return f"session:{self.id}"


def cookie_name(settings: Settings, actor: Actor) -> str:
    """Name of a realm's session cookie as the browser sends it."""
    return full_cookie_name(settings, COOKIES[actor])


def full_cookie_name(settings: Settings, name: str) -> str:
    """``__Host-`` over TLS, so that no other host of the domain can set it."""
    return f"__Host-{name}" if settings.is_secure else name


async def start(
    tx: Tx, person: Person, client: Client, *, now: datetime, settings: Settings, amr: Sequence[str] = PASSWORD
) -> str:
    """Open a session; answers the cookie's value, which is kept nowhere else."""
    token = new_token()
    is_staff = person.actor is Actor.STAFF
    await tx.execute(
        insert(session).values(
            id=new_id(),
            customer_id=person.customer_id,
            account_id=None if is_staff else person.account_id,
            staff_id=person.account_id if is_staff else None,
            token_hash=_digest(token),
            authenticated_at=now,
            amr=list(amr),
            last_seen_at=now,
            expires_at=now + timedelta(seconds=settings.session_ttl_s),
            ip_address=client.address[:45],
            user_agent=client.user_agent.replace("\0", "")[:400],
            created_at=now,
        )
    )
    return token


async def renew(tx: Tx, current: BrowserSession, *, now: datetime, settings: Settings, amr: Sequence[str]) -> str:
    """Record a fresh sign-in in the session that is there; answers the new cookie's value."""
    token = new_token()
    await tx.execute(
        update(session)
        .where(session.c.id == current.id)
        .values(
            token_hash=_digest(token),
            authenticated_at=now,
            amr=list(amr),
            last_seen_at=now,
            expires_at=now + timedelta(seconds=settings.session_ttl_s),
        )
    )
    return token


async def attribute(tx: Tx, token: str, *, authenticated_at: datetime, id_token_sealed: bytes | None) -> None:
    """Note that an external provider signed somebody in: when, and the proof that ends its own session."""
    mine = update(session).where(session.c.token_hash == _digest(token))
    await tx.execute(mine.values(authenticated_at=authenticated_at, id_token_sealed=id_token_sealed))


async def strengthen(tx: Tx, current: BrowserSession, *, amr: Sequence[str]) -> None:
    """Note what else somebody has proven in the session they have."""
    await tx.execute(update(session).where(session.c.id == current.id).values(amr=list(dict.fromkeys(amr))))


async def find(platform: Platform, token: str | None, *, actor: Actor = Actor.CUSTOMER) -> BrowserSession | None:
    """The living session of a cookie's value, or None; keeps it alive."""
    if not token:
        return None
    now = platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            select(
                session,
                account.c.username.label("account_name"),
                staff.c.username.label("staff_name"),
                staff.c.roles,
            )
            .select_from(session.outerjoin(account).outerjoin(staff, staff.c.id == session.c.staff_id))
            .where(
                session.c.token_hash == _digest(token),
                session.c.expires_at > now,
                session.c.revoked_at.is_(None),
                staff.c.active if actor is Actor.STAFF else session.c.customer_id.is_not(None),
            )
        )
        if row is None or (row.staff_id and not may_work(platform.settings, row.amr)):
            return None
        expires_at = row.expires_at
        if now - row.last_seen_at > SEEN_EVERY:
            expires_at = now + timedelta(seconds=platform.settings.session_ttl_s)
            await tx.execute(
                update(session).where(session.c.id == row.id).values(last_seen_at=now, expires_at=expires_at)
            )
    viewer = _staff_viewer(row.staff_id, row.roles) if row.staff_id else _customer_viewer(CustomerId(row.customer_id))
    viewer = replace(viewer, session_id=row.id, authenticated_at=row.authenticated_at, amr=tuple(row.amr))
    return BrowserSession(row.id, viewer, row.staff_name or row.account_name, expires_at)


async def is_alive(platform: Platform, current: BrowserSession) -> bool:
    """Whether a session has not ended since it was found; looking does not keep it alive."""
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.scalar(
            select(session.c.id).where(
                session.c.id == current.id, session.c.expires_at > platform.clock(), session.c.revoked_at.is_(None)
            )
        )
    return found is not None


def _customer_viewer(customer_id: CustomerId) -> Viewer:
    return Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=CUSTOMER_SCOPES)


def _staff_viewer(staff_id: UUID, roles: list[str]) -> Viewer:
    return Viewer(Actor.STAFF, staff_id=staff_id, roles=frozenset(roles), scopes=STAFF_SCOPES, purpose=STAFF_PURPOSE)


def may_work(settings: Settings, amr: Collection[str]) -> bool:
    """Whether a member of staff has proven enough to work here."""
    return not settings.staff_needs_second_factor or strength_of(amr) is Strength.MULTI_FACTOR


async def end(tx: Tx, session_id: UUID, *, now: datetime) -> None:
    """End one session, and with it the grants that were not promised to outlive it (``offline_access``).

    Apps that want to be told are told, whether their grants end or not.
    """
    await announce(tx, oauth_grant.c.session_id == session_id)
    await tx.execute(
        update(session).where(session.c.id == session_id, session.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    await tx.execute(
        update(oauth_grant)
        .where(
            oauth_grant.c.session_id == session_id,
            oauth_grant.c.revoked_at.is_(None),
            ~oauth_grant.c.scope.regexp_match(r"(^| )offline_access( |$)"),
        )
        .values(revoked_at=now)
    )


async def end_everywhere(
    tx: Tx,
    *,
    customer_id: CustomerId | None = None,
    staff_id: UUID | None = None,
    now: datetime,
    keep: UUID | None = None,
) -> int:
    """Sign somebody out of every browser and every app; answers how many sessions and grants ended.

    ``keep`` names the session that asked for it. Access tokens die within seconds.
    """
    ended, owner = 0, Owner(customer_id, staff_id)
    await tx.execute(delete(half_sign_in).where(owner.holds(half_sign_in)))
    others = [oauth_grant.c.session_id != keep] if keep is not None else []
    await announce(tx, owner.holds(oauth_grant), *others)
    for table in (session, oauth_grant):
        statement = update(table).where(owner.holds(table), table.c.revoked_at.is_(None)).values(revoked_at=now)
        if keep is not None and table is session:
            statement = statement.where(table.c.id != keep)
        ended += (await tx.execute(statement)).rowcount
    return ended


def is_anywhere(customer_id: BindParameter[UUID]) -> ColumnElement[bool]:
    """Whether a customer is signed in anywhere, or halfway: what ``end_everywhere`` would end."""
    living = (exists().where(t.c.customer_id == customer_id, t.c.revoked_at.is_(None)) for t in (session, oauth_grant))
    return or_(exists().where(half_sign_in.c.customer_id == customer_id), *living)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
