"""Fixtures of bulk exports: a platform of each module's own, with nobody in it at first."""

from collections.abc import AsyncIterator

import pytest

from cdp.core.settings import Settings
from tests.bulk.factory import Bulk, opened
from tests.conftest import fresh_place


@pytest.fixture(scope="module")
async def bulk(running: Settings, worker_name: str) -> AsyncIterator[Bulk]:
    with fresh_place(running, worker_name) as place:
        async for one in opened(place):
            yield one
