"""The second step of signing in: a code of an authenticator app, a recovery code, or a passkey; and a passkey alone.

Tries are braked per account more strictly than passwords, since whoever comes here knows the password already; a
browser that signed in before has a count of its own, so that the owner gets in while somebody guesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from cdp.access.strength import PASSKEY, PASSWORD_AND_CODE, PASSWORD_AND_KEY
from cdp.access.viewer import Actor
from cdp.core.db import Role, Tx
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.operations.accounts import brake, entrance, factors, half_sign_ins, passkeys, recovery_codes, totp
from cdp.operations.accounts.challenges import Ceremony
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.factors import Factors
from cdp.operations.accounts.half_sign_ins import HalfSignIn
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.passkeys import PasskeyRefused
from cdp.operations.accounts.sessions import Person
from cdp.operations.accounts.totp import BadCode
from cdp.tables.account import account
from cdp.tables.customer import customer
from cdp.tables.staff import staff


@dataclass(frozen=True)
class Waiting:
    """What the page of the second step needs to know; ``key_options`` is JSON for the browser, or empty."""

    half: HalfSignIn
    factors: Factors
    key_options: str = field(repr=False)


@dataclass(frozen=True)
class Enrolled:
    """A member of staff who has just set up the factor they need; the codes are shown once."""

    signed_in: SignedIn
    recovery_codes: Sequence[str] = field(repr=False)


async def look(platform: Platform, token: str | None, actor: Actor) -> Waiting:
    """What a half sign-in waits for. Raises HalfSignInGone."""
    async with platform.db.transaction(Role.WORKER) as tx:
        half = await half_sign_ins.find(tx, token, actor, now=platform.clock())
        found = await factors.of(tx, half.owner)
        options = ""
        if found.has_passkey and passkeys.works_at(platform.settings):
            options = await passkeys.second_step_options(tx, platform, half.owner, binding=half.binding)
        return Waiting(half, found, options)


async def by_code(platform: Platform, half: HalfSignIn, typed: str, visitor: Visitor) -> SignedIn:
    """Finish with what somebody typed: six digits, or a recovery code. Raises BadCode, TooManyTries, HalfSignInGone."""
    tries = await _admit(platform, half, visitor)
    async with platform.db.transaction(Role.WORKER) as tx:
        if recovery_codes.looks_like_one(typed):
            is_right = await recovery_codes.use(tx, platform, half.owner, typed)
            if is_right:
                await factors.record(tx, platform, half.owner, "recovery_code.used")
        else:
            is_right = await totp.use(tx, platform, half.owner, recovery_codes.normal(typed))
        if is_right:
            return await _finish(tx, platform, half, visitor, tries, amr=PASSWORD_AND_CODE)
    await entrance.record_refusal(platform, half.person.audit_ref, BadCode.code)
    raise BadCode


async def by_passkey(platform: Platform, half: HalfSignIn, answer: str, visitor: Visitor) -> SignedIn:
    """Finish with one's own passkey. Raises PasskeyRefused, ChallengeRefused, TooManyTries, HalfSignInGone."""
    tries = await _admit(platform, half, visitor)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            ceremony = Ceremony.SECOND_STEP
            proven = await passkeys.prove(tx, platform, answer, ceremony=ceremony, binding=half.binding)
            if proven.owner != half.owner:
                raise PasskeyRefused
            return await _finish(tx, platform, half, visitor, tries, amr=PASSWORD_AND_KEY)
    except PlatformError as refusal:
        await entrance.record_refusal(platform, half.person.audit_ref, refusal.code)
        raise


async def with_passkey_alone(
    platform: Platform, actor: Actor, answer: str, visitor: Visitor, *, binding: str
) -> SignedIn:
    """Sign in, or again, with nothing but a passkey that has verified its person.

    Raises PasskeyRefused, also for somebody else's while signed in; ChallengeRefused, TooManyTries.
    """
    tries = brake.passkey_counts(platform.pepper, visitor.client.address)
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.admit(tx, tries, platform.clock())
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            proven = await passkeys.prove(tx, platform, answer, ceremony=Ceremony.SIGN_IN, binding=binding)
            person = await _person(tx, proven.owner)
            if person is None or person.actor is not actor or _is_another(visitor, proven.owner):
                raise PasskeyRefused
            await brake.forgive(tx, tries, platform.clock())
            return await entrance.enter(tx, platform, person, visitor, amr=PASSKEY)
    except PlatformError as refusal:
        await entrance.record_refusal(platform, None, refusal.code)
        raise


async def enrol(platform: Platform, half: HalfSignIn, sealed: str, code: str, visitor: Visitor) -> Enrolled:
    """Set up the authenticator app a member of staff needs before they get in for the first time.

    Raises BadCode, TooManyTries, HalfSignInGone; AlreadySetUp for who has a factor.
    """
    tries = await _admit(platform, half, visitor)
    step = totp.is_set_up_by(platform, sealed, code, binding=half.binding)
    async with platform.db.transaction(Role.WORKER) as tx:
        if (await factors.of(tx, half.owner)).any:
            raise totp.AlreadySetUp
        await totp.add(tx, platform, half.owner, sealed, step=step, binding=half.binding)
        await factors.record(tx, platform, half.owner, "totp.added")
        codes = await recovery_codes.make(tx, platform, half.owner)
        signed_in = await _finish(tx, platform, half, visitor, tries, amr=PASSWORD_AND_CODE)
        return Enrolled(signed_in, codes)


async def _admit(platform: Platform, half: HalfSignIn, visitor: Visitor) -> Sequence[brake.Count]:
    name = f"{half.person.actor}:{half.person.username}"
    tries = brake.second_step_counts(platform.pepper, name, visitor.client.address, visitor.device)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await brake.admit(tx, tries, platform.clock())
            await half_sign_ins.count_try(tx, half)
    except brake.TooManyTries as refusal:
        await entrance.record_refusal(platform, half.person.audit_ref, refusal.code)
        raise
    return tries


async def _finish(
    tx: Tx, platform: Platform, half: HalfSignIn, visitor: Visitor, tries: Sequence[brake.Count], *, amr: Sequence[str]
) -> SignedIn:
    await half_sign_ins.consume(tx, half)
    await brake.forgive(tx, tries, platform.clock())
    return await entrance.enter(tx, platform, half.person, visitor, amr=amr)


def _is_another(visitor: Visitor, owner: Owner) -> bool:
    """Whether somebody else is signed in here: signing in again is not for changing people."""
    return visitor.current is not None and Owner.of(visitor.current.viewer) != owner


async def _person(tx: Tx, owner: Owner) -> Person | None:
    if owner.staff_id is not None:
        name = await tx.scalar(select(staff.c.username).where(staff.c.id == owner.staff_id, staff.c.active))
        return Person(Actor.STAFF, owner.staff_id, name) if name else None
    row = await tx.first(
        select(account.c.id, account.c.username, customer.c.audit_ref)
        .join_from(account, customer, customer.c.id == account.c.customer_id)
        .where(account.c.customer_id == owner.customer_id)
    )
    return Person(Actor.CUSTOMER, row.id, row.username, owner.customer_id, row.audit_ref) if row else None
