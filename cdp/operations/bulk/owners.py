"""Whether who asked for an export may still have one: asked before it is made, before its release, and at every fetch.

What their token says may be older than that: it was checked once, and is believed until it ends.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Text, and_, any_, case, cast, exists, select, true

from cdp.access.bulk import EXPORT_SCOPE, EXPORTERS
from cdp.access.viewer import Actor
from cdp.core.db import Tx
from cdp.core.errors import Forbidden
from cdp.tables.bulk import bulk_export
from cdp.tables.oauth import oauth_client
from cdp.tables.staff import staff


class BulkExportWithheld(Forbidden):
    """Who asked for this export may not have one any more: nobody gets it."""

    code = "BULK_EXPORT_WITHHELD"


async def may_have(tx: Tx, export_id: UUID) -> bool:
    """Whether its owner works here in a role that exports, or is a program that still may; the operator always may."""
    return bool(await tx.scalar(select(_may()).where(bulk_export.c.id == export_id)))


async def require(tx: Tx, row: Row[Any]) -> None:
    """Raise BulkExportWithheld unless ``may_have``."""
    if not await may_have(tx, row.id):
        raise BulkExportWithheld


def _may() -> ColumnElement[bool]:
    actor, client = bulk_export.c.viewer["actor"].astext, bulk_export.c.viewer["clientId"].astext
    works = and_(staff.c.active, staff.c.roles.op("&&")(cast(sorted(EXPORTERS), ARRAY(Text))))
    runs = and_(oauth_client.c.revoked_at.is_(None), any_(oauth_client.c.scopes) == EXPORT_SCOPE)
    return case(
        (actor == Actor.STAFF, exists().where(staff.c.id == bulk_export.c.staff_id, works)),
        (actor == Actor.CLIENT, exists().where(oauth_client.c.client_id == client, runs)),
        else_=true(),
    )
