"""Accounts of staff: made by an operator, opened by a link with which the new colleague sets the password."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import insert

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.accounts import mail_links, new_passwords
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sign_in import normalize_username
from cdp.operations.constraints import refusing
from cdp.tables.account import LinkKind
from cdp.tables.staff import StaffRole, staff

# Longer than a customer's: an operator hands it over, perhaps to somebody who starts tomorrow.
GOOD_FOR = timedelta(hours=24)


class StaffExists(Conflict):
    """A member of staff has this user name already."""

    code = "STAFF_EXISTS"


class UnknownRole(InvalidInput):
    """There is no such role."""

    code = "UNKNOWN_ROLE"


@dataclass(frozen=True)
class NewColleague:
    """Who was added; the link is shown this once."""

    username: str
    name: str
    roles: tuple[StaffRole, ...]
    link: str = field(repr=False)


async def add(
    tx: Tx, viewer: Viewer, platform: Platform, email: str, *, name: str, roles: Sequence[str]
) -> NewColleague:
    """Add a member of staff without a password, and a link to set one, good once and for a day.

    Raises InvalidEmail, InvalidText, UnknownRole, StaffExists.
    """
    username = normalize_username(values.email(email).normalized)
    called = values.text(name, "name", longest=200)
    known = {role.value for role in StaffRole}
    unknown = sorted(set(roles) - known)
    if unknown or not roles:
        raise UnknownRole(unknown=unknown, known=sorted(known))
    given = tuple(StaffRole(role) for role in dict.fromkeys(roles))
    staff_id = new_id()
    with refusing({"staff_username_key": StaffExists}):
        await tx.execute(
            insert(staff).values(id=staff_id, username=username, name=called, roles=[role.value for role in given])
        )
    now = platform.clock()
    code = await mail_links.issue(tx, Owner(staff_id=staff_id), LinkKind.RESET, username, now=now, good_for=GOOD_FOR)
    details = {"roles": [role.value for role in given]}
    await audit.record(
        tx, viewer, "staff.added", subject_ref=None, object_type="Staff", object_id=staff_id, details=details
    )
    return NewColleague(username, called, given, new_passwords.link_of(platform, Actor.STAFF, code))
