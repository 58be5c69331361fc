"""Fixtures of asset transfers: a platform of each module's own, with an office that makes deals."""

from collections.abc import AsyncIterator

import pytest

from cdp.core.settings import Settings
from tests.conftest import fresh_place
from tests.engine import QUICK, opened
from tests.transfers.office import Office, opened_office


@pytest.fixture(scope="module")
async def office(running: Settings, worker_name: str) -> AsyncIterator[Office]:
    with fresh_place(running, worker_name) as place:
        async for engine in opened(place.model_copy(update={**QUICK, "redis_url": ""})):
            yield await opened_office(engine)
