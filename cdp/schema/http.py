"""The door of GraphQL over HTTP, as a raw ASGI application: no framework object between a request and its bytes.

POST with JSON for everything, GET for queries, server-sent events for streams; a bearer token, or the session of a page
together with its CSRF token. Every refusal is a GraphQL error with a code, and every error names the request's id.
Source: GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/; RFC 6750; RFC 9470.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

import structlog
from starlette.requests import cookie_parser
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp.access.viewer import Actor, Viewer
from cdp.core.errors import InvalidInput, PlatformError, StepUpRequired, Unauthenticated
from cdp.operations.oauth.callers import challenge_in_kind, viewer_of
from cdp.operations.oauth.dpop import Target
from cdp.schema import console, sse
from cdp.schema.execution import Execution, Result, refused, traced
from cdp.schema.negotiation import Media, accepted, check_content_type
from cdp.schema.request import MAX_BODY_BYTES, BodyTooLarge, GraphQLRequest, read_body, read_query_string

CONTENT_TYPES = {media: f"{media.value}; charset=utf-8".encode() for media in Media}
COMMON = ((b"cache-control", b"no-store"), (b"vary", b"accept, authorization, cookie"))

log = structlog.get_logger()


class MethodNotAllowed(InvalidInput):
    """Use GET for queries and POST for everything."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class Disconnected(Exception):
    """The client went away before its request was complete."""


class GraphQLDoor:
    """Answers ``/graphql``; the execution hangs on the application's state as ``graphql``.

    The door of a realm takes the session of its pages. Through that of staff come staff alone, and each operation is
    recorded before it runs.
    """

    def __init__(self, realm: Actor = Actor.CUSTOMER) -> None:
        self._realm = realm

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        media = Media.JSON
        try:
            wanted = accepted(headers.get("accept"))
            media = wanted.media
            visit = Visit(scope["app"].state.graphql, scope, headers, self._realm)
            viewer = await visit.viewer()
            request = await visit.request(receive)
            if self._realm is Actor.STAFF:
                await console.record(visit.execution.platform, viewer, request)
            if media is Media.STREAM or (wanted.streams and await visit.execution.is_subscription(request, viewer)):
                await visit.stream(request, viewer, receive, send)
                return
            result = await visit.answer(request, viewer, receive)
        except PlatformError as error:
            await _send(scope, send, media, refused(error), challenge=_challenge(error, headers))
        except Disconnected:
            return
        except Exception as error:  # a bug of ours: its text may quote somebody's data
            log.exception("graphql.broke", error_type=type(error).__name__)
            await _send(scope, send, media, refused(PlatformError()))
        else:
            await _send(scope, send, media, result)


