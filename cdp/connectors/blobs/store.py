"""What a store of files can do for us, whatever stands behind it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdp.connectors.base import Outcome, Problem

CHUNK_BYTES = 1024 * 1024


class Trouble(Exception):
    """The store did not do what was asked; ``outcome`` says what that means for the step."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.code)


@dataclass(frozen=True)
class Entry:
    """One version of a file, a mark that it was deleted (no content), or an upload that was never finished."""

    key: str = field(repr=False)
    size_bytes: int = 0
    version: str | None = None
    is_mark: bool = False
    upload: str | None = None

    @property
    def has_content(self) -> bool:
        """Whether there is something to read."""
        return not self.is_mark and self.upload is None


class Store(Protocol):
    """One bucket or folder. Every method raises Trouble."""

    async def entries(self, prefix: str) -> list[Entry]:
        """Everything whose key begins with ``prefix``, with all versions, marks and unfinished uploads."""

    def contents(self, entry: Entry) -> AsyncIterator[bytes]:
        """Read in chunks of at most CHUNK_BYTES."""

    async def locked(self, entries: Sequence[Entry]) -> int:
        """How many of them may not be deleted now."""

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Remove exactly these; those already gone are fine."""

    async def probe(self, prefix: str) -> tuple[Problem, ...]:
        """Try what an erasure needs, on a prefix nobody has."""
