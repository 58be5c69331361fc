"""Close a settled request: publish its proof, drop what was parked, destroy its key."""

from uuid import UUID

from cdp.jobs.job import Workplace, job
from cdp.operations.requests import closing


@job
async def close_request(place: Workplace, request_id: UUID) -> None:
    """Close it; closing twice is fine."""
    await closing.close(place.platform, request_id)
