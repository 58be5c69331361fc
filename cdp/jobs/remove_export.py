"""Remove a package that is over: its key first, then its file."""

from uuid import UUID

from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.requests import exports


@job
async def remove_export(place: Workplace, export_id: UUID) -> None:
    """Remove it; removing twice is fine."""
    await exports.remove(place.platform, export_id)
