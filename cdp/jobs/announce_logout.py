"""Tell one app that somebody signed out."""

from uuid import UUID

from cdp.core.db import Role
from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace
from cdp.operations.oauth import backchannel_logout


@job
async def announce_logout(place: Workplace, notice_id: UUID) -> None:
    """Claim the notice, call the app outside any transaction, settle."""
    platform = place.platform
    async with platform.db.transaction(Role.WORKER) as tx:
        notice = await backchannel_logout.claim(tx, notice_id, lease_s=platform.settings.lease_s)
    if notice is None:
        return
    delivered = await backchannel_logout.deliver(platform, notice)
    async with platform.db.transaction(Role.WORKER) as tx:
        await backchannel_logout.settle(tx, notice, delivered, settings=platform.settings)
