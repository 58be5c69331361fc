"""Partners as such: who they are, and the program that reads for each."""

import re
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import insert, select

from cdp.access.sharing import MANAGE_SCOPE, MANAGERS, PARTNER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.tables.oauth import oauth_client
from cdp.tables.partner import partner

OBJECT = "Partner"
_CODE = re.compile(r"[a-z][a-z0-9-]{1,39}")


class PartnerExists(Conflict):
    """There is a partner of this code, or one that this program reads for."""

    code = "PARTNER_EXISTS"


class PartnerCodeInvalid(InvalidInput):
    """A partner's code is 2 to 40 small letters, digits and hyphens, a letter first."""

    code = "PARTNER_CODE_INVALID"


class ProgramUnfit(InvalidInput):
    """This program can not read for a partner: it acts in its own name, with scopes of partners alone."""

    code = "PROGRAM_UNFIT"


class PartnerRoleNeeded(Forbidden):
    """Privacy officers, supervisors and administrators look after partners."""

    code = "PARTNER_ROLE_NEEDED"


@dataclass(frozen=True)
class NewPartner:
    """A partner to add; ``client_id`` is the public name of its program, given now or never."""

    code: str
    name: str
    contact: str = field(repr=False)
    client_id: str | None = None


def require(viewer: Viewer, platform: Platform) -> None:
    """Raise MissingScope, PartnerRoleNeeded or StepUpRequired unless this viewer may decide about partners."""
    viewer.require_scope(MANAGE_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & MANAGERS:
        raise PartnerRoleNeeded
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)


async def add(tx: Tx, viewer: Viewer, platform: Platform, wanted: NewPartner) -> UUID:
    """Add a partner; it sees nobody until two people agreed to a grant.

    The command line adds them too, as the platform. Raises what ``require`` raises, PartnerCodeInvalid, PartnerExists,
    ProgramUnfit.
    """
    if viewer.actor is not Actor.SYSTEM:
        require(viewer, platform)
    if not _CODE.fullmatch(wanted.code):
        raise PartnerCodeInvalid
    program = await _program(tx, wanted.client_id) if wanted.client_id else None
    same = partner.c.code == wanted.code
    if program is not None:
        same = same | (partner.c.client_id == program)
    if await tx.scalar(select(partner.c.id).where(same)) is not None:
        raise PartnerExists
    partner_id = new_id()
    await tx.execute(
        insert(partner).values(
            id=partner_id,
            code=wanted.code,
            name=values.text(wanted.name, "name", longest=200),
            contact=values.text(wanted.contact, "contact", longest=320),
            client_id=program,
        )
    )
    await audit.record(tx, viewer, "partner.added", subject_ref=None, object_type=OBJECT, object_id=partner_id)
    return partner_id


async def _program(tx: Tx, client_id: str) -> UUID:
    row = await tx.first(select(oauth_client).where(oauth_client.c.client_id == client_id))
    if row is None:
        raise NotFound
    if "client_credentials" not in row.grant_types or not set(row.scopes) <= PARTNER_SCOPES:
        raise ProgramUnfit
    found: UUID = row.id
    return found
