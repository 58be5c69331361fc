"""The API process: settings in, one ASGI application out. It opens the platform, builds what edges share, mounts them.

What edges share hangs on ``app.state``: ``platform``, ``reader``, ``watch``, ``graphql`` (the execution), ``metrics``,
``standby``. While the database is away the application is up, and says at ``/readyz`` what it waits for.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from cdp.core import log
from cdp.core.clock import Clock, utc_now
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.endpoints import audit_log, bulk, callbacks, gdpr_api, health, opendsr, signing_keys, transfers
from cdp.endpoints.cors import Cors, origins_of
from cdp.endpoints.health import Measure, Metrics
from cdp.endpoints.oauth.routes import routes as oauth_routes
from cdp.operations import starting
from cdp.operations.federation.provider import provider_of
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.providers.gdpr_api.service import service_of
from cdp.operations.requests.watch import RequestWatch
from cdp.operations.starting import Standby
from cdp.schema.execution import Execution
from cdp.schema.http import GraphQLFirst
from cdp.schema.schema import open_reader
from cdp.web import routes as pages
from cdp.web.body_limit import BodyLimit
from cdp.web.documents import own_documents
from cdp.web.errors import exception_handlers
from cdp.web.perimeter import Perimeter
from cdp.web.proxies import HttpsOnly, TrustedProxies
from cdp.web.standby import StandbyGate

MAX_BODY_BYTES = 1024 * 1024


def build(settings: Settings, *, clock: Clock = utc_now) -> Starlette:
    """The whole application; connections open with its lifespan and close with it."""
    log.configure(settings.log_format, settings.log_level)
    metrics, standby, origins = Metrics(), Standby(), origins_of(settings.cors_origins)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as parts:
            platform = Platform.open(settings, clock=clock)
            parts.push_async_callback(platform.close)
            provider_of(settings)
            service_of(settings)
            await standby.open(lambda: _prepare(platform))
            parts.push_async_callback(standby.close)
            issuer_of(platform)
            reader = open_reader(platform)
            parts.push_async_callback(reader.close)
            watch = RequestWatch(platform.db)
            parts.push_async_callback(watch.close)
            app.state.platform, app.state.reader, app.state.watch = platform, reader, watch
            app.state.graphql = Execution(platform, reader, watch, documents=own_documents())
            parts.push_async_callback(app.state.graphql.close)
            yield

    app = Starlette(
        routes=_routes(),
        lifespan=lifespan,
        exception_handlers=dict(exception_handlers),
        middleware=[
            Middleware(Measure, metrics=metrics),
            Middleware(TrustedProxies, networks=settings.trusted_proxies),
            Middleware(Perimeter, is_secure=settings.is_secure),
            Middleware(HttpsOnly, url=settings.url),
            *([Middleware(Cors, origins=origins)] if origins else []),
            Middleware(StandbyGate, standby=standby),
            Middleware(GraphQLFirst),
            Middleware(BodyLimit, most_bytes=MAX_BODY_BYTES),
        ],
    )
    app.state.metrics, app.state.standby = metrics, standby
    return app


async def _prepare(platform: Platform) -> None:
    await starting.prepare(platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        await ensure_command_line(tx)


def _routes() -> list[BaseRoute]:
    """Most asked first: routes are tried in order."""
    return [
        *oauth_routes,
        *health.routes,
        *signing_keys.routes,
        *callbacks.routes,
        *audit_log.routes,
        *bulk.routes,
        *transfers.routes,
        *gdpr_api.routes,
        *opendsr.routes,
        *pages.routes(),
    ]
