"""Things that come one by one and are done together a moment later: what they share is paid for once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog

# What comes within this time of each other is done together, seconds.
GATHER_S = 0.005
# As many as one transaction takes; each holds the lock of its request until it commits.
MOST_TOGETHER = 64

log = structlog.get_logger()


class Awaited(Protocol):
    """Something somebody waits for."""

    @property
    def over(self) -> "asyncio.Future[Any]":
        """Resolved once it is done."""


Thing = TypeVar("Thing", bound=Awaited)
Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


def future() -> "asyncio.Future[Any]":
    """A future of the loop that runs."""
    return asyncio.get_running_loop().create_future()


def resolve(over: "asyncio.Future[Any]", error: BaseException | None = None, *, answer: object = None) -> None:
    """Let those who wait go on, or fail; once."""
    if over.done():
        return
    if error is None:
        over.set_result(answer)
    else:
        over.set_exception(error)


class Gathering(Generic[Thing]):
    """Hands things on together a moment after they came; one batch at a time, as far as there is ``room``."""

    def __init__(
        self, take: Callable[[Sequence[Thing]], Awaitable[None]], room: Callable[[], int] = lambda: MOST_TOGETHER
    ) -> None:
        self._take: Callable[[Sequence[Thing]], Awaitable[None]] = take
        self._room = room
        self._waiting: list[Thing] = []
        self._taking: asyncio.Task[None] | None = None

    def add(self, thing: Thing) -> None:
        """Have it done with those that come now."""
        self._waiting.append(thing)
        self.go_on()

    def go_on(self) -> None:
        """Begin with what waits, if that has not begun and there is room."""
        if not self._waiting or self._room() <= 0:
            return
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._waiting and self._room() > 0:
            await asyncio.sleep(GATHER_S)
            most = min(MOST_TOGETHER, self._room())
            together, self._waiting = self._waiting[:most], self._waiting[most:]
            try:
                await self._take(together)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it must not wait for ever
                for thing in together:
                    resolve(thing.over, error)


@dataclass(eq=False)
class _Asked(Generic[Question, Answer]):
    question: Question
    over: "asyncio.Future[Answer]" = field(default_factory=future)


class Together(Generic[Question, Answer]):
    """Answers together what is asked within a moment.

    ``answer`` leaves out those of several it could not do; they, and all where it failed, are asked again, each by
    itself: the trouble of one costs its neighbours no more than that moment.
    """

    def __init__(self, name: str, answer: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Answer]]]) -> None:
        self._name, self._answer = name, answer
        self._asked: Gathering[_Asked[Question, Answer]] = Gathering(self._take)
        self._alone: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        """Ask with whoever asks now; raises what it fails with by itself."""
        asked: _Asked[Question, Answer] = _Asked(question)
        self._asked.add(asked)
        return await asked.over

    async def _take(self, together: Sequence[_Asked[Question, Answer]]) -> None:
        answers: Mapping[Question, Answer] = {}
        if len(together) > 1:
            try:
                answers = await self._answer(list(dict.fromkeys(asked.question for asked in together)))
            except Exception as error:  # noqa: BLE001 - each by itself says what is wrong with it
                log.warning("work.not_together", kind=self._name, count=len(together), reason=type(error).__name__)
        for asked in together:
            if asked.question in answers:
                resolve(asked.over, answer=answers[asked.question])
            else:
                begun = asyncio.create_task(self._ask_alone(asked))
                self._alone.add(begun)
                begun.add_done_callback(self._alone.discard)

    async def _ask_alone(self, asked: _Asked[Question, Answer]) -> None:
        try:
            answer = (await self._answer([asked.question]))[asked.question]
        except BaseException as error:  # noqa: BLE001 - raised where it was asked
            resolve(asked.over, error)
        else:
            resolve(asked.over, answer=answer)
