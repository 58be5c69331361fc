"""Device authorization: an app without a browser shows a code, somebody signed in types it and decides (RFC 8628).

    pending -> approved -> redeemed
          \\-> denied

Whoever polls too often waits five seconds longer each time. Source: https://www.rfc-editor.org/rfc/rfc8628
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Row, insert, select, update

from cdp.access.scopes import SCOPES
from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.ids import new_id, new_token
from cdp.core.platform import Platform
from cdp.core.seal import Pepper, Unsealable
from cdp.core.sign import decode, encode
from cdp.operations import audit
from cdp.operations.accounts import brake
from cdp.operations.oauth import grants
from cdp.operations.oauth.clients import OAuthClient, find_by_id
from cdp.operations.oauth.grants import Grant, realm_of
from cdp.tables.customer import customer
from cdp.tables.device import DEVICE_TRANSITIONS, DeviceStatus, oauth_device_code

LIFE = timedelta(minutes=10)
INTERVAL_S = 5
SLOWER_BY_S = 5
# Consonants only: no word is ever spelled, nothing looks like a digit; 20 ** 8 codes.
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
_ASKED = "oauth.device"


class CodeUnknown(NotFound):
    """This code is not valid, or not valid any more; check it, or start again on your device."""

    code = "DEVICE_CODE_UNKNOWN"


class Poll(StrEnum):
    """What a device that asks again is told."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    PENDING = "pending"
    TOO_FAST = "too_fast"
    DENIED = "denied"
    GRANTED = "granted"


@dataclass(frozen=True)
class Opened:
    """The two codes of a new authorization; both are shown this once."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)


@dataclass(frozen=True)
class Polled:
    """The answer to a device; ``grant`` comes with GRANTED, once."""

    state: Poll
    scope: str = ""
    grant: Grant | None = None


@dataclass(frozen=True)
class Question:
    """What a person is asked: which app, what for, and the code the device must show."""

    actor: Actor
    client_name: str
    wants: tuple[str, ...]
    user_code: str


async def open(tx: Tx, pepper: Pepper, client: OAuthClient, scope: str, *, now: datetime) -> Opened:  # noqa: A001
    """Begin an authorization for what ``scope`` says."""
    opened = Opened(new_token(), "".join(secrets.choice(LETTERS) for _ in range(LENGTH)))
    authorization_id = new_id()
    await tx.execute(
        insert(oauth_device_code).values(
            id=authorization_id,
            client_id=client.id,
            device_code_hash=_digest(opened.device_code),
            user_code_hash=_user_code_hash(pepper, opened.user_code),
            scope=scope,
            interval_s=INTERVAL_S,
            created_at=now,
            expires_at=now + LIFE,
        )
    )
    await _record(tx, ANONYMOUS, "device.opened", authorization_id)
    return opened


async def poll(tx: Tx, client: OAuthClient, device_code: str, *, now: datetime) -> Polled:
    """Answer a device that asks whether somebody has decided; a granted one is redeemed by this. Locks the row."""
    row = await tx.first(
        select(oauth_device_code)
        .where(oauth_device_code.c.device_code_hash == _digest(device_code), oauth_device_code.c.client_id == client.id)
        .with_for_update()
    )
    if row is None or row.status is DeviceStatus.REDEEMED:
        return Polled(Poll.UNKNOWN)
    if row.expires_at <= now:
        return Polled(Poll.EXPIRED)
    if row.status is DeviceStatus.DENIED:
        return Polled(Poll.DENIED)
    if row.status is DeviceStatus.PENDING:
        return await _pending(tx, row, now)
    await _move(tx, row.id, DeviceStatus.APPROVED, DeviceStatus.REDEEMED)
    grant = await grants.living(tx, row.family_id)
    return Polled(Poll.GRANTED, row.scope, grant) if grant else Polled(Poll.UNKNOWN)


async def _pending(tx: Tx, row: Row[tuple[object, ...]], now: datetime) -> Polled:
    is_early = row.polled_at is not None and now - row.polled_at < timedelta(seconds=row.interval_s)
    later: dict[str, object] = {"interval_s": row.interval_s + SLOWER_BY_S} if is_early else {}
    mine = update(oauth_device_code).where(oauth_device_code.c.id == row.id)
    await tx.execute(mine.values(polled_at=now, **later))
    return Polled(Poll.TOO_FAST if is_early else Poll.PENDING)


def written(user_code: str) -> str:
    """A code as people read it: ``BCDF-GHJK``."""
    return f"{user_code[: LENGTH // 2]}-{user_code[LENGTH // 2 :]}"


async def recognise(platform: Platform, typed: str, *, address: str) -> tuple[Actor, str]:
    """Whose sign-in a typed code is about, and the sealed word for it that the next page is opened with.

    Raises CodeUnknown, and TooManyTries for who guesses; ``address`` is where they come from.
    """
    user_code = "".join(letter for letter in typed.upper() if letter.isalpha())
    tries = brake.code_counts(platform.pepper, "device", address)
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.admit(tx, tries, platform.clock())
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _waiting(tx, platform, user_code)
        await brake.forgive(tx, tries, platform.clock())
    return realm_of(row.scope.split()), encode(platform.sealer.seal(user_code.encode(), _ASKED))


async def question_of(platform: Platform, sealed: str) -> Question:
    """What the person is asked. Raises CodeUnknown when it is decided, over, or was never typed here."""
    user_code = _opened(platform, sealed)
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _waiting(tx, platform, user_code)
        client = await find_by_id(tx, row.client_id)
    if client is None:
        raise CodeUnknown
    names = row.scope.split()
    return Question(realm_of(names), client.name, tuple(SCOPES[name] for name in names), written(user_code))


async def decide(platform: Platform, viewer: Viewer, sealed: str, *, allowed: bool) -> None:
    """Say yes or no in the viewer's name. Raises CodeUnknown, also to somebody of the other realm."""
    user_code, now = _opened(platform, sealed), platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _waiting(tx, platform, user_code, lock=True)
        client = await find_by_id(tx, row.client_id)
        if client is None or realm_of(row.scope.split()) is not viewer.actor:
            raise CodeUnknown
        if not allowed:
            await _move(tx, row.id, DeviceStatus.PENDING, DeviceStatus.DENIED)
            await _record(tx, viewer, "device.denied", row.id)
            return
        grant = await grants.open_grant(tx, viewer, client, row.scope, now=now)
        given = {"family_id": grant.id, "customer_id": grant.customer_id}
        await _move(tx, row.id, DeviceStatus.PENDING, DeviceStatus.APPROVED, **given)
        await _record(tx, viewer, "device.approved", row.id)


