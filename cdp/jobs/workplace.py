"""What a worker's jobs share: the platform, its hands, and what they do together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.jobs.gathering import Together
from cdp.jobs.hands import Hands
from cdp.operations import messages
from cdp.operations.messages import Outgoing
from cdp.operations.requests import closing, phases


@dataclass(frozen=True)
class Workplace:
    """The worker a job runs in: the platform, the reader of its profiles, and the name its leases carry.

    ``under_way`` are all its jobs, and whether one was asked for again.
    """

    platform: Platform
    reader: Reader
    owner: str
    under_way: dict[tuple[str, UUID], bool] = field(default_factory=dict)

    @cached_property
    def hands(self) -> Hands:
        """The tasks under way here."""
        return Hands(self.platform, self.owner)

    @cached_property
    def advances(self) -> Together[UUID, None]:
        """Requests that move on here."""

        async def advance(request_ids: Sequence[UUID]) -> Mapping[UUID, None]:
            left = await phases.advance(self.platform, *request_ids)
            return dict.fromkeys(one for one in request_ids if one not in left)

        return Together("advance", advance)

    @cached_property
    def closings(self) -> Together[UUID, None]:
        """Settled requests that are closed here."""

        async def close(request_ids: Sequence[UUID]) -> Mapping[UUID, None]:
            await closing.close(self.platform, *request_ids)
            return dict.fromkeys(request_ids)

        return Together("close", close)

    @cached_property
    def claims_of_messages(self) -> Together[UUID, Outgoing | None]:
        """Messages this worker takes; None where one is not due, or somebody else has it."""

        async def claim(message_ids: Sequence[UUID]) -> Mapping[UUID, Outgoing | None]:
            async with self.platform.db.transaction(Role.WORKER) as tx:
                taken = await messages.claim(tx, message_ids, lease_s=self.platform.settings.lease_s)
            return dict.fromkeys(message_ids) | {one.id: one for one in taken}

        return Together("claim of messages", claim)

    @cached_property
    def ends_of_messages(self) -> Together[tuple[Outgoing, bool], None]:
        """Messages this worker handed over, each with whether the next hop took it."""

        async def settle(ended: Sequence[tuple[Outgoing, bool]]) -> Mapping[tuple[Outgoing, bool], None]:
            settings = self.platform.settings
            async with self.platform.db.transaction(Role.WORKER) as tx:
                await messages.settle(tx, ended, max_attempts=settings.max_attempts, retry_base_s=settings.retry_base_s)
            return dict.fromkeys(ended)

        return Together("end of messages", settle)
