"""What every job is handed, and the shape it is called in.

No error leaves a job: arq would log its text, which may quote values, and would count it as this row's last try. The
row says what is to be done; the sweeper comes back to it.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import structlog

from cdp.compiler.reader import Reader
from cdp.core.platform import Platform

log = structlog.get_logger()


@dataclass(frozen=True)
class Workplace:
    """The worker a job runs in: the platform, the reader of its profiles, and the name its leases carry.

    ``in_hand`` are the tasks under way here: whoever rings for one of them need not be heard.
    """

    platform: Platform
    reader: Reader
    owner: str
    in_hand: set[UUID] = field(default_factory=set)


class Job(Protocol):
    """A job as arq and the sweeper call it."""

    __name__: str

    async def __call__(self, context: dict[str, Any], row_id: str) -> None:
        """Work on one row."""


def job(work: Callable[[Workplace, UUID], Awaitable[None]]) -> Job:
    """Make a job of a function of workplace and row id."""

    @functools.wraps(work)
    async def run(context: dict[str, Any], row_id: str) -> None:
        try:
            await work(context["workplace"], UUID(row_id))
        except Exception:
            log.exception("job.failed", job=work.__name__, row=row_id)

    return run
