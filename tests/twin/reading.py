"""The compiled reader over a database of its own, and viewers of every kind.

from tests.twin.reading import reading      a fixture: ``await reading.data("{ viewer { kind } }", viewer)``
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import strawberry

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Database
from cdp.core.ids import CustomerId
from cdp.core.settings import Settings
from cdp.schema.graph import build_graph
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config

KEY = b"\x07" * 32
GRAPH = build_graph(strawberry.Schema(query=Query, config=schema_config()))


def customer_viewer(customer_id: CustomerId, *scopes: str) -> Viewer:
    return Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=frozenset(scopes) or CUSTOMER_SCOPES)


def staff_viewer(*roles: str, scopes: frozenset[str] = STAFF_SCOPES) -> Viewer:
    return Viewer(
        Actor.STAFF, staff_id=uuid4(), roles=frozenset(roles or ("agent",)), scopes=scopes, purpose="customer_service"
    )


@dataclass
class Reading:
    """A reader and the shortest way to ask it."""

    reader: Reader

    async def ask(self, text: str, viewer: Viewer, **variables: Any) -> dict[str, Any]:
        return json.loads(await self.reader.execute(text, viewer, variables))

    async def data(self, text: str, viewer: Viewer, **variables: Any) -> dict[str, Any]:
        answer = await self.ask(text, viewer, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def code(self, text: str, viewer: Viewer, **variables: Any) -> str:
        (error,) = (await self.ask(text, viewer, **variables))["errors"]
        return error["extensions"]["code"]


@pytest.fixture
async def reading(fresh_database: Database, fresh_settings: Settings) -> AsyncIterator[Reading]:
    reader = Reader(GRAPH, fresh_database, fresh_settings, KEY)
    yield Reading(reader)
    await reader.close()
