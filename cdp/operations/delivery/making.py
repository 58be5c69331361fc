"""Make a claimed part under its lease; whatever happens comes back as a state of its row."""

import asyncio

import asyncpg
import structlog
from obstore.exceptions import BaseError as StoreError
from sqlalchemy.exc import SQLAlchemyError

from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role
from cdp.core.errors import PlatformError, Unavailable
from cdp.core.platform import Platform
from cdp.operations.bulk.leases import LeaseLost, beat_s, kept
from cdp.operations.delivery import parts
from cdp.operations.delivery.parts import MadePart, PartWork
from cdp.operations.delivery.writing import write
from cdp.operations.transfers.states import note

log = structlog.get_logger()

BUG = "INTERNAL"


async def make(platform: Platform, compiler: BulkCompiler, work: PartWork) -> None:
    """Write the part, settle it; files that did not come to count are removed."""
    settings = platform.settings
    if work.attempt > settings.max_attempts:  # its workers died again and again
        await _trouble(platform, work, parts.LOST, is_final=True)
        return
    try:
        async with kept(lambda: _extend(platform, work), every_s=beat_s(settings)):
            made = await write(platform, compiler, work)
        if not await _settle(platform, work, made):
            for file in made.files:
                await platform.blobs.delete(file.object_key)
    except LeaseLost:
        log.info("transfer_part.stopped", part=str(work.id), fence=work.fence)
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(platform, work))
        raise
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
    except Exception:  # a bug of ours must not stop the worker; it ends in a failed part
        log.exception("transfer_part.broke", part=str(work.id))
        await _trouble(platform, work, BUG)


async def _settle(platform: Platform, work: PartWork, made: MadePart) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await parts.settle(tx, work, made)


async def _extend(platform: Platform, work: PartWork) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await parts.extend(tx, work, lease_s=platform.settings.lease_s)


async def _give_back(platform: Platform, work: PartWork) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await parts.give_back(tx, work)


async def _trouble(platform: Platform, work: PartWork, code: str, *, is_final: bool = False) -> None:
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            has_failed = await parts.trouble(tx, work, code, settings=platform.settings, is_final=is_final)
            if has_failed:
                await note(tx, SYSTEM, "transfer.part_failed", work.deal.id, code=code, details={"part": work.ordinal})
    except (SQLAlchemyError, OSError) as error:  # the lease runs out, and it is tried again
        log.warning("transfer_part.unsettled", part=str(work.id), reason=type(error).__name__)
