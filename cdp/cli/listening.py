"""The API's listeners: the one that serves, and beside TLS of our own one that only leads there."""

import asyncio
from functools import partial
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cdp.core.settings import Settings
from cdp.web.perimeter import Perimeter
from cdp.web.proxies import to_https

# Open streams (server-sent events) end with their process; a browser reconnects by itself.
GRACE_S = 5


def serve(settings: Settings, application: ASGIApp) -> bool:
    """Serve until SIGTERM; whether the application could start."""
    api = _server(settings, application, settings.port, certificate=settings.tls_cert_file, key=settings.tls_key_file)
    servers = [api]
    if settings.redirect_port is not None:
        leading = Perimeter(partial(_lead, settings.url), is_secure=False)
        servers.append(_server(settings, leading, settings.redirect_port, lifespan=False))
    with asyncio.Runner(loop_factory=api.config.get_loop_factory()) as runner:
        runner.run(_together(servers))
    return api.started


async def _together(servers: list[uvicorn.Server]) -> None:
    """A signal reaches the newest and is handed on by each that ends; one that ends by itself ends the others."""
    running = {asyncio.create_task(server.serve()): server for server in servers}
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


def _server(
    settings: Settings,
    served: ASGIApp,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    lifespan: bool = True,
) -> uvicorn.Server:
    # Who is believed about addresses is for the application to say (CDP_TRUSTED_PROXIES).
    config = uvicorn.Config(
        served,
        host=settings.host,
        port=port,
        proxy_headers=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        lifespan="on" if lifespan else "off",
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    return uvicorn.Server(config)


async def _lead(url: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await to_https(Request(scope), url)(scope, receive, send)
