"""The schema's own fixtures: an execution over the worker's database, and ways to ask it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cdp.access.viewer import Viewer
from cdp.compiler.reader import Reader
from cdp.core.platform import Platform
from cdp.operations.watch import RequestWatch
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest
from cdp.schema.schema import open_reader

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
async def reader(platform: Platform) -> AsyncIterator[Reader]:
    opened = open_reader(platform)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def execution(platform: Platform, reader: Reader) -> AsyncIterator[Execution]:
    watch = RequestWatch(platform.db, tick_s=0.02)
    yield Execution(platform, reader, watch)
    await watch.close()


@pytest.fixture(scope="session")
def ask(execution: Execution) -> Ask:
    """Run a document as a viewer: ``response = await ask(viewer, "{ viewer { kind } }", name=value …)``."""

    async def run(viewer: Viewer, document: str, **variables: Any) -> dict[str, Any]:
        result = await execution.execute(GraphQLRequest(document, variables), viewer)
        return json.loads(result.body)

    return run
