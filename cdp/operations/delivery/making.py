"""Make a claimed part of a package: write its files, settle it."""

from dataclasses import dataclass

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.bulk import attempts
from cdp.operations.delivery import parts
from cdp.operations.delivery.parts import MadePart, PartWork
from cdp.operations.delivery.selection import Plans
from cdp.operations.delivery.writing import Places, write
from cdp.operations.transfers.states import note


async def make(platform: Platform, plans: Plans, work: PartWork, places: Places) -> None:
    """Write the part, in its ``places``, and settle it; files that did not come to count are removed."""
    await attempts.run(_Attempt(platform, plans, work, places), platform.settings)


@dataclass(frozen=True)
class _Attempt:
    platform: Platform
    plans: Plans
    work: PartWork
    places: Places

    @property
    def part(self) -> str:
        return str(self.work.id)

    @property
    def number(self) -> int:
        return self.work.attempt

    async def write(self) -> MadePart:
        return await write(self.platform, self.plans, self.work, self.places)

    async def settle(self, made: MadePart) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            is_ours = await parts.settle(tx, self.work, made)
        if not is_ours:
            for file in made.files:
                await self.platform.blobs.delete(file.object_key)

    async def extend(self) -> bool:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return await parts.extend(tx, self.work, lease_s=self.platform.settings.lease_s)

    async def give_back(self, *, delay_s: float) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await parts.give_back(tx, self.work, delay_s=delay_s)

    async def trouble(self, code: str, *, is_final: bool) -> None:
        work, settings = self.work, self.platform.settings
        async with self.platform.db.transaction(Role.WORKER) as tx:
            if await parts.trouble(tx, work, code, settings=settings, is_final=is_final):
                await note(tx, SYSTEM, "transfer.part_failed", work.deal.id, code=code, details={"part": work.ordinal})
