"""Looking for all needles at once in a stream of rows: one pass over the text, whatever their number.

A chunk of many rows is cut into words and numbers, and these are held against sets; only a chunk that holds something
is looked at row by row. So the cost hardly depends on how many people are looked for.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cdp.operations.residual.needles import Needle, normal, words

ROW, CELL = "\x1e", "\x1f"
CHUNK_BYTES = 128 * 1024
# Whose row it is stands in it without digits: they would be looked at as numbers.
OWNER_DIGITS, OWNER_LETTERS = "0123456789-", "ghijklmnopq"
_OWNER = str.maketrans(OWNER_LETTERS, OWNER_DIGITS)
# Digits with something between them, as phone numbers are written.
_NUMBER = re.compile(rb"[0-9][0-9 ()./-]{5,}[0-9]")
_GROUP = re.compile(rb"[0-9]+")
_BETWEEN = b" ()./-"
MOST_GROUPS = 40


@dataclass(frozen=True)
class Source:
    """A table and the columns its cells come from; rows name it by its number."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where an identifier was found: table, column, and whose row it is, where rows are somebody's."""

    table: str
    column: str
    customer_id: UUID | None


@dataclass
class Haystack:
    """The needles, and in how many rows of which place each was found so far."""

    needles: Iterable[Needle]
    sources: Sequence[Source]
    found: Counter[tuple[Needle, Place]] = field(default_factory=Counter)
    rows: int = 0

    def __post_init__(self) -> None:
        self._by_anchor: dict[bytes, list[Needle]] = {}
        self._by_digits: dict[bytes, list[Needle]] = {}
        for needle in self.needles:
            if needle.is_phone:
                self._by_digits.setdefault(needle.text.encode(), []).append(needle)
            else:
                self._by_anchor.setdefault(needle.anchor, []).append(needle)
        self._shortest = min(map(len, self._by_digits), default=0)
        self._longest = max(map(len, self._by_digits), default=0)

    def look(self, chunk: str) -> None:
        """Look through whole rows: each begins with ROW, then its source's number, whose it is, and its cells."""
        text = normal(chunk)
        self.rows += text.count(ROW)
        if not self._may_hold(text):
            return
        for row in text.split(ROW)[1:]:
            if self._may_hold(row):
                self._row(row)

    def _may_hold(self, text: str) -> bool:
        raw = text.encode()
        return not self._by_anchor.keys().isdisjoint(words(raw)) or any(self._numbered(raw))

    def _numbered(self, text: bytes) -> Iterator[Needle]:
        """Needles among the numbers of a text: whole groups of digits, joined, are one of them."""
        if not self._by_digits:
            return
        for number in _NUMBER.findall(text):
            digits = number.translate(None, _BETWEEN)
            if len(digits) < self._shortest:
                continue
            yield from self._by_digits.get(digits, ())
            if len(digits) != len(number):
                yield from self._grouped(number)

    def _grouped(self, number: bytes) -> Iterator[Needle]:
        groups = _GROUP.findall(number)[:MOST_GROUPS]
        for start in range(len(groups)):
            digits = b""
            for group in groups[start:]:
                digits += group
                if len(digits) > self._longest:
                    break
                yield from self._by_digits.get(digits, ())

    def _row(self, row: str) -> None:
        source_number, owner, *cells = row.split(CELL)
        source = self.sources[int(source_number)]
        whose = UUID(owner.translate(_OWNER)) if owner else None
        for number, cell in enumerate(cells):
            raw = cell.encode()
            named = {needle for needle in self._named(cell, raw) if self._is_beside(needle, row)}
            once = {(hit.request_id, hit.type): hit for hit in (*named, *self._numbered(raw))}
            name = source.columns[min(number, len(source.columns) - 1)]
            for needle in once.values():
                self.found[needle, Place(source.table, name, whose)] += 1

    def _named(self, cell: str, raw: bytes) -> Iterator[Needle]:
        for anchor in self._by_anchor.keys() & set(words(raw)):
            for needle in self._by_anchor[anchor]:
                if needle.text.encode() == anchor or _stands_in(needle.text, " ".join(cell.split())):
                    yield needle

    @staticmethod
    def _is_beside(needle: Needle, row: str) -> bool:
        return not needle.beside or any(name in row for name in needle.beside)


def _stands_in(text: str, cell: str) -> bool:
    """Whether it stands there as words of its own."""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", cell) is not None


@dataclass
class Stream:
    """Bytes of a COPY as they come, cut into chunks of whole rows."""

    held: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> str | None:
        """A chunk once there is enough; None before."""
        self.held += data
        if len(self.held) < CHUNK_BYTES:
            return None
        cut = self.held.rfind(ROW.encode())
        return self._take(cut) if cut > 0 else None

    def rest(self) -> str | None:
        """What is left at the end."""
        return self._take(len(self.held)) if self.held else None

    def _take(self, size: int) -> str:
        chunk = bytes(self.held[:size]).decode("utf-8", "replace")
        del self.held[:size]
        return chunk
