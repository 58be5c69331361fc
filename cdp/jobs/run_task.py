"""Work on one task of a request, one step against one system, and on others like it that wait."""

from functools import partial
from uuid import UUID

from cdp.jobs.claim import work_on
from cdp.jobs.job import Workplace, job
from cdp.operations.requests import steps


@job
async def run_task(place: Workplace, task_id: UUID) -> None:
    """Claim them, call their system outside any transaction, settle what came of each."""
    await work_on(place, task_id, partial(steps.perform, place.platform, place.reader))
