"""Move a request on: its phase is finished, its cooling-off time is over, or its last letter has left."""

from uuid import UUID

from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace


@job
async def advance_request(place: Workplace, request_id: UUID) -> None:
    """Do what is next, with others that move on now; every deed is conditional, so two workers may try."""
    await place.advances.ask(request_id)
