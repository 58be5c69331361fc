"""Subscriptions: the progress of requests and bulk exports, by server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import strawberry

from cdp.access.bulk import EXPORT_SCOPE
from cdp.core.db import Role
from cdp.operations import references
from cdp.operations.bulk import control, watch
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import subscription
from cdp.schema.types.bulk import BulkExport
from cdp.schema.types.request import PrivacyRequest

RequestGlobalId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id of the request.")]
BulkExportGlobalId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id of the export.")]


@strawberry.type(description="What can be watched, by server-sent events.")
class Subscription:
    """The subscription root."""

    @subscription
    async def privacy_request_progress(
        self, info: Info, global_id: RequestGlobalId
    ) -> AsyncIterator[PrivacyRequest | None]:
        """A privacy request now and after each change, until it is settled or your token ends. Scope privacy:read."""
        request_id = row_id(global_id, PrivacyRequest)
        context = info.context
        async with context.writing("request.watched", scope="privacy:read") as tx:
            await references.of_request(tx, context.viewer, request_id)
        async with aclosing(context.watch.versions(request_id)) as versions:
            async for _ in versions:
                yield ref(PrivacyRequest, request_id)

    @subscription
    async def bulk_export_progress(self, info: Info, global_id: BulkExportGlobalId) -> AsyncIterator[BulkExport | None]:
        """A bulk export now and after each change, until it is settled or your token ends. Scope bulk:export."""
        export_id = row_id(global_id, BulkExport)
        context = info.context
        async with (
            context.attempting("bulk_export.watched", scope=EXPORT_SCOPE),
            context.platform.db.transaction(Role.WORKER) as tx,
        ):
            await control.progress(tx, context.viewer, export_id)
        async with aclosing(watch.versions(context.platform.db, export_id)) as versions:
            async for _ in versions:
                yield ref(BulkExport, export_id)
