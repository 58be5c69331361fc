"""Two applications behind uvicorn, module by module: see ``two``."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cdp.core.settings import Settings
from cdp.jobs.workplace import Workplace
from cdp.operations.oauth.tokens import issuer_of
from cdp.schema.schema import open_reader
from tests.conftest import fresh_place
from tests.engine import QUICK, Engine
from tests.providers.two import AUDIENCE, DOMAIN, NUMBERING, Two
from tests.site import listening

QUIETLY = {**{name: value for name, value in QUICK.items() if name != "cooling_off"}, "redis_url": ""}


@pytest.fixture(scope="module")
async def two(running: Settings, worker_name: str) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        here = stack.enter_context(fresh_place(running, worker_name))
        there = stack.enter_context(fresh_place(running, worker_name))
        url, caller = await stack.enter_async_context(listening(here.model_copy(update=QUIETLY)))
        issuer_of(caller)
        agreed = {
            **QUIETLY,
            "gdpr_api_issuer": url,
            "gdpr_api_audience": AUDIENCE,
            "gdpr_api_numbering": NUMBERING,
            "gdpr_api_wait_s": 10.0,
            "opendsr_domain": DOMAIN,
        }
        called, home = await stack.enter_async_context(listening(there.model_copy(update=agreed)))
        reader = open_reader(home)
        stack.push_async_callback(reader.close)
        yield Two(caller, Engine(home, Workplace(home, reader, "tests")), called)
