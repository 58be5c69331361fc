"""Work on one task of a request: one step against one system."""

from functools import partial
from uuid import UUID

from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.requests import steps


@job
async def run_task(place: Workplace, task_id: UUID) -> None:
    """Claim it, call its system outside any transaction, settle what came of it."""
    await place.hands.work_on(task_id, partial(steps.perform, place.platform, place.reader))
