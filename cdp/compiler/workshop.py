"""The workshop: where documents are read and statements made, the large ones beside the event loop.

Nothing here is I/O, so a large document would keep everybody else waiting for as long as it takes (up to 0.2 s within
the limits). One thread of our own makes it instead, taking turns with the loop at the interpreter's switch interval
(https://docs.python.org/3/library/sys.html#sys.setswitchinterval). One at a time, and a bounded line: a flood of new
documents slows down new documents, not the known ones.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cdp.core.errors import Unavailable

T = TypeVar("T")

SMALL_DOCUMENT = 1_000
"""Characters; about 6 ms of parsing and validation."""
SMALL_STATEMENT = 60
"""Fields; at most some 15 ms of compilation."""
SMALL_SQL = 10_000
"""Characters of a statement that has to be made again."""
MOST_WAITING = 64


class TooManyDocuments(Unavailable):
    """Too many new documents at once; try again in a moment."""

    code = "TOO_MANY_DOCUMENTS"


class Workshop:
    """Makes what takes long in a thread. One per reader."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workshop")
        self._waiting = 0

    async def make(self, work: Callable[[], T], *, is_small: bool) -> T:
        """Do the work here and now when it is small, otherwise beside the loop. Raises TooManyDocuments."""
        if is_small:
            return work()
        if self._waiting >= MOST_WAITING:
            raise TooManyDocuments
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let nothing more begin."""
        self._thread.shutdown(wait=False, cancel_futures=True)
