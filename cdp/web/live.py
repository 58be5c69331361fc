"""Live parts of a page: server-sent events that carry ready-made markup, one event a version of the request.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from starlette.responses import Response, StreamingResponse

from cdp.core.errors import PlatformError
from cdp.operations.watch import RequestWatch
from cdp.web.visit import Visit

QUIET_S = 15.0

Markup = Callable[[], Awaitable[str]]


def stream(visit: Visit, request_id: UUID, markup: Markup) -> Response:
    """Send the markup now and after every change; ends when the request is settled or no longer to be seen."""
    watch: RequestWatch = visit.request.app.state.watch
    events = _with_heartbeat(_events(watch, request_id, markup))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(watch: RequestWatch, request_id: UUID, markup: Markup) -> AsyncIterator[str]:
    async for version in watch.versions(request_id):
        try:
            body = await markup()
        except PlatformError:
            return
        lines = "".join(f"data: {line}\n" for line in body.splitlines())
        yield f"id: {version.number}\n{lines}\n"
        if version.is_settled:
            yield "event: end\ndata: settled\n\n"
            return


async def _with_heartbeat(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """A comment every few seconds, so that proxies and we notice when the other end is gone."""
    iterator = aiter(events)
    waiting = asyncio.ensure_future(anext(iterator, None))
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=QUIET_S)
            if not done:
                yield ": still here\n\n"
                continue
            event = waiting.result()
            if event is None:
                return
            yield event
            waiting = asyncio.ensure_future(anext(iterator, None))
    finally:
        waiting.cancel()
