"""Do what is next about a controller's request."""

from uuid import UUID

from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.providers.opendsr import working


@job
async def work_on_asked(place: Workplace, asked_id: UUID) -> None:
    """Begin it, or carry on what became of it."""
    await working.work(place.platform, asked_id)
