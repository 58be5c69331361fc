"""Subscriptions: the progress of requests, by server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import strawberry

from cdp.operations import references
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import subscription
from cdp.schema.types.request import PrivacyRequest

RequestGlobalId = Annotated[strawberry.ID, strawberry.argument(name="id", description="Global id of the request.")]


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
