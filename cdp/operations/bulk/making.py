"""Make a claimed part of an export: write its file, settle it."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import asyncpg

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.bulk import attempts, parts
from cdp.operations.bulk.attempts import NotNow
from cdp.operations.bulk.parts import PartWork, Written
from cdp.operations.bulk.queries import Plans
from cdp.operations.bulk.writing import write

SNAPSHOT_GONE = (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError)


async def make(platform: Platform, plans: Plans, work: PartWork, place: AbstractAsyncContextManager[object]) -> None:
    """Write the part, in its ``place``, and settle it; a file that did not come to count is removed."""
    await attempts.run(_Attempt(platform, plans, work, place), platform.settings)


@dataclass(frozen=True)
class _Attempt:
    platform: Platform
    plans: Plans
    work: PartWork
    place: AbstractAsyncContextManager[object]

    @property
    def part(self) -> str:
        return str(self.work.id)

    @property
    def number(self) -> int:
        return self.work.attempt

    async def write(self) -> Written:
        try:
            return await write(self.platform, self.plans, self.work, self.place)
        except SNAPSHOT_GONE as error:  # its holder has died, and whoever takes over begins anew
            raise NotNow(self.platform.settings.lease_s / 3) from error

    async def settle(self, made: Written) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            is_ours = await parts.settle(tx, self.work, made)
        if not is_ours:
            await self.platform.blobs.delete(made.object_key)

    async def extend(self) -> bool:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return await parts.extend(tx, self.work, lease_s=self.platform.settings.lease_s)

    async def give_back(self, *, delay_s: float) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await parts.give_back(tx, self.work, delay_s=delay_s)

    async def trouble(self, code: str, *, is_final: bool) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await parts.trouble(tx, self.work, code, settings=self.platform.settings, is_final=is_final)
