"""Live parts over a real connection: the first event comes at once, and who goes away is watched no longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn

from tests.web.account.conftest import Desk


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[str]:
    """The desk's application behind a real server."""
    config = uvicorn.Config(desk.app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
        assert not serving.done(), "the server did not start"
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def test_nothing_is_watched_once_everybody_has_gone(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    watch = desk.app.state.watch
    async with served(desk) as base, httpx.AsyncClient(base_url=base, cookies=browser.cookies) as client:
        for _ in range(3):
            async with client.stream("GET", f"/account/downloads/{reference}/events") as answer:
                lines = answer.aiter_lines()
                assert (await anext(lines)).startswith("id: ")
                assert (await anext(lines)).startswith("data: ")
        assert await comes_to_rest(watch)
    await desk.engine.work()


async def comes_to_rest(watch: object) -> bool:
    """Whether the poller stops asking the database, within some seconds."""
    for _ in range(20):
        before = watch.polls
        await asyncio.sleep(0.6)
        if watch.polls == before:
            return True
    return False
