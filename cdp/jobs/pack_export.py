"""Make the package of an export, once everything that could be collected is parked."""

from uuid import UUID

from cdp.jobs.claim import leased, settle
from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.requests import steps


@job
async def pack_export(place: Workplace, task_id: UUID) -> None:
    """Claim the packing, stream the package into the object store, offer it with the settle."""
    async with leased(place.platform, place.owner, task_id) as work:
        if work is not None:
            await settle(place.platform, work, await steps.perform(place.platform, place.reader, work))
