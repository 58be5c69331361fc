"""The last step of every way to sign in: a session, the device's own token, and a line in the log.

A device token tells a browser that signed in before from whoever attacks from elsewhere, see ``brake``.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import update

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.ids import new_token
from cdp.core.platform import Platform
from cdp.core.sign import encode
from cdp.operations import audit
from cdp.operations.accounts import sessions
from cdp.operations.accounts.sessions import BrowserSession, Client, Person
from cdp.tables.account import account


@dataclass(frozen=True)
class SignedIn:
    """The cookies of a successful sign-in: session, and the device token that keeps the brake off this browser."""

    session_token: str = field(repr=False)
    device_token: str = field(repr=False)
    person: Person


@dataclass(frozen=True)
class Visitor:
    """Where somebody comes from, and with what: the proven device, the session they have."""

    client: Client
    device: str | None = None
    current: BrowserSession | None = None


async def enter(tx: Tx, platform: Platform, person: Person, visitor: Visitor, *, amr: Sequence[str]) -> SignedIn:
    """Open a session, or renew the visitor's own; ``amr`` says how they have proven themselves."""
    now, settings, current = platform.clock(), platform.settings, visitor.current
    same = current is not None and current.viewer.actor is person.actor and _is(current.viewer, person)
    if current is not None and same:
        token = await sessions.renew(tx, current, now=now, settings=settings, amr=amr)
    else:
        if current is not None and current.viewer.actor is person.actor:
            await sessions.end(tx, current.id, now=now)
        token = await sessions.start(tx, person, visitor.client, now=now, settings=settings, amr=amr)
    if person.actor is Actor.CUSTOMER:
        mine = update(account).where(account.c.id == person.account_id)
        await tx.execute(mine.values(last_sign_in_at=now))
    action = "session.renewed" if same else "session.started"
    details = {"amr": list(amr)}
    await audit.record(
        tx, _viewer(person), action, subject_ref=person.audit_ref, object_type="Account", details=details
    )
    return SignedIn(token, device_token(platform, person, visitor.device), person)


async def record_refusal(platform: Platform, subject_ref: UUID | None, code: str) -> None:
    """Note a failed try, in a transaction of its own."""
    async with platform.db.transaction(Role.WORKER) as tx:
        await audit.record(
            tx,
            ANONYMOUS,
            "session.refused",
            subject_ref=subject_ref,
            object_type="Account",
            outcome="refused",
            code=code,
        )


def device_token(platform: Platform, person: Person, device: str | None) -> str:
    """The token a browser keeps; a proven device keeps its own."""
    device = device or new_token()
    return f"{device}.{_device_proof(platform, person.actor, person.username, device)}"


def proven_device(platform: Platform, actor: Actor, username: str, token: str | None) -> str | None:
    """The device of a token, if the token was made for this account."""
    device, _, proof = (token or "").partition(".")
    expected = _device_proof(platform, actor, username, device)
    return device if device and hmac.compare_digest(proof.encode(), expected.encode()) else None


def _device_proof(platform: Platform, actor: Actor, username: str, device: str) -> str:
    return encode(platform.pepper.hash("device", f"{actor}\0{username}\0{device}").value)


def _is(viewer: Viewer, person: Person) -> bool:
    if person.actor is Actor.STAFF:
        return viewer.staff_id == person.account_id
    return viewer.customer_id == person.customer_id


def _viewer(person: Person) -> Viewer:
    is_staff = person.actor is Actor.STAFF
    return Viewer(person.actor, customer_id=person.customer_id, staff_id=person.account_id if is_staff else None)
