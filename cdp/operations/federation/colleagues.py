"""Staff who come from the provider: their roles are what its claims say today; without one they may not work here."""

from uuid import UUID

from sqlalchemy import Row, insert, select, update

from cdp.access.viewer import SYSTEM, Actor
from cdp.core.db import Tx
from cdp.core.errors import Forbidden
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.accounts import sessions
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sessions import Person
from cdp.operations.constraints import refusing
from cdp.operations.federation import identities
from cdp.operations.federation.arrival import Arrival
from cdp.operations.federation.identities import IdentityTaken
from cdp.tables.federation import external_identity
from cdp.tables.staff import staff


class NoRole(Forbidden):
    """Your sign-in worked, but it gives you no role here. Ask whoever manages your account to give you one."""

    code = "NO_ROLE"


async def person_of(tx: Tx, platform: Platform, found: Row[tuple[object, ...]], arrival: Arrival) -> Person | None:
    """A linked colleague with the roles of today; None for who may not work here (any more).

    Losing every role deactivates them and ends what they have open; a role that comes back lets them in again, unless
    an operator has deactivated them.
    """
    row = await tx.first(select(staff).where(staff.c.id == found.staff_id).with_for_update())
    assert row is not None, "a colleague is never deleted"
    if not arrival.roles:
        await _suspend(tx, platform, found.id, row.id)
        return None
    if not row.active and found.suspended_at is None:
        return None
    await tx.execute(update(external_identity).where(external_identity.c.id == found.id).values(suspended_at=None))
    await _set_roles(tx, row, arrival)
    return Person(Actor.STAFF, row.id, row.username)


async def _suspend(tx: Tx, platform: Platform, identity_id: UUID, staff_id: UUID) -> None:
    now = platform.clock()
    ended = await tx.execute(update(staff).where(staff.c.id == staff_id, staff.c.active).values(active=False, roles=[]))
    if ended.rowcount != 1:
        return
    await tx.execute(update(external_identity).where(external_identity.c.id == identity_id).values(suspended_at=now))
    await sessions.end_everywhere(tx, staff_id=staff_id, now=now)
    await _record(tx, "staff.suspended", staff_id, ())


async def _set_roles(tx: Tx, row: Row[tuple[object, ...]], arrival: Arrival) -> None:
    if row.active and sorted(row.roles) == list(arrival.roles):
        return
    mine = update(staff).where(staff.c.id == row.id)
    await tx.execute(mine.values(active=True, roles=list(arrival.roles)))
    await _record(tx, "staff.roles_changed" if row.active else "staff.reinstated", row.id, arrival.roles)


async def owns_address(tx: Tx, arrival: Arrival) -> bool:
    """Whether a colleague has this address as user name, proven or not: then it has to be linked by them."""
    if arrival.email is None:
        return False
    return await tx.scalar(select(staff.c.id).where(staff.c.username == arrival.email.lower())) is not None


async def hire(tx: Tx, platform: Platform, arrival: Arrival) -> Person:
    """Add a colleague without a password, with the roles their claims say. Raises NoRole, IdentityTaken."""
    if not arrival.roles:
        raise NoRole
    named = arrival.email.lower() if arrival.email is not None and arrival.is_email_verified else arrival.own_name
    staff_id = new_id()
    new = {"id": staff_id, "username": named, "name": arrival.name or named, "roles": list(arrival.roles)}
    with refusing({"staff_username_key": IdentityTaken}):
        await tx.execute(insert(staff).values(new))
    await _record(tx, "staff.added", staff_id, arrival.roles)
    await identities.link(tx, platform, Owner(staff_id=staff_id), arrival)
    return Person(Actor.STAFF, staff_id, named)


async def take_roles(tx: Tx, staff_id: UUID, arrival: Arrival) -> None:
    """Give who has just linked the roles their claims say. Raises NoRole."""
    if not arrival.roles:
        raise NoRole
    row = await tx.first(select(staff).where(staff.c.id == staff_id).with_for_update())
    assert row is not None, "a colleague is never deleted"
    await _set_roles(tx, row, arrival)


async def _record(tx: Tx, action: str, staff_id: UUID, roles: tuple[str, ...]) -> None:
    details = {"roles": list(roles), "by": "external provider"}
    await audit.record(tx, SYSTEM, action, subject_ref=None, object_type="Staff", object_id=staff_id, details=details)
