"""Operation: is the process alive, can it work, and numbers about what it does; nothing about anybody.

``/livez`` says the loop turns, ``/readyz`` that the database answers and what has to hold first does, or why not;
Valkey is not asked, since everything works without it. Metric labels hold route templates, methods and statuses only.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdp.core.db import DatabaseUnreachable, Role
from cdp.core.platform import Platform
from cdp.operations.canary import runs as canary
from cdp.operations.canary.runs import Health
from cdp.operations.manual import work
from cdp.operations.paper import records
from cdp.operations.requests import figures
from cdp.operations.requests.figures import Figures
from cdp.operations.starting import ASK_AGAIN_S, Standby
from cdp.tables.canary import CanaryStatus

READY_WITHIN_S = 2.0
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """Counts requests and their time by route; a registry of its own for each application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        labels = ("method", "route", "status")
        self.requests = Counter("cdp_http_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "cdp_http_request_seconds", "Time to the last byte of an answer", ("route",), registry=self.registry
        )
        self.overdue = Gauge("cdp_overdue_tasks", "Tasks of people past their day", ("kind",), registry=self.registry)
        self.open = Gauge("cdp_open_requests", "Privacy requests under way", ("state",), registry=self.registry)
        self.late = Gauge("cdp_overdue_requests", "Open privacy requests past their day", registry=self.registry)
        self.stuck = Gauge(
            "cdp_stuck_tasks", "Steps of open requests that do not go on", ("system", "state"), registry=self.registry
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.canary = {
            name: Gauge(f"cdp_canary_{name}", said, registry=self.registry)
            for name, said in (
                ("passed", "Whether the last erasure of a person who never was worked everywhere: 1 or 0"),
                ("last_run_timestamp_seconds", "When the last of them ended"),
                ("last_success_timestamp_seconds", "When the last of them ended well"),
                ("duration_seconds", "How long the last of them took"),
            )
        }

    def note_canary(self, health: Health) -> None:
        """Show how the last runs of the canary ended; without any, nothing but zeros."""
        last, passed = health.last, health.passed
        if last is not None and last.finished_at is not None:
            self.canary["passed"].set(last.status is CanaryStatus.PASSED)
            self.canary["last_run_timestamp_seconds"].set(last.finished_at.timestamp())
            self.canary["duration_seconds"].set(last.duration_s or 0)
        if passed is not None and passed.finished_at is not None:
            self.canary["last_success_timestamp_seconds"].set(passed.finished_at.timestamp())

    def note_requests(self, found: Figures) -> None:
        """Show how privacy requests stand."""
        for status, number in found.open.items():
            self.open.labels(status.value).set(number)
        self.late.set(found.overdue)
        for (name, state), number in found.stuck.items():
            self.stuck.labels(name, state.value).set(number)

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. Looking labels up costs more than counting, so that each combination is kept."""
        key = (method, route, status)
        if key not in self._known:
            self._known[key] = (self.requests.labels(method, route, str(status)), self.seconds.labels(route))
        requests, times = self._known[key]
        requests.inc()
        times.observe(seconds)


class Measure:
    """Measures every request of the application inside."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See https://asgi.readthedocs.io/en/latest/specs/www.html."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.note(method, route, status, time.perf_counter() - started)


async def livez(_: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """The database answers, and the process may serve. Raises DatabaseUnreachable, or why it waits."""
    platform: Platform = request.app.state.platform
    standby: Standby = request.app.state.standby
    if standby.reason is not None:
        raise standby.reason
    try:
        async with asyncio.timeout(READY_WITHIN_S), platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise DatabaseUnreachable(retryAfterS=ASK_AGAIN_S) from error
    return PlainTextResponse("ok\n")


async def show_metrics(request: Request) -> Response:
    """Prometheus text (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    metrics: Metrics = request.app.state.metrics
    platform: Platform = request.app.state.platform
    with suppress(SQLAlchemyError, OSError, TimeoutError):  # the other numbers are worth most when the database is away
        async with asyncio.timeout(READY_WITHIN_S), platform.db.transaction(Role.WORKER) as tx:
            metrics.overdue.labels("manual").set(await work.overdue(tx))
            metrics.overdue.labels("paper").set(await records.overdue(tx))
            metrics.note_canary(await canary.health(tx))
            metrics.note_requests(await figures.now(tx))
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


routes: Sequence[Route] = (
    Route("/livez", livez, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/metrics", show_metrics, methods=["GET"]),
)
