"""Tell one controller, at one address, how its request stands."""

from uuid import UUID

from cdp.core.db import Role
from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.providers.opendsr import calls


@job
async def call_controller(place: Workplace, call_id: UUID) -> None:
    """Claim the call, make it outside any transaction, settle."""
    platform = place.platform
    async with platform.db.transaction(Role.WORKER) as tx:
        call = await calls.claim(tx, platform, call_id)
    if call is None:
        return
    code = await calls.make(platform, call)
    async with platform.db.transaction(Role.WORKER) as tx:
        await calls.settle(tx, call, code, settings=platform.settings)
