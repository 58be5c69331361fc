"""Fixtures of deliveries: a seller of each module's own, with nobody in it at first."""

from collections.abc import AsyncIterator

import pytest

from cdp.core.settings import Settings
from tests.conftest import fresh_place
from tests.delivery.factory import Seller, seller_of

QUICK = {
    "bulk_part_rows": 3,
    "lease_s": 6.0,
    "sweep_s": 0.2,
    "retry_base_s": 0.0,
    "max_attempts": 4,
    "redis_url": "",
}


@pytest.fixture(scope="module")
async def seller(running: Settings, worker_name: str) -> AsyncIterator[Seller]:
    with fresh_place(running, worker_name) as place:
        async with seller_of(place.model_copy(update=QUICK)) as found:
            yield found
