"""Keep a lease while a block runs; losing it stops the block."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError

from cdp.core.settings import Settings

OFTEN_S = 2.0


class LeaseLost(Exception):
    """Somebody else has taken over, or nobody wants it any more."""


def beat_s(settings: Settings) -> float:
    """Seconds between two beats: often enough that a cancelled export stops soon."""
    return min(OFTEN_S, settings.lease_s / 3)


@asynccontextmanager
async def kept(extend: Callable[[], Awaitable[bool]], *, every_s: float) -> AsyncIterator[None]:
    """Extend a lease beside a block. Raises LeaseLost inside it once ``extend`` says no."""
    worker, is_lost = asyncio.current_task(), False

    async def beat() -> None:
        nonlocal is_lost
        while True:
            await asyncio.sleep(every_s)
            try:
                is_lost = not await extend()
            except (SQLAlchemyError, OSError):
                continue  # the lease still runs; the fence decides in the end
            if is_lost and worker is not None:
                worker.cancel()
                return

    beating = asyncio.create_task(beat())
    try:
        yield
    except asyncio.CancelledError:
        if not is_lost or worker is None:
            raise
        worker.uncancel()
        raise LeaseLost from None
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
