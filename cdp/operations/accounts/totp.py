"""Authenticator apps: time-based one-time codes of six digits (RFC 6238); each time step counts once.

While it is being set up, the secret travels sealed in the page's own form: nothing is written before the first code has
proven that the app holds it.
"""

import hmac
from dataclasses import dataclass, field
from datetime import datetime

import pyotp
import segno
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.core.db import Tx
from cdp.core.errors import Conflict, Unauthenticated
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.seal import Sealer, Unsealable
from cdp.core.sign import decode, encode
from cdp.operations.accounts.owner import Owner
from cdp.tables.second_factor import totp

STEP_S = 30
# Clocks of phones are wrong; one step either side is what RFC 6238 section 5.2 recommends.
STEPS_AROUND = (0, -1, 1)
DIGITS = 6


class BadCode(Unauthenticated):
    """This code is not right, or was used already; wait for the next one."""

    code = "BAD_CODE"


class AlreadySetUp(Conflict):
    """An authenticator app is set up already; remove it first."""

    code = "AUTHENTICATOR_EXISTS"


@dataclass(frozen=True)
class Setup:
    """What somebody scans or types into their app; ``sealed`` comes back with the first code."""

    secret: str = field(repr=False)
    picture: str = field(repr=False)
    sealed: str = field(repr=False)

    @property
    def spaced(self) -> str:
        """The secret in groups of four, to be typed."""
        return " ".join(self.secret[at : at + 4] for at in range(0, len(self.secret), 4))


def offer(platform: Platform, username: str, *, binding: str, sealed: str = "") -> Setup:
    """Make a secret, or show the one in ``sealed`` again. ``binding`` names the session that sets it up."""
    try:
        secret = _unsealed(platform.sealer, binding, sealed) if sealed else pyotp.random_base32()
    except BadCode:
        secret = pyotp.random_base32()
    issuer = platform.settings.url.partition("://")[2]
    address = pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=issuer)
    picture = segno.make(address, error="m").svg_data_uri(scale=4, border=4, light="#fff", dark="#000")
    return Setup(secret, picture, encode(platform.sealer.seal(secret.encode(), _setup_context(binding))))


def is_set_up_by(platform: Platform, sealed: str, code: str, *, binding: str) -> int:
    """The time step of the first code of a new app. Raises BadCode."""
    step = _step_of(_unsealed(platform.sealer, binding, sealed), code, platform.clock())
    if step is None:
        raise BadCode
    return step


async def add(tx: Tx, platform: Platform, owner: Owner, sealed: str, *, step: int, binding: str) -> None:
    """Keep the secret of an app that has proven itself. Raises AlreadySetUp."""
    row_id, secret = new_id(), _unsealed(platform.sealer, binding, sealed)
    written = await tx.execute(
        upsert(totp)
        .values(
            id=row_id,
            **owner.columns,
            secret_sealed=platform.sealer.seal(secret.encode(), _context(row_id)),
            last_step=step,
        )
        .on_conflict_do_nothing()
    )
    if written.rowcount != 1:
        raise AlreadySetUp


async def use(tx: Tx, platform: Platform, owner: Owner, code: str) -> bool:
    """Whether a code is right and its time step was not used; the step is used up by it."""
    row = await tx.first(select(totp.c.id, totp.c.secret_sealed).where(owner.holds(totp)))
    if row is None:
        return False
    now = platform.clock()
    secret = platform.sealer.open(row.secret_sealed, _context(row.id)).decode()
    step = _step_of(secret, code, now)
    if step is None:
        return False
    fresh = update(totp).where(totp.c.id == row.id, totp.c.last_step < step).values(last_step=step, used_at=now)
    return (await tx.execute(fresh)).rowcount == 1


async def remove(tx: Tx, owner: Owner) -> bool:
    """Forget the app; whether there was one."""
    return (await tx.execute(delete(totp).where(owner.holds(totp)))).rowcount == 1


def _step_of(secret: str, code: str, now: datetime) -> int | None:
    """The time step a code belongs to; every candidate is compared, whichever fits."""
    app, current = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S), int(now.timestamp()) // STEP_S
    fitting = [
        current + away
        for away in STEPS_AROUND
        if hmac.compare_digest(app.generate_otp(current + away).encode(), code.encode())
    ]
    return max(fitting, default=None)


def _context(row_id: object) -> str:
    return f"totp:{row_id}"


def _setup_context(binding: str) -> str:
    return f"totp-setup:{binding}"


def _unsealed(sealer: Sealer, binding: str, sealed: str) -> str:
    try:
        return sealer.open(decode(sealed), _setup_context(binding)).decode()
    except (Unsealable, ValueError) as error:
        raise BadCode from error
