"""Make a claimed part under its lease; whatever happens comes back as a state of its row."""

import asyncio
from contextlib import AbstractAsyncContextManager

import asyncpg
import structlog
from obstore.exceptions import BaseError as StoreError
from sqlalchemy.exc import SQLAlchemyError

from cdp.core.db import Role
from cdp.core.errors import PlatformError, Unavailable
from cdp.core.platform import Platform
from cdp.operations.bulk import parts
from cdp.operations.bulk.leases import LeaseLost, beat_s, kept
from cdp.operations.bulk.parts import PartWork
from cdp.operations.bulk.queries import Plans
from cdp.operations.bulk.writing import write

log = structlog.get_logger()

SNAPSHOT_GONE = (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError)
BUG = "INTERNAL"


async def make(platform: Platform, plans: Plans, work: PartWork, place: AbstractAsyncContextManager[object]) -> None:
    """Write the part, in its ``place``, and settle it; a file that did not come to count is removed."""
    settings = platform.settings
    if work.attempt > settings.max_attempts:  # its workers died again and again
        await _trouble(platform, work, parts.LOST, is_final=True)
        return
    try:
        async with kept(lambda: _extend(platform, work), every_s=beat_s(settings)):
            written = await write(platform, plans, work, place)
        async with platform.db.transaction(Role.WORKER) as tx:
            is_ours = await parts.settle(tx, work, written)
        if not is_ours:
            await platform.blobs.delete(written.object_key)
    except LeaseLost:
        log.info("bulk_part.stopped", part=str(work.id), fence=work.fence)
        await _give_back(platform, work, delay_s=0.0)  # nobody has to wait for the lease to end
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(platform, work, delay_s=0.0))
        raise
    except SNAPSHOT_GONE:
        await _give_back(platform, work, delay_s=settings.lease_s / 3)
    except Unavailable as error:
        await _trouble(platform, work, error.code)
    except PlatformError as error:
        await _trouble(platform, work, error.code, is_final=True)
    except StoreError:
        await _trouble(platform, work, "STORE_FAILED")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError, ConnectionError, TimeoutError):
        await _trouble(platform, work, "DATABASE_FAILED")
    except OSError:  # a disk: full, gone, not ours
        await _trouble(platform, work, "STORE_FAILED")
    except Exception:  # a bug of ours must not stop the worker; it ends in a failed export
        log.exception("bulk_part.broke", part=str(work.id))
        await _trouble(platform, work, BUG)


async def _extend(platform: Platform, work: PartWork) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await parts.extend(tx, work, lease_s=platform.settings.lease_s)


async def _give_back(platform: Platform, work: PartWork, *, delay_s: float) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await parts.give_back(tx, work, delay_s=delay_s)


async def _trouble(platform: Platform, work: PartWork, code: str, *, is_final: bool = False) -> None:
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await parts.trouble(tx, work, code, settings=platform.settings, is_final=is_final)
    except (SQLAlchemyError, OSError) as error:  # the lease runs out, and it is tried again
        log.warning("bulk_part.unsettled", part=str(work.id), reason=type(error).__name__)