class Visit:
    """One request on its way through the door."""

    def __init__(self, execution: Execution, scope: Scope, headers: Mapping[str, str], realm: Actor) -> None:
        self.execution = execution
        self._realm = realm
        self._scope = scope
        self._headers = headers
        # A stream asks again and again who its viewer is; the proof of its request is good once.
        self._is_known = False
        if scope["method"] not in {"GET", "POST"}:
            raise MethodNotAllowed

    async def viewer(self) -> Viewer:
        """Who asks. Raises Unauthenticated and its leaves, CsrfRefused."""
        headers = self._headers
        cookies = {} if "authorization" in headers else cookie_parser(headers.get("cookie", ""))
        is_safe = self._scope["method"] == "GET"
        platform, method, path = self.execution.platform, self._scope["method"], self._scope["path"]
        target = Target(method, platform.settings.url + path)
        known = self._is_known
        viewer = await viewer_of(
            platform, headers, cookies, actor=self._realm, is_safe=is_safe, target=target, is_known=known
        )
        self._is_known = True
        if viewer.actor is Actor.ANONYMOUS or (self._realm is Actor.STAFF and viewer.actor is not Actor.STAFF):
            raise Unauthenticated
        return viewer

    async def request(self, receive: Receive) -> GraphQLRequest:
        """What is asked. Raises UnsupportedMediaType, BodyTooLarge, and the refusals of ``request``."""
        if self._scope["method"] == "GET":
            return read_query_string(self._scope["query_string"])
        check_content_type(self._headers.get("content-type"))
        return read_body(await _body(receive, self._headers.get("content-length")))

    async def answer(self, request: GraphQLRequest, viewer: Viewer, receive: Receive) -> Result:
        """Answer once. Raises Disconnected when the client did not wait for it."""
        execution = self.execution
        with execution.attendance.of(receive, partial(execution.may_stop, request)) as guest:
            try:
                return await execution.execute(request, viewer, only_queries=self._scope["method"] != "POST")
            except asyncio.CancelledError:
                if guest.is_gone:
                    raise Disconnected from None
                raise

    async def stream(self, request: GraphQLRequest, viewer: Viewer, receive: Receive, send: Send) -> None:
        """Answer with events, for as long as the client listens and whoever asked may still ask.

        Raises TooManyStreams.
        """
        with self.execution.seats.taken(viewer.account):
            await self._stream(request, viewer, receive, send)

    async def _stream(self, request: GraphQLRequest, viewer: Viewer, receive: Receive, send: Send) -> None:
        only_reads = self._scope["method"] == "GET"
        responses = self.execution.stream(request, viewer, only_reads=only_reads)
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", CONTENT_TYPES[Media.STREAM]), (b"x-accel-buffering", b"no"), *COMMON],
        }
        await send(start)
        await sse.answer(sse.Feed(responses, self.viewer, _request_id(self._scope)), receive, send)


async def _body(receive: Receive, declared: str | None) -> bytes:
    """The whole body, bounded; what is declared too large is not read at all."""
    if declared is not None and declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(limit_bytes=MAX_BODY_BYTES)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge(limit_bytes=MAX_BODY_BYTES)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(scope: Scope, send: Send, media: Media, result: Result, *, challenge: str | None = None) -> None:
    body = traced(result.body, _request_id(scope), result.extensions)
    if media is Media.STREAM:
        media = Media.RESPONSE
    # A client of the older media type reads the status as that of the transport: a well-formed request is 200.
    status = 200 if media is Media.JSON and result.is_well_formed else result.status
    headers = [
        (b"content-type", CONTENT_TYPES[media]),
        (b"content-length", str(len(body)).encode()),
        *COMMON,
    ]
    if challenge is not None:
        headers.append((b"www-authenticate", challenge.encode()))
    if result.retry_after_s is not None:
        headers.append((b"retry-after", str(result.retry_after_s).encode()))
    if status == 405:
        headers.append((b"allow", b"POST" if scope["method"] == "GET" else b"GET, POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def _challenge(error: PlatformError, headers: Mapping[str, str]) -> str | None:
    """How to do better, for a 401 (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9470 section 3)."""
    challenge = None
    if isinstance(error, StepUpRequired):
        challenge = error.challenge
    elif isinstance(error, Unauthenticated):
        challenge = 'Bearer error="invalid_token"' if "authorization" in headers else "Bearer"
    return challenge and challenge_in_kind(challenge, error, headers.get("authorization"))


class GraphQLFirst:
    """Middleware that hands ``/graphql`` straight to its door; routing, limits and error pages are for the rest.

    The door bounds bodies and answers every error itself, as GraphQL; each layer saved is time of every request. What
    the console's page posts goes to the door of staff.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._route = Route("/graphql", GraphQLDoor(), name="graphql")
        self._console = Route(console.PATH, GraphQLDoor(Actor.STAFF), name="console_graphql", methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] == "http" and scope["path"] == self._route.path:
            scope["route"] = self._route
            await self._route.app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == console.PATH and scope["method"] == "POST":
            scope["route"] = self._console
            await self._console.app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
