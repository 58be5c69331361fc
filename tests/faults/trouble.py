"""Peers in trouble: a seeded plan decides for every call whether it is answered, and how not.

30 % server errors, 10 % hang, 5 % do what was asked and drop the answer, 5 % say 429 with Retry-After.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from tests.connectors.serving import Call, Raw, Respond, answer, serving

# Longer than the time-outs of the systems under test, shorter than a test.
HANG_S = 4.0
CUT_SHORT: Raw = (200, {"content-type": "application/json", "content-length": "1000"}, b"{")


class Trouble(StrEnum):
    """What goes wrong with one call."""

    ERROR = "5xx"
    HANG = "hangs"
    DROP = "applies and drops the answer"
    LIMIT = "429"
    NONE = "answers"


SHARES = {Trouble.ERROR: 30, Trouble.HANG: 10, Trouble.DROP: 5, Trouble.LIMIT: 5, Trouble.NONE: 50}


class Plan:
    """The troubles of one peer, call after call; none while ``is_calm``."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.is_calm = True
        self.met: Counter[Trouble] = Counter()
        self._chance = random.Random(f"{seed} {name}")

    def next(self) -> Trouble:
        """What happens to the next call."""
        if self.is_calm:
            return Trouble.NONE
        (trouble,) = self._chance.choices(list(SHARES), weights=list(SHARES.values()))
        self.met[trouble] += 1
        return trouble

    def around(self, respond: Respond) -> Respond:
        """The same peer, in trouble."""

        async def troubled(call: Call) -> Raw:
            match self.next():
                case Trouble.ERROR:
                    return answer(self._chance.choice((500, 502, 503, 504)), b"<h1>Oops</h1>")
                case Trouble.HANG:
                    await asyncio.sleep(HANG_S)
                    return answer(200, b"too late")
                case Trouble.LIMIT:
                    return answer(429, b"", **{"retry-after": "1"})
                case Trouble.DROP:
                    await respond(call)
                    return CUT_SHORT
                case Trouble.NONE:
                    return await respond(call)

        return troubled


@contextmanager
def troubled(plan: Plan, respond: Respond) -> Iterator[str]:
    """Serve a peer under a plan; its base URL."""
    log = logging.getLogger("uvicorn.error")  # an answer cut short is an error to it, with a page of traceback
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with serving(plan.around(respond)) as base:
            yield base
    finally:
        log.setLevel(before)
