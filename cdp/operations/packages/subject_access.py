"""Our own part of an export: ``subject_access.graphql`` read by the compiler in one REPEATABLE READ snapshot.

It runs as the customer: what row-level security and the access rules let them see is what they take away. Each
operation of the document is one collection; connections are read page by page, so memory stays flat.
Source: GDPR art. 15, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse, print_ast

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.connectors.base import Page, Record
from cdp.core.db import Database, Role
from cdp.core.ids import CustomerId
from cdp.operations.packages.choices import EVERYTHING, Choices

DOCUMENT = Path(__file__).with_suffix(".graphql")


class Snapshot:
    """One person's data as it is at one moment; ``at`` is known once it is open."""

    def __init__(self, reader: Reader, db: Database, customer_id: CustomerId) -> None:
        self._reader = reader
        self._db = db
        self._viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=CUSTOMER_SCOPES)
        self.at: datetime | None = None

    async def pages(self, chosen: Choices = EVERYTHING) -> AsyncIterator[Page]:
        """Everything held, or what was chosen of it, collection by collection."""
        connection = await self._db.connect_raw(Role.CUSTOMER)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                self.at = await connection.fetchval("SELECT now()")
                for name, text in operations().items():
                    if not chosen.takes(name):
                        continue
                    async for records in self._collection(connection, text):
                        yield Page(name, records)
        finally:
            await connection.close()

    async def _collection(self, connection: asyncpg.Connection, text: str) -> AsyncIterator[list[Record]]:
        variables: dict[str, object] = {}
        while True:
            answer = await self._reader.rows(text, self._viewer, variables, connection=connection)
            records, after = _read(answer)
            yield records
            if after is None:
                return
            variables = {"after": after}


@cache
def operations() -> Mapping[str, str]:
    """The document's operations by name, each as a document of its own with the fragments."""
    definitions = parse(DOCUMENT.read_text(encoding="utf-8")).definitions
    fragments = "\n".join(print_ast(one) for one in definitions if isinstance(one, FragmentDefinitionNode))
    found: dict[str, str] = {}
    for one in definitions:
        if isinstance(one, OperationDefinitionNode) and one.name is not None:
            text = print_ast(one)
            found[one.name.value] = f"{text}\n{fragments}" if "...Source" in text else text
    return found


def _read(answer: dict[str, Any]) -> tuple[list[Record], str | None]:
    """The records of an answer, and the cursor of the next page.

    An operation selects one thing, so the answer is walked down through objects of one member to it.
    """
    found: Any = answer
    while isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if isinstance(found, dict) and "pageInfo" in found:
        info = found["pageInfo"]
        return found["nodes"], info["endCursor"] if info["hasNextPage"] else None
    if isinstance(found, list):
        return found, None
    return ([found] if found else []), None
