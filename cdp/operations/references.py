"""References of what a viewer names by id: people quote references, programs pass ids, operations take references."""

from uuid import UUID

from sqlalchemy import Table, select

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import NotFound
from cdp.tables.export import export
from cdp.tables.request import privacy_request


async def of_request(tx: Tx, viewer: Viewer, request_id: UUID) -> str:
    """The reference of a request of the viewer's own. Raises NotFound."""
    return await _reference(tx, viewer, privacy_request, request_id)


async def of_export(tx: Tx, viewer: Viewer, export_id: UUID) -> str:
    """The reference of a package of the viewer's own. Raises NotFound."""
    return await _reference(tx, viewer, export, export_id)


async def _reference(tx: Tx, viewer: Viewer, table: Table, row_id: UUID) -> str:
    found: str | None = await tx.scalar(
        select(table.c.reference).where(table.c.id == row_id, table.c.customer_id == viewer.subject)
    )
    if found is None:
        raise NotFound
    return found