async def _waiting(tx: Tx, platform: Platform, user_code: str, *, lock: bool = False) -> Row[tuple[object, ...]]:
    found = select(oauth_device_code).where(
        oauth_device_code.c.user_code_hash == _user_code_hash(platform.pepper, user_code),
        oauth_device_code.c.status == DeviceStatus.PENDING,
        oauth_device_code.c.expires_at > platform.clock(),
    )
    row = await tx.first(found.with_for_update() if lock else found)
    if row is None:
        raise CodeUnknown
    return row


async def _move(
    tx: Tx, authorization_id: UUID, before: DeviceStatus, after: DeviceStatus, **values: UUID | None
) -> None:
    if after not in DEVICE_TRANSITIONS[before]:
        raise ValueError(f"a device authorization never goes from {before} to {after}")
    moved = await tx.execute(
        update(oauth_device_code)
        .where(oauth_device_code.c.id == authorization_id, oauth_device_code.c.status == before)
        .values(status=after, **values)
    )
    if moved.rowcount != 1:
        raise CodeUnknown


def _opened(platform: Platform, sealed: str) -> str:
    try:
        return platform.sealer.open(decode(sealed), _ASKED).decode()
    except (Unsealable, ValueError) as error:
        raise CodeUnknown from error


def _digest(device_code: str) -> bytes:
    return hashlib.sha256(device_code.encode()).digest()


def _user_code_hash(pepper: Pepper, user_code: str) -> bytes:
    """Keyed: so short a code could be found from a plain hash."""
    return pepper.hash("device", user_code).value


async def _record(tx: Tx, viewer: Viewer, action: str, authorization_id: UUID) -> None:
    subject_ref = None
    if viewer.customer_id is not None:
        subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == viewer.customer_id))
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=subject_ref,
        object_type="OAuthDeviceCode",
        object_id=authorization_id,
    )
