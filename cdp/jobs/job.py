"""What every job is handed, and the shape it is called in.

No error leaves a job: arq would log its text, which may quote values, and would count it as this row's last try. The
row says what is to be done; the sweeper comes back to it.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import UUID

import structlog

from cdp.jobs.workplace import Workplace

log = structlog.get_logger()


class Job(Protocol):
    """A job as arq and the sweeper call it."""

    __name__: str

    async def __call__(self, context: dict[str, Any], *row_ids: str) -> None:
        """Work on these rows, each by itself."""


def job(work: Callable[[Workplace, UUID], Awaitable[None]]) -> Job:
    """Make a job of a function of workplace and row id.

    A row that is rung for while it is worked on here is worked on once more afterwards: the ring may tell of something
    the work under way has not seen.
    """

    async def once(place: Workplace, row_id: UUID) -> None:
        key = (work.__name__, row_id)
        if key in place.under_way:
            place.under_way[key] = True
            return
        try:
            is_asked = True
            while is_asked:
                place.under_way[key] = False
                await work(place, row_id)
                is_asked = place.under_way[key]
        except Exception:
            log.exception("job.failed", job=work.__name__, row=str(row_id))
        finally:
            place.under_way.pop(key, None)

    @functools.wraps(work)
    async def run(context: dict[str, Any], *row_ids: str) -> None:
        place = context["workplace"]
        await asyncio.gather(*(once(place, UUID(row_id)) for row_id in row_ids))

    return run
