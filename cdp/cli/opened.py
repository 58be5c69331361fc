"""Open the platform for one verb, and close it whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cdp.cli.environment import read_settings
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.layout import layout_of, resolve
from cdp.embedded.lock import holder, read_record

T = TypeVar("T")


def addressed_settings() -> Settings:
    """Settings with the address the running API is known by: tokens name it, and links lead there."""
    given = read_settings()
    layout = layout_of(given)
    record = None if given.base_url else read_record(layout.record, holder(layout.lock))
    settings = resolve(given)
    return settings.model_copy(update={"base_url": record.url}) if record and record.url else settings


def with_platform(work: Callable[[Platform], Awaitable[T]]) -> T:
    """Run one piece of work against the platform the environment names."""

    async def run() -> T:
        platform = Platform.open(addressed_settings())
        try:
            return await work(platform)
        finally:
            await platform.close()

    return asyncio.run(run())
