"""Live parts of a page: server-sent events that carry ready-made markup, one event a change.

The page marks its parts with ``data-part``; a script replaces those whose markup changed. Without scripts the page has
a link to itself. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from starlette.responses import Response, StreamingResponse

from cdp.core.errors import PlatformError
from cdp.operations.requests.watch import RequestWatch
from cdp.web.visit import Visit

# Proxies close what is silent for a minute; a write also tells us that the other end is gone.
QUIET_S = 15.0
SILENCE = ": nothing new\n\n"
END = "event: end\ndata: settled\n\n"

Markup = Callable[[], Awaitable[str]]


def stream(visit: Visit, request_id: UUID, markup: Markup) -> Response:
    """Send the markup now and after every change, until the request is settled.

    ``markup`` is asked anew each time and raises PlatformError once the visitor may no longer look; that ends it too.
    """
    watch: RequestWatch = visit.request.app.state.watch
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if visit.request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=headers)
    events = _with_heartbeat(_events(watch, request_id, markup))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(watch: RequestWatch, request_id: UUID, markup: Markup) -> AsyncIterator[str]:
    async for version in watch.versions(request_id):
        try:
            body = await markup()
        except PlatformError:
            return
        lines = "".join(f"data: {line}\n" for line in body.splitlines())
        yield f"id: {version.number}\n{lines}\n"
    yield END


async def _with_heartbeat(events: AsyncIterator[str]) -> AsyncIterator[str]:
    async def following() -> str | None:
        return await anext(events, None)

    waiting = asyncio.create_task(following())
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=QUIET_S)
            if not done:
                yield SILENCE
                continue
            event = waiting.result()
            if event is None:
                return
            yield event
            waiting = asyncio.create_task(following())
    finally:
        waiting.cancel()
