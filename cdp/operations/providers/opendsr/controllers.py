"""Whom we are a processor of: programs in their own name, each with the brand whose customers are its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, insert, select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import new_id
from cdp.operations import audit
from cdp.operations.constraints import refusing
from cdp.operations.oauth import clients
from cdp.operations.values import text
from cdp.tables.oauth import oauth_client
from cdp.tables.policy import brand
from cdp.tables.provider import controller

SCOPE = "opendsr"
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class NotAController(Forbidden):
    """We are not a processor of this program."""

    code = "NOT_A_CONTROLLER"


class ControllerExists(Conflict):
    """This program is a controller already."""

    code = "CONTROLLER_EXISTS"


class UnknownClientOrBrand(NotFound):
    """There is no such client with the scope opendsr, or no such brand."""

    code = "UNKNOWN_CLIENT_OR_BRAND"


class DomainInvalid(InvalidInput):
    """A domain is lower-case letters, digits, dashes and dots."""

    code = "DOMAIN_INVALID"


@dataclass(frozen=True)
class Controller:
    """One of them. ``numbering`` is the issuer under which our customers carry its own ids; empty: it has none."""

    id: UUID
    client_id: str
    brand_id: UUID
    numbering: str
    callback_domains: tuple[str, ...]


async def add(
    tx: Tx, viewer: Viewer, client_id: str, *, brand_code: str, numbering: str, callback_domains: Sequence[str]
) -> Controller:
    """Become the processor of a program. Raises UnknownClientOrBrand, ControllerExists, DomainInvalid, InvalidText."""
    client = await clients.find(tx, client_id)
    brand_id = await tx.scalar(select(brand.c.id).where(brand.c.code == brand_code))
    if client is None or SCOPE not in client.scopes or brand_id is None:
        raise UnknownClientOrBrand
    if not all(map(_DOMAIN.fullmatch, callback_domains)):
        raise DomainInvalid
    named = text(numbering, "numbering", longest=100) if numbering else ""
    added = Controller(new_id(), client_id, brand_id, named, tuple(callback_domains))
    with refusing({"controller_client_id_key": ControllerExists}):
        await tx.execute(
            insert(controller).values(
                id=added.id,
                client_id=client.id,
                brand_id=brand_id,
                numbering=named,
                callback_domains=list(callback_domains),
            )
        )
    await audit.record(tx, viewer, "controller.added", subject_ref=None, object_type="Controller", object_id=added.id)
    return added


async def calling(tx: Tx, viewer: Viewer) -> Controller:
    """The controller that calls. Raises MissingScope, NotAController."""
    viewer.require_scope(SCOPE)
    found = _select().where(oauth_client.c.client_id == viewer.client_id, oauth_client.c.revoked_at.is_(None))
    row = await tx.first(found) if viewer.actor is Actor.CLIENT else None
    if row is None:
        raise NotAController
    return Controller(row.id, row.client_id, row.brand_id, row.numbering, tuple(row.callback_domains))


async def listed(tx: Tx) -> list[Controller]:
    """All of them."""
    rows = await tx.all(_select().order_by(controller.c.created_at))
    return [Controller(r.id, r.client_id, r.brand_id, r.numbering, tuple(r.callback_domains)) for r in rows]


def _select() -> Select[UUID, str, UUID, str, list[str]]:
    return select(
        controller.c.id,
        oauth_client.c.client_id,
        controller.c.brand_id,
        controller.c.numbering,
        controller.c.callback_domains,
    ).join(oauth_client, oauth_client.c.id == controller.c.client_id)
