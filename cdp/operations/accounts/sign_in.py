"""Signing in with user name and password: the brake first, then the password, then a session; each try is audited.

An unknown name, a wrong password, an account without a password and a deactivated one get the same answer after the
same work, so that nobody learns who has an account here.
"""

import unicodedata
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import select, update

from cdp.access.strength import PASSWORD
from cdp.access.viewer import Actor
from cdp.core.db import Role, Tx
from cdp.core.errors import Unauthenticated
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.accounts import brake, entrance, factors, half_sign_ins, sessions
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.owner import Owner
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
class Halfway:
    """The password was right and the second factor is outstanding; the token goes into a cookie."""

    token: str = field(repr=False)
    person: Person


@dataclass(frozen=True)
class _Found:
    person: Person
    password_hash: str | None
    fresh_hash: str | None = None


def normalize_username(username: str) -> str:
    """The one form of a user name that is stored and looked up."""
    return unicodedata.normalize("NFKC", username).strip().lower()


async def sign_in(platform: Platform, attempt: Attempt, *, current: BrowserSession | None = None) -> SignedIn | Halfway:
    """Check a password and open a session, or renew ``current`` when it is the same person's.

    Who has a second factor, or needs one, is only halfway in. Raises BadCredentials, and TooManyTries while the brake
    is on; both are audited in a transaction of their own.
    """
    settings, username = platform.settings, normalize_username(attempt.username)
    device = entrance.proven_device(platform, attempt.actor, username, attempt.device)
    tries = brake.counts(platform.pepper, f"{attempt.actor}:{username}", attempt.client.address, device)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await brake.admit(tx, tries, platform.clock())
            found = await _look_up(tx, attempt.actor, username)
    except brake.TooManyTries as refusal:
        await entrance.record_refusal(platform, None, refusal.code)
        raise
    if not await matches(settings, found.password_hash if found else None, attempt.password) or found is None:
        await entrance.record_refusal(platform, found.person.audit_ref if found else None, BadCredentials.code)
        raise BadCredentials
    if found.password_hash and needs_rehash(settings, found.password_hash):
        found = replace(found, fresh_hash=await hash_password(settings, attempt.password))
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.forgive(tx, tries, platform.clock())
        await _keep_fresh_hash(tx, found)
        person = found.person
        owner = Owner(person.customer_id, person.account_id if person.actor is Actor.STAFF else None)
        if _needs_second(platform, person.actor) or (await factors.of(tx, owner)).any:
            return Halfway(await half_sign_ins.start(tx, owner, now=platform.clock()), person)
        return await entrance.enter(tx, platform, person, Visitor(attempt.client, device, current), amr=PASSWORD)


async def confirm(
    platform: Platform, current: BrowserSession, password: str, *, client: Client, device: str | None = None
) -> SignedIn | Halfway:
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
            object_type="Session",
            object_id=current.id,
        )


def _needs_second(platform: Platform, actor: Actor) -> bool:
    return actor is Actor.STAFF and platform.settings.staff_needs_second_factor


async def _keep_fresh_hash(tx: Tx, found: _Found) -> None:
    if found.fresh_hash is None:
        return
    table = staff if found.person.actor is Actor.STAFF else account
    mine = update(table).where(table.c.id == found.person.account_id)
    await tx.execute(mine.values(password_hash=found.fresh_hash))


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
