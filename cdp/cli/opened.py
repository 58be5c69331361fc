"""Open the platform for one verb, and close it whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cdp.cli.environment import read_settings
from cdp.core.platform import Platform
from cdp.embedded.layout import resolve

T = TypeVar("T")


def with_platform(work: Callable[[Platform], Awaitable[T]]) -> T:
    """Run one piece of work against the platform the environment names."""

    async def run() -> T:
        platform = Platform.open(resolve(read_settings()))
        try:
            return await work(platform)
        finally:
            await platform.close()

    return asyncio.run(run())
