"""Passkeys: key pairs in somebody's device, which sign a challenge of ours; only public halves are kept.

Used alone, a passkey must also have verified its person (PIN, finger, face); beside a password, possession is enough.
Source: Web Authentication Level 3, sections 7.1 and 7.2, https://www.w3.org/TR/webauthn-3/
"""

import ipaddress
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from sqlalchemy import Row, delete, insert, select, update
from webauthn.helpers import options_to_json, parse_authentication_credential_json, parse_registration_credential_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations import values
from cdp.operations.accounts import challenges
from cdp.operations.accounts.challenges import Ceremony
from cdp.operations.accounts.owner import Owner
from cdp.operations.constraints import refusing
from cdp.tables.second_factor import passkey

MOST = 20
LONGEST_NAME = 100
LONGEST_ANSWER = 32 * 1024


class PasskeyRefused(Unauthenticated):
    """This passkey did not work; try again, or sign in another way."""

    code = "PASSKEY_REFUSED"


class PasskeyExists(Conflict):
    """This passkey is registered already."""

    code = "PASSKEY_EXISTS"


class TooManyPasskeys(InvalidInput):
    """There are as many passkeys as we keep; remove one first."""

    code = "TOO_MANY_PASSKEYS"


@dataclass(frozen=True)
class Passkey:
    """One registered key, as its owner sees it."""

    id: UUID
    created_at: datetime
    used_at: datetime | None
    name: str = field(repr=False)


@dataclass(frozen=True)
class Proven:
    """Whose passkey answered, and whether their device has verified them."""

    owner: Owner
    is_verified: bool


def works_at(settings: Settings) -> bool:
    """Whether browsers allow passkeys at our address: a name over TLS or on this machine, never an IP address."""
    parts = urlsplit(settings.url)
    try:
        ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return parts.scheme == "https" or parts.hostname == "localhost"
    return False


def _party(settings: Settings) -> str:
    return urlsplit(settings.url).hostname or ""


def _origin(settings: Settings) -> str:
    parts = urlsplit(settings.url)
    return f"{parts.scheme}://{parts.netloc}"


async def registration(tx: Tx, platform: Platform, owner: Owner, username: str, *, binding: str) -> str:
    """Options for the browser to make a key, as JSON."""
    options = webauthn.generate_registration_options(
        rp_id=_party(platform.settings),
        rp_name=_party(platform.settings),
        user_id=owner.id.bytes,
        user_name=username,
        challenge=challenges.make(platform, Ceremony.REGISTER, binding=binding),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=await _descriptors(tx, owner),
    )
    return options_to_json(options)


async def add(tx: Tx, platform: Platform, owner: Owner, answer: str, *, name: str, binding: str) -> UUID:
    """Keep the public half of a new key.

    Raises PasskeyRefused, ChallengeRefused, PasskeyExists, TooManyPasskeys, InvalidText.
    """
    called = values.text(name, "name", longest=LONGEST_NAME)
    if len(await listed(tx, owner)) >= MOST:
        raise TooManyPasskeys
    with _reading():
        credential = parse_registration_credential_json(_bounded(answer))
        challenge = _challenge(credential.response.client_data_json)
    await challenges.use(tx, platform, Ceremony.REGISTER, challenge, binding=binding)
    with _reading():
        found = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_party(platform.settings),
            expected_origin=_origin(platform.settings),
        )
    row_id = new_id()
    with refusing({"passkey_credential_id_key": PasskeyExists}):
        await tx.execute(
            insert(passkey).values(
                id=row_id,
                **owner.columns,
                name=called,
                credential_id=found.credential_id,
                public_key=found.credential_public_key,
                sign_count=found.sign_count,
                backed_up=found.credential_backed_up,
            )
        )
    return row_id


def sign_in_options(platform: Platform, *, binding: str) -> str:
    """Options to sign in with whatever key the device holds for us; the person must be verified."""
    options = webauthn.generate_authentication_options(
        rp_id=_party(platform.settings),
        challenge=challenges.make(platform, Ceremony.SIGN_IN, binding=binding),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


async def second_step_options(tx: Tx, platform: Platform, owner: Owner, *, binding: str) -> str:
    """Options for one of somebody's own keys, beside their password."""
    options = webauthn.generate_authentication_options(
        rp_id=_party(platform.settings),
        challenge=challenges.make(platform, Ceremony.SECOND_STEP, binding=binding),
        allow_credentials=await _descriptors(tx, owner),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return options_to_json(options)


async def prove(tx: Tx, platform: Platform, answer: str, *, ceremony: Ceremony, binding: str) -> Proven:
    """Check a signed challenge and note the use. Raises PasskeyRefused and ChallengeRefused.

    The sign count must grow, else the key was copied (section 6.1.1).
    """
    with _reading():
        credential = parse_authentication_credential_json(_bounded(answer))
        challenge = _challenge(credential.response.client_data_json)
    await challenges.use(tx, platform, ceremony, challenge, binding=binding)
    row = await tx.first(select(passkey).where(passkey.c.credential_id == credential.raw_id).with_for_update())
    if row is None:
        raise PasskeyRefused
    owner, handle = _owner(row), credential.response.user_handle
    if (handle is None and ceremony is Ceremony.SIGN_IN) or (handle is not None and handle != owner.id.bytes):
        raise PasskeyRefused
    with _reading():
        found = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_party(platform.settings),
            expected_origin=_origin(platform.settings),
            credential_public_key=row.public_key,
            credential_current_sign_count=row.sign_count,
            require_user_verification=ceremony is Ceremony.SIGN_IN,
        )
    used = {"sign_count": found.new_sign_count, "backed_up": found.credential_backed_up, "used_at": platform.clock()}
    await tx.execute(update(passkey).where(passkey.c.id == row.id).values(used))
    return Proven(owner, found.user_verified)


async def listed(tx: Tx, owner: Owner) -> Sequence[Passkey]:
    """Somebody's keys, oldest first."""
    rows = await tx.all(select(passkey).where(owner.holds(passkey)).order_by(passkey.c.created_at, passkey.c.id))
    return [Passkey(row.id, row.created_at, row.used_at, row.name) for row in rows]


async def remove(tx: Tx, owner: Owner, passkey_id: UUID) -> None:
    """Forget one key. Raises NotFound for another's."""
    gone = await tx.execute(delete(passkey).where(passkey.c.id == passkey_id, owner.holds(passkey)))
    if gone.rowcount != 1:
        raise NotFound


def _owner(row: Row[tuple[object, ...]]) -> Owner:
    return Owner(CustomerId(row.customer_id) if row.customer_id else None, row.staff_id)


async def _descriptors(tx: Tx, owner: Owner) -> list[PublicKeyCredentialDescriptor]:
    rows = await tx.all(select(passkey.c.credential_id).where(owner.holds(passkey)).order_by(passkey.c.id))
    return [PublicKeyCredentialDescriptor(id=row.credential_id) for row in rows]


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever a parser says about a stranger's bytes, it is one refusal."""
    try:
        yield
    except Exception as error:
        raise PasskeyRefused from error


def _bounded(answer: str) -> str:
    if len(answer) > LONGEST_ANSWER:
        raise PasskeyRefused
    return answer


def _challenge(client_data: bytes) -> bytes:
    """What the device says it signed; the library checks that it did."""
    said = json.loads(client_data)
    if not isinstance(said, dict):
        raise PasskeyRefused
    return webauthn.base64url_to_bytes(str(said["challenge"]))
