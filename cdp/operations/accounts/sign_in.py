"""Signing in with user name and password: the brake first, then the password, then a session; each try is audited.

An unknown name, a wrong password, an account without a password and a deactivated one get the same answer after the
same work, so that nobody learns who has an account here.
"""

import hmac
import unicodedata
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select, update

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Unauthenticated
from cdp.core.ids import CustomerId, new_token
from cdp.core.platform import Platform
from cdp.core.sign import encode
from cdp.operations import audit
from cdp.operations.accounts import brake, sessions
from cdp.operations.accounts.passwords import hash_password, matches, needs_rehash
from cdp.operations.accounts.sessions import BrowserSession, Client, Person
from cdp.tables.account import account
from cdp.tables.customer import customer
from cdp.tables.staff import staff

LONGEST_USERNAME = 320


class BadCredentials(Unauthenticated):
    """The user name or the password is not right."""

    code = "BAD_CREDENTIALS"


@dataclass(frozen=True)
class Attempt:
    """What somebody typed, and from where. ``device`` is the token a browser got at an earlier sign-in."""

    actor: Actor
    username: str
    password: str
    client: Client
    device: str | None = None


@dataclass(frozen=True)
class SignedIn:
    """The cookies of a successful sign-in: session, and the device token that keeps the brake off this browser."""

    session_token: str
    device_token: str
    person: Person


@dataclass(frozen=True)
class _Found:
    person: Person
    password_hash: str | None
    fresh_hash: str | None = None


def normalize_username(username: str) -> str:
    """The one form of a user name that is stored and looked up."""
    return unicodedata.normalize("NFKC", username).strip().lower()


async def sign_in(platform: Platform, attempt: Attempt, *, current: BrowserSession | None = None) -> SignedIn:
    """Check a password and open a session, or renew ``current`` when it is the same person's.

    Raises BadCredentials, and TooManyTries while the brake is on; both are audited in a transaction of their own.
    """
    username = normalize_username(attempt.username)
    device = _proven_device(platform, attempt.actor, username, attempt.device)
    tries = brake.counts(platform.pepper, f"{attempt.actor}:{username}", attempt.client.address, device)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await brake.admit(tx, tries, platform.clock())
            found = await _look_up(tx, attempt.actor, username)
    except brake.TooManyTries as refusal:
        await _record_refusal(platform, None, refusal.code)
        raise
    if not await matches(found.password_hash if found else None, attempt.password) or found is None:
        await _record_refusal(platform, found, BadCredentials.code)
        raise BadCredentials
    if found.password_hash and needs_rehash(found.password_hash):
        found = replace(found, fresh_hash=await hash_password(attempt.password))
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.forgive(tx, tries, platform.clock())
        token = await _open(tx, platform, found, attempt.client, current)
    return SignedIn(token, _device_token(platform, attempt.actor, username, device), found.person)


async def confirm(
    platform: Platform, current: BrowserSession, password: str, *, client: Client, device: str | None = None
) -> SignedIn:
    """Sign in again as who is signed in (step-up, RFC 9470): the name is not asked twice."""
    attempt = Attempt(current.viewer.actor, current.username, password, client, device)
    return await sign_in(platform, attempt, current=current)


async def sign_out(platform: Platform, current: BrowserSession) -> None:
    """End a session and the grants that live no longer than it."""
    now = platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        subject_ref = await _subject_ref(tx, current.viewer.customer_id)
        await sessions.end(tx, current.id, now=now)
        await audit.record(
            tx,
            current.viewer,
            "session.ended",
            subject_ref=subject_ref,
            object_type="session",
            object_id=current.id,
        )


async def _open(tx: Tx, platform: Platform, found: _Found, client: Client, current: BrowserSession | None) -> str:
    now, settings, person = platform.clock(), platform.settings, found.person
    same = current is not None and current.viewer.actor is person.actor and _is(current.viewer, person)
    if current is not None and same:
        token = await sessions.renew(tx, current, now=now, settings=settings)
    else:
        if current is not None and current.viewer.actor is person.actor:
            await sessions.end(tx, current.id, now=now)
        token = await sessions.start(tx, person, client, now=now, settings=settings)
    if person.actor is Actor.CUSTOMER:
        values: dict[str, object] = {"last_sign_in_at": now} | (
            {"password_hash": found.fresh_hash} if found.fresh_hash else {}
        )
        await tx.execute(update(account).where(account.c.id == person.account_id).values(values))
    elif found.fresh_hash:
        await tx.execute(update(staff).where(staff.c.id == person.account_id).values(password_hash=found.fresh_hash))
    action = "session.renewed" if same else "session.started"
    await audit.record(tx, _viewer(person), action, subject_ref=person.audit_ref, object_type="account")
    return token


def _is(viewer: Viewer, person: Person) -> bool:
    if person.actor is Actor.STAFF:
        return viewer.staff_id == person.account_id
    return viewer.customer_id == person.customer_id


def _viewer(person: Person) -> Viewer:
    is_staff = person.actor is Actor.STAFF
    return Viewer(person.actor, customer_id=person.customer_id, staff_id=person.account_id if is_staff else None)


async def _look_up(tx: Tx, actor: Actor, username: str) -> _Found | None:
    if len(username) > LONGEST_USERNAME or not username.isprintable():
        return None
    if actor is Actor.STAFF:
        row = await tx.first(
            select(staff.c.id, staff.c.password_hash).where(staff.c.username == username, staff.c.active)
        )
        return _Found(Person(actor, row.id, username), row.password_hash) if row else None
    row = await tx.first(
        select(account.c.id, account.c.password_hash, account.c.customer_id, customer.c.audit_ref)
        .join_from(account, customer, customer.c.id == account.c.customer_id)
        .where(account.c.username == username)
    )
    if row is None:
        return None
    person = Person(actor, row.id, username, CustomerId(row.customer_id), row.audit_ref)
    return _Found(person, row.password_hash)


async def _subject_ref(tx: Tx, customer_id: CustomerId | None) -> UUID | None:
    if customer_id is None:
        return None
    found: UUID | None = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == customer_id))
    return found


async def _record_refusal(platform: Platform, found: _Found | None, code: str) -> None:
    subject_ref = found.person.audit_ref if found else None
    async with platform.db.transaction(Role.WORKER) as tx:
        await audit.record(
            tx,
            ANONYMOUS,
            "session.refused",
            subject_ref=subject_ref,
            object_type="account",
            outcome="refused",
            code=code,
        )


def _device_token(platform: Platform, actor: Actor, username: str, device: str | None) -> str:
    device = device or new_token()
    return f"{device}.{_device_proof(platform, actor, username, device)}"


def _proven_device(platform: Platform, actor: Actor, username: str, token: str | None) -> str | None:
    device, _, proof = (token or "").partition(".")
    expected = _device_proof(platform, actor, username, device)
    return device if device and hmac.compare_digest(proof.encode(), expected.encode()) else None


def _device_proof(platform: Platform, actor: Actor, username: str, device: str) -> str:
    return encode(platform.pepper.hash("device", f"{actor}\0{username}\0{device}").value)
