"""One attempt at a part under its lease, of an export or of a package: whatever happens becomes a state of its row."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import asyncpg
import structlog
from obstore.exceptions import BaseError as StoreError
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.errors import PlatformError, Unavailable
from cdp.core.settings import Settings
from cdp.operations.bulk.leases import LeaseLost, beat_s, kept

LOST, BUG = "WORKER_LOST", "INTERNAL"
Made = TypeVar("Made")

log = structlog.get_logger()


@dataclass
class NotNow(Exception):
    """Nothing is wrong with the part, but it can not be made before so many seconds have passed."""

    delay_s: float


class Attempt(Protocol[Made]):
    """A claimed part in its worker's hands. Each change of its row is a transaction, and for this claim alone."""

    @property
    def part(self) -> str:
        """Its id, for the log."""

    @property
    def number(self) -> int:
        """How often it has been claimed."""

    async def write(self) -> Made:
        """Make its files. May raise NotNow."""

    async def settle(self, made: Made) -> None:
        """Record it as done; files that did not come to count are removed."""

    async def extend(self) -> bool:
        """Keep it a while longer; False when it is no longer ours, or nobody wants it any more."""

    async def give_back(self, *, delay_s: float) -> None:
        """Let somebody else make it; this costs no try."""

    async def trouble(self, code: str, *, is_final: bool) -> None:
        """Have it tried again after a while, or not."""


async def run(attempt: Attempt[Made], settings: Settings) -> None:
    """Make a part. Raises nothing but CancelledError, and gives the part back then."""
    if attempt.number > settings.max_attempts:  # its workers died again and again
        await _trouble(attempt, LOST, is_final=True)
        return
    try:
        async with kept(attempt.extend, every_s=beat_s(settings)):
            made = await attempt.write()
        await attempt.settle(made)  # with no beat beside it, which would take a part that is done for one that is lost
    except LeaseLost:
        log.info("part.stopped", part=attempt.part)
        await attempt.give_back(delay_s=0.0)  # nobody has to wait for the lease to end
    except asyncio.CancelledError:
        await asyncio.shield(attempt.give_back(delay_s=0.0))
        raise
    except NotNow as later:
        await attempt.give_back(delay_s=later.delay_s)
    except Unavailable as error:
        await _trouble(attempt, error.code)
    except PlatformError as error:
        await _trouble(attempt, error.code, is_final=True)
    except StoreError:
        await _trouble(attempt, "STORE_FAILED")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, ConnectionError, TimeoutError):
        await _trouble(attempt, "DATABASE_FAILED")
    except OSError:  # a disk: full, gone, not ours
        await _trouble(attempt, "STORE_FAILED")
    except Exception:  # a bug of ours must not stop the worker; it ends in a failed part
        log.exception("part.broke", part=attempt.part)
        await _trouble(attempt, BUG)


async def _trouble(attempt: Attempt[Any], code: str, *, is_final: bool = False) -> None:
    try:
        await attempt.trouble(code, is_final=is_final)
    except (SQLAlchemyError, OSError) as error:  # the lease runs out, and it is tried again
        log.warning("part.unsettled", part=attempt.part, reason=type(error).__name__)
