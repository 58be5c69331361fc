"""The chain of custody: every step of a delivery is an event of the audit log that names its documents by hash."""

from collections.abc import Mapping
from uuid import UUID

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.operations import audit

OBJECT = "Transfer"


async def note(
    tx: Tx,
    viewer: Viewer,
    action: str,
    deal_id: UUID,
    *,
    outcome: str = "ok",
    code: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write an event about a deal; it is about nobody in particular."""
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=None,
        object_type=OBJECT,
        object_id=deal_id,
        outcome=outcome,
        code=code,
        details=details,
    )
