"""Remove what is past its retention."""

from uuid import UUID

from cdp.core.db import Role
from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.retention import purges


@job
async def purge(place: Workplace, run_id: UUID) -> None:
    """Claim the run and carry it out; a run that is done or under way is left alone."""
    async with place.platform.db.transaction(Role.WORKER) as tx:
        run = await purges.claim(tx, run_id)
    if run is not None:
        await purges.carry_out(place.platform, run)
