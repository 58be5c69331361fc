"""Seats: how many event streams may be open at a time, for everybody together and for one viewer."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cdp.core.errors import RateLimited

RETRY_AFTER_S = 30


class TooManyStreams(RateLimited):
    """Too many event streams are open: end one first."""

    code = "TOO_MANY_STREAMS"


class Seats:
    """Counts the open streams of one process."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._taken: Counter[tuple[object, ...]] = Counter()

    @property
    def open(self) -> int:
        """Streams open now."""
        return self._taken.total()

    @contextmanager
    def taken(self, name: tuple[object, ...]) -> Iterator[None]:
        """Hold a seat of this viewer. Raises TooManyStreams."""
        if self._taken[name] >= self._most_each or self.open >= self._most:
            raise TooManyStreams(retryAfterS=RETRY_AFTER_S)
        self._taken[name] += 1
        try:
            yield
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
