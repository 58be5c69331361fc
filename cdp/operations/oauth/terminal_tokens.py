"""A token for somebody at a terminal while developing: nobody is asked for a password, so never in production."""

from collections.abc import Sequence

from sqlalchemy import select

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.strength import PASSWORD_AND_CODE
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Forbidden, NotFound
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.core.settings import Environment
from cdp.operations.accounts.sign_in import normalize_username
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import UnknownScope
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of, staff_roles
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.staff import staff


class NotInProduction(Forbidden):
    """In production people get tokens by signing in."""

    code = "NOT_IN_PRODUCTION"


class NobodyHasThisName(NotFound):
    """Nobody has this user name or e-mail address, or several do."""

    code = "USER_NOT_FOUND"


async def issue(
    platform: Platform, user: str, *, scopes: Sequence[str] = (), client_id: str = clients.COMMAND_LINE
) -> str:
    """Issue an access token as if the person had just signed in; without scopes, all their kind may have.

    Raises NotInProduction, NobodyHasThisName, UnknownScope, and NotFound for an unknown client.
    """
    if platform.settings.env is Environment.PRODUCTION:
        raise NotInProduction
    now = platform.clock()
    async with platform.db.transaction(Role.WORKER) as tx:
        person = await _find(tx, normalize_username(user))
        viewer = Viewer(
            Actor.STAFF if person.staff_id else Actor.CUSTOMER,
            customer_id=person.customer_id,
            staff_id=person.staff_id,
            authenticated_at=now,
            amr=PASSWORD_AND_CODE,
        )
        own = await clients.ensure_command_line(tx)
        client = own if client_id == own.client_id else await clients.find(tx, client_id)
        if client is None:
            raise NotFound("There is no client with this id.")
        allowed = (STAFF_SCOPES if person.staff_id else CUSTOMER_SCOPES) & set(client.scopes)
        if strange := set(scopes) - allowed:
            raise UnknownScope(scopes=sorted(strange))
        grant = await open_grant(tx, viewer, client, " ".join(scopes or sorted(allowed)), now=now)
        roles = await staff_roles(tx, grant)
    return issuer_of(platform).access_token(grant, grant.scope, roles=roles)


async def _find(tx: Tx, name: str) -> Viewer:
    customer_id = await tx.scalar(select(account.c.customer_id).where(account.c.username == name))
    if customer_id is not None:
        return Viewer(Actor.CUSTOMER, customer_id=CustomerId(customer_id))
    staff_id = await tx.scalar(select(staff.c.id).where(staff.c.username == name, staff.c.active))
    if staff_id is not None:
        return Viewer(Actor.STAFF, staff_id=staff_id)
    found = await tx.all(
        select(email_address.c.customer_id).where(email_address.c.normalized == name).distinct().limit(2)
    )
    if len(found) != 1:
        raise NobodyHasThisName
    return Viewer(Actor.CUSTOMER, customer_id=CustomerId(found[0].customer_id))
