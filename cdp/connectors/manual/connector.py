"""A system without an API: each step is a task with instructions, done by one person and confirmed by another.

The second look is never reported by whoever did it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from sqlalchemy import Row

from cdp.connectors import people
from cdp.connectors.base import Code, Json, Outcome, Page, Problem, State, Subject, System, Unfinished
from cdp.connectors.calls import configured
from cdp.core.platform import Platform
from cdp.core.seal import Sealer
from cdp.tables.customer import IdentityType
from cdp.tables.manual import ManualOutcome
from cdp.tables.request import TaskStep

TEXT = frozenset({"application/json", "message/rfc822", "text/csv", "text/plain"})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Instructions:
    """``configuration``: what to do, by which identifiers, within how many days; whether people copy for exports."""

    instructions: Annotated[str, Field(min_length=10, max_length=4000)]
    identifiers: Annotated[tuple[IdentityType, ...], Field(min_length=1)] = (IdentityType.EMAIL,)
    due_days: Annotated[int, Field(ge=1, le=60)] = 7
    read: bool = False


class Manual:
    """People with instructions. There is nothing to reach and no secret."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._system = system
        self._platform = platform
        self._told = configured(Instructions, system.configuration)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:
        """Yield what somebody copied by hand; waiting until they did."""
        if not self._told.read:
            raise Unfinished(Outcome(State.UNSUPPORTED, Code.NOT_OFFERED))
        outcome, task = await self._ask(TaskStep.READ, subject, key)
        if outcome.state is not State.DONE or task is None:
            raise Unfinished(outcome)
        if task.outcome is ManualOutcome.DONE:
            yield Page(people.RECORDS, [await self._copied(task)])

    async def check(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Nobody is asked twice: what is there is seen by whoever removes it."""
        return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Ask people to remove it; waiting until two of them say it is done."""
        return (await self._ask(TaskStep.ERASE, subject, key))[0]

    async def verify(self, subject: Subject, key: str) -> Outcome:
        """Ask for a second look, of somebody else."""
        return (await self._ask(TaskStep.VERIFY, subject, key))[0]

    async def probe(self) -> tuple[Problem, ...]:
        """Nothing to try: the instructions were read when the system was set up."""
        return ()

    async def _ask(self, step: TaskStep, subject: Subject, key: str) -> tuple[Outcome, Row[Any] | None]:
        if not any(known.type in set(self._told.identifiers) for known in subject.proven):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER), None
        within = timedelta(days=self._told.due_days)
        task = await people.asked(self._platform, self._system, subject, step, key, within=within)
        return people.outcome_of(task), task

    async def _copied(self, task: Row[Any]) -> dict[str, Json]:
        copied: dict[str, Json] = {"note": task.note, "records": task.records}
        if task.object_key is not None:
            sealed = await self._platform.blobs.get(task.object_key)
            key = self._platform.keys.get(task.key_id)
            content = Sealer({"attachment": key}).open(sealed, task.object_key)
            text = content.decode("utf-8", "replace") if task.media_type in TEXT else content.hex()
            copied |= {"file": task.file_name, "mediaType": task.media_type, "content": text}
        return copied
