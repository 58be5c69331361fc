"""Rows by key, batched: what an ordinary GraphQL server would do with DataLoaders."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select
from strawberry.dataloader import DataLoader

from cdp.core.db import Database, Role

Record = dict[str, Any]


class Loaders:
    """DataLoaders of one request: all rows of a table whose column equals a key."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._loaders: dict[tuple[str, str], DataLoader[Any, list[Record]]] = {}

    async def related(self, table: Table, column: str, key: object) -> list[Record]:
        """Rows whose column has this value; none for null."""
        if key is None:
            return []
        name = (table.name, column)
        if name not in self._loaders:
            self._loaders[name] = DataLoader(load_fn=lambda keys: self._load(table, column, keys))
        return await self._loaders[name].load(key)

    async def everything(self, table: Table) -> list[Record]:
        """All rows."""
        async with self._db.engine(Role.WORKER).connect() as connection:
            found = await connection.execute(select(table))
            return [dict(row) for row in found.mappings()]

    async def by_id(self, table: Table, row_id: UUID) -> Record | None:
        """The row with this id."""
        found = await self.related(table, "id", row_id)
        return found[0] if found else None

    async def _load(self, table: Table, column: str, keys: list[Any]) -> list[list[Record]]:
        async with self._db.engine(Role.WORKER).connect() as connection:
            found = await connection.execute(select(table).where(table.c[column].in_(set(keys))))
            groups: dict[Any, list[Record]] = defaultdict(list)
            for row in found.mappings():
                groups[row[column]].append(dict(row))
        return [groups[key] for key in keys]
