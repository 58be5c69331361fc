"""Close a settled request: publish its proof, drop what was parked, destroy its key."""

from uuid import UUID

from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace


@job
async def close_request(place: Workplace, request_id: UUID) -> None:
    """Close it, with others that are settled now; closing twice is fine."""
    await place.closings.ask(request_id)
