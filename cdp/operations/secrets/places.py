"""Every place that is sealed under the master keys, found by the columns' own declarations and in the key store.

A sealed value begins with the id of its key, so that counting by key needs no key at all.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Table, func, select

from cdp.core.db import Role, Tx
from cdp.core.keys import KeyGone, KeyStore
from cdp.core.platform import Platform
from cdp.core.seal import LOCAL, key_of
from cdp.tables import metadata
from cdp.tables.base import Sealed

KEY_FILES = "key files"
IN_THE_CLEAR = ""


@dataclass(frozen=True)
class Place:
    """One sealed column."""

    table: Table
    column: Column[bytes]
    context: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.table.name}.{self.column.name}"

    def context_of(self, row: Mapping[str, object]) -> str:
        """What the sealer authenticates for a row."""
        return self.context.format(**row)


def places() -> Iterator[Place]:
    """Columns sealed under the master keys."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            declared = column.info.get("sealed")
            if isinstance(declared, Sealed) and declared.context is not None:
                yield Place(table, column, declared.context)


def key_files(store: KeyStore) -> list[str]:
    """Keys that are sealed; the master keys among them are not."""
    return [name for name in store.names() if not name.startswith(LOCAL)]


async def counted(platform: Platform) -> Mapping[str, Counter[str]]:
    """How many values each place holds under each key; ``""`` stands for what is in the clear."""
    found: dict[str, Counter[str]] = {}
    async with platform.db.transaction(Role.WORKER) as tx:
        for place in places():  # one statement a table: they have nothing in common
            found[place.name] = await _of_column(tx, place)
    found[KEY_FILES] = _of_files(platform.keys)
    return found


async def _of_column(tx: Tx, place: Place) -> Counter[str]:
    length = func.get_byte(place.column, 1)
    head = func.substring(place.column, 1, length + 2).label("head")
    grouped = select(head, func.count().label("number")).where(place.column.is_not(None)).group_by(head)
    return Counter({key_of(row.head): row.number for row in await tx.all(grouped)})


def _of_files(store: KeyStore) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in key_files(store):
        try:
            stored = store.sealed(name)
        except KeyGone:  # destroyed since the names were read
            continue
        found[IN_THE_CLEAR if stored is None else key_of(stored)] += 1
    return found
