"""A platform of the test's own, with quick times, and ways to let its work be done."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from cdp.core import log
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.reference import ensure_reference

QUICK = {
    "cooling_off": timedelta(seconds=0),
    "lease_s": 1.0,
    "sweep_s": 0.2,
    "retry_base_s": 0.05,
    "task_timeout_s": 2.0,
    "max_attempts": 4,
}


@pytest.fixture
async def platform(fresh_settings: Settings) -> AsyncIterator[Platform]:
    """A fresh platform without a doorbell: only what a test rings or sweeps happens."""
    log.configure("json", "warning")
    opened = Platform.open(fresh_settings.model_copy(update={**QUICK, "redis_url": ""}))
    async with opened.db.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
    yield opened
    await opened.close()
