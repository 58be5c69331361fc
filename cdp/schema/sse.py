"""Server-sent events: one response of an operation as one event, until it is complete or its viewer may ask no more.

Events are those of graphql-sse's distinct connections: ``next`` with a response, ``complete`` at the end; a comment
keeps silent connections open. The viewer is asked for again while the stream runs: an ended token ends it.
Source: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, https://html.spec.whatwg.org/#server-sent-events
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from starlette.types import Receive, Send

from cdp.access.viewer import Viewer
from cdp.compiler.response import refusal
from cdp.core.errors import PlatformError
from cdp.schema.execution import traced

ASK_EVERY_S = 5.0
COMPLETE = b"event: complete\ndata:\n\n"
ALIVE = b":\n\n"
log = structlog.get_logger()


@dataclass(frozen=True)
class Feed:
    """What is sent: responses, as long as ``viewer`` does not raise; errors name the request's id."""

    responses: AsyncGenerator[bytes, None]
    viewer: Callable[[], Awaitable[Viewer]]
    request_id: str


async def answer(feed: Feed, receive: Receive, send: Send) -> None:
    """Send every response as an event; ends with the operation, the client or the viewer's right to ask."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
    work = asyncio.create_task(_produce(feed, queue))
    gone = asyncio.create_task(_wait_until_gone(receive))
    sending = asyncio.create_task(_send_all(feed, queue, send))
    try:
        await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (work, gone, sending):
            task.cancel()
        await asyncio.gather(work, gone, sending, return_exceptions=True)


async def _produce(feed: Feed, queue: asyncio.Queue[bytes | None]) -> None:
    """Fill the queue; None is the end."""
    try:
        async with aclosing(feed.responses) as responses:
            async for response in responses:
                await queue.put(response)
    except Exception as error:  # a bug of ours: its text may quote somebody's data
        log.exception("graphql.broke", error_type=type(error).__name__)
        await queue.put(refusal(PlatformError()))
    await queue.put(None)


async def _send_all(feed: Feed, queue: asyncio.Queue[bytes | None], send: Send) -> None:
    is_open = True
    while is_open:
        try:
            response = await _next(queue)
            await feed.viewer()
        except PlatformError as error:
            event, is_open = _event(feed, refusal(error)) + COMPLETE, False
        else:
            is_open = response is not None
            event = COMPLETE if response is None else _event(feed, response) if response else ALIVE
        await send({"type": "http.response.body", "body": event, "more_body": is_open})


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    """The next response, None at the end, nothing (``b""``) when it is time for a sign of life."""
    try:
        # Not wait_for: up to Python 3.11 it swallows a cancellation that comes together with a response.
        async with asyncio.timeout(ASK_EVERY_S):
            return await queue.get()
    except TimeoutError:
        return b""


def _event(feed: Feed, response: bytes) -> bytes:
    """JSON holds no line break, so one data line is enough."""
    return b"event: next\ndata: " + traced(response, feed.request_id) + b"\n\n"


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
