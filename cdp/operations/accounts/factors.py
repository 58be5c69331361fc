"""Which second factors somebody has, and what follows when one comes or goes.

The first factor beside the password signs out every other browser and app: whoever got in with the password alone is
out. With the last one the recovery codes go too. Every change is audited, and a customer gets a letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict
from cdp.core.platform import Platform
from cdp.operations import audit, messages
from cdp.operations.accounts import passkeys, recovery_codes, sessions, totp
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.passkeys import Passkey
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.letters import Letter
from cdp.operations.reference import Purpose
from cdp.tables.contact import email_address
from cdp.tables.second_factor import passkey
from cdp.tables.second_factor import totp as totp_table

CHANGED = Letter(
    template="second_factor_changed",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="The way you sign in was changed",
    body="Hello,\n\na second factor of your account was added, removed or made anew: an authenticator app, a passkey or"
    "\nyour recovery codes.\n\nIf that was not you, set a new password at once: {base}/account/forgotten-password\n",
)


class FactorNeeded(Conflict):
    """People who work here need a second factor; add another before you remove the last."""

    code = "SECOND_FACTOR_NEEDED"


@dataclass(frozen=True)
class Factors:
    """What somebody can prove themselves with beside the password."""

    has_totp: bool
    has_passkey: bool

    @property
    def any(self) -> bool:
        """Whether a password alone is not enough."""
        return self.has_totp or self.has_passkey


@dataclass(frozen=True)
class Overview:
    """What the security page shows of it."""

    has_totp: bool
    passkeys: Sequence[Passkey]
    recovery_codes_left: int


@dataclass(frozen=True)
class Change:
    """Something that is about to happen to the factors of who is signed in."""

    platform: Platform
    current: BrowserSession

    @property
    def owner(self) -> Owner:
        """Whose factors."""
        return Owner.of(self.current.viewer)

    def require_fresh(self) -> None:
        """Raise StepUpRequired unless the sign-in is fresh (RFC 9470)."""
        max_age_s = self.platform.settings.step_up_max_age_s
        self.current.viewer.require_fresh(self.platform.clock(), max_age_s=max_age_s)


async def of(tx: Tx, owner: Owner) -> Factors:
    """One statement, whoever it is."""
    has_totp = select(totp_table.c.id).where(owner.holds(totp_table)).exists()
    has_passkey = select(passkey.c.id).where(owner.holds(passkey)).exists()
    row = await tx.first(select(has_totp.label("has_totp"), has_passkey.label("has_passkey")))
    assert row is not None, "a select without a table has one row"
    return Factors(row.has_totp, row.has_passkey)


async def look(platform: Platform, owner: Owner) -> Overview:
    """Read it for the security page."""
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await of(tx, owner)
        return Overview(found.has_totp, await passkeys.listed(tx, owner), await recovery_codes.left(tx, owner))


async def add_totp(change: Change, sealed: str, code: str) -> Sequence[str]:
    """Set an authenticator app up; answers new recovery codes when it is the first factor, else nothing.

    Raises StepUpRequired, BadCode, AlreadySetUp.
    """
    change.require_fresh()
    binding = change.current.csrf_binding
    step = totp.is_set_up_by(change.platform, sealed, code, binding=binding)
    async with change.platform.db.transaction(Role.WORKER) as tx:
        before = await of(tx, change.owner)
        await totp.add(tx, change.platform, change.owner, sealed, step=step, binding=binding)
        return await _added(tx, change, "totp.added", before, amr="otp")


async def add_passkey(change: Change, answer: str, *, name: str) -> Sequence[str]:
    """Register a passkey; recovery codes as with ``add_totp``. Raises StepUpRequired and what ``passkeys.add`` does."""
    change.require_fresh()
    async with change.platform.db.transaction(Role.WORKER) as tx:
        before = await of(tx, change.owner)
        binding = change.current.csrf_binding
        passkey_id = await passkeys.add(tx, change.platform, change.owner, answer, name=name, binding=binding)
        return await _added(tx, change, "passkey.added", before, amr="pop", object_id=passkey_id)


async def remove_totp(change: Change) -> None:
    """Forget the authenticator app; without one nothing happens. Raises StepUpRequired, FactorNeeded."""
    change.require_fresh()
    async with change.platform.db.transaction(Role.WORKER) as tx:
        if await totp.remove(tx, change.owner):
            await _removed(tx, change, "totp.removed")


async def remove_passkey(change: Change, passkey_id: UUID) -> None:
    """Forget a passkey. Raises StepUpRequired, NotFound, FactorNeeded."""
    change.require_fresh()
    async with change.platform.db.transaction(Role.WORKER) as tx:
        await passkeys.remove(tx, change.owner, passkey_id)
        await _removed(tx, change, "passkey.removed", object_id=passkey_id)


async def renew_recovery_codes(change: Change) -> Sequence[str]:
    """Make new codes in place of the old. Raises StepUpRequired; nothing for who has no second factor."""
    change.require_fresh()
    async with change.platform.db.transaction(Role.WORKER) as tx:
        if not (await of(tx, change.owner)).any:
            return ()
        codes = await recovery_codes.make(tx, change.platform, change.owner)
        await record(tx, change.platform, change.owner, "recovery_codes.made")
        return codes


async def _added(
    tx: Tx, change: Change, action: str, before: Factors, *, amr: str, object_id: UUID | None = None
) -> Sequence[str]:
    await record(tx, change.platform, change.owner, action, object_id=object_id)
    if before.any:
        return ()
    now, owner, current = change.platform.clock(), change.owner, change.current
    await sessions.end_everywhere(tx, customer_id=owner.customer_id, staff_id=owner.staff_id, now=now, keep=current.id)
    await sessions.strengthen(tx, current, amr=(*current.viewer.amr, amr, "mfa"))
    return await recovery_codes.make(tx, change.platform, owner)


async def _removed(tx: Tx, change: Change, action: str, *, object_id: UUID | None = None) -> None:
    owner = change.owner
    if not (await of(tx, owner)).any:
        if owner.staff_id is not None and change.platform.settings.staff_needs_second_factor:
            raise FactorNeeded
        await recovery_codes.remove(tx, owner)
    await record(tx, change.platform, owner, action, object_id=object_id)


async def record(tx: Tx, platform: Platform, owner: Owner, action: str, *, object_id: UUID | None = None) -> None:
    """Write the log, and tell a customer by letter."""
    subject_ref = await owner.audit_ref(tx)
    await audit.record(tx, owner.viewer, action, subject_ref=subject_ref, object_type="Account", object_id=object_id)
    if owner.customer_id is None:
        return
    address = await tx.scalar(
        select(email_address.c.address)
        .where(email_address.c.customer_id == owner.customer_id)
        .order_by(email_address.c.verified_at.is_(None), email_address.c.is_primary.desc(), email_address.c.id)
        .limit(1)
    )
    if address is not None:
        await messages.queue(tx, owner.customer_id, address, CHANGED.filled(base=platform.settings.url))
