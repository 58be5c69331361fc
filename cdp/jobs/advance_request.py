"""Move a request on: its phase is finished, its cooling-off time is over, or its last letter has left."""

from uuid import UUID

from cdp.jobs.job import Workplace, job
from cdp.operations.requests import phases


@job
async def advance_request(place: Workplace, request_id: UUID) -> None:
    """Do what is next; every deed is conditional, so two workers may try."""
    await phases.advance(place.platform, request_id)
