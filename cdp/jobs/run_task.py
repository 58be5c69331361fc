"""Work on one task of a request: one step against one system."""

from uuid import UUID

from cdp.jobs.claim import leased, settle
from cdp.jobs.job import Workplace, job
from cdp.operations.requests import steps


@job
async def run_task(place: Workplace, task_id: UUID) -> None:
    """Claim the task, call its system outside any transaction, settle what came of it."""
    async with leased(place, task_id) as work:
        if work is not None:
            await settle(place, work, await steps.perform(place.platform, place.reader, work))
