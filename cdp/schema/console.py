"""The door of staff: every operation they type into the console leaves its own event, beside those of what it reads."""

import hashlib

from cdp.access.viewer import Viewer
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.schema.request import GraphQLRequest

PATH = "/console/graphql"
ACTION = "graphql.run"


async def record(platform: Platform, viewer: Viewer, request: GraphQLRequest) -> None:
    """Record that an operation is about to run: its document by hash, never its text or its variables."""
    digest = hashlib.sha256(request.query.encode()).hexdigest() if request.query else request.sha256
    async with platform.db.transaction(viewer.role) as tx:
        await audit.record(tx, viewer, ACTION, subject_ref=None, details={"document": digest})
