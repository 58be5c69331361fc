"""``/opendsr/v2``: we are the processor; controllers send us the requests of their customers.

    GET    /discovery, /certificate.pem          for everybody
    POST   /requests                             201; the same body again: the same answer; another: 409
    GET    /requests/{id}, …/status, /status/{id}   where it stands
    GET    /requests/{id}/results                what a request of access found
    DELETE /requests/{id}                        202, while it is pending

``/opengdpr_requests`` answers too, with the older headers beside. Answers about requests are signed over the raw body.
Source: OpenDSR 2.0, https://github.com/opengdpr/OpenDSR
"""

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.access.viewer import Actor, Viewer
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.errors import PlatformError, Unauthenticated
from cdp.core.platform import Platform
from cdp.endpoints.oauth.possession import target_of
from cdp.operations.oauth.callers import challenge_in_kind, viewer_of
from cdp.operations.providers.opendsr import asked, controllers, results, wire
from cdp.operations.providers.opendsr.asked import BASE, RequestUnknown
from cdp.operations.providers.opendsr.certificate import signature_of
from cdp.tables.provider import AskedType

OLDER = "opengdpr_requests"
NO_STORE = {"Cache-Control": "no-store"}
Answer = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger()


def _answering(answer: Answer) -> Answer:
    """Give errors the form of the specification; they hold codes and places, never what was sent."""

    @wraps(answer)
    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except PlatformError as error:
            if error.status >= 500:
                log.warning("opendsr.failed", code=error.code)
            return _refused(request, error)

    return answered


def _refused(request: Request, error: PlatformError) -> Response:
    domain = str(request.url.hostname)
    reasons = [{"domain": domain, "reason": error.code, "message": error.message}]
    reasons += [
        {"domain": domain, "reason": one["reason"], "message": f"at {one['at']}"}
        for one in error.extensions.get("problems", ())
    ]
    headers = dict(NO_STORE)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = challenge_in_kind("Bearer", error, request.headers.get("authorization"))
    body = {"error": {"code": error.status, "message": error.message, "errors": reasons}}
    return JSONResponse(body, status_code=error.status, headers=headers)


async def _signed(request: Request, document: Mapping[str, object], *, status: int) -> Response:
    body = json.dumps(document, ensure_ascii=False).encode()
    signature = await signature_of(request.app.state.platform)
    headers = {**NO_STORE, **signature.headers(body, is_older=_is_older(request))}
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _is_older(request: Request) -> bool:
    return f"/{OLDER}" in request.url.path


async def _caller(request: Request) -> tuple[Platform, Viewer]:
    """Controllers come with a token of their own; a browser's cookie counts for nothing here."""
    platform: Platform = request.app.state.platform
    viewer = await viewer_of(platform, request.headers, {}, target=target_of(platform, request))
    if viewer.actor is Actor.ANONYMOUS:
        raise Unauthenticated
    await signature_of(platform)  # nothing is taken that could not be answered
    return platform, viewer


@_answering
async def discovery(request: Request) -> Response:
    """What we offer, and where our certificate is."""
    platform: Platform = request.app.state.platform
    await signature_of(platform)
    identities = [{"identity_type": kind, "identity_format": form} for kind in wire.TYPES for form in wire.FORMATS]
    return JSONResponse(
        {
            "api_version": wire.API_VERSION,
            "supported_identities": identities,
            "supported_subject_request_types": [one.value for one in AskedType],
            "processor_certificate": f"{platform.settings.url}{BASE}/certificate.pem",
        }
    )


@_answering
async def certificate(request: Request) -> Response:
    """The certificate our answers are signed with, and those above it."""
    found = await signature_of(request.app.state.platform)
    return Response(found.chain, media_type="application/x-pem-file")


@_answering
async def receive(request: Request) -> Response:
    """Take a request."""
    platform, viewer = await _caller(request)
    body = await request.body()
    async with platform.db.transaction(Role.WORKER) as tx:
        whose = await controllers.calling(tx, viewer)
        row = await asked.take(tx, viewer, platform, whose, wire.read(body, is_older=_is_older(request)), body=body)
    document = {
        "controller_id": row.client_id,
        "expected_completion_time": iso(row.due_at),
        "received_time": iso(row.received_at),
        "encoded_request": b64encode(body).decode(),
        "subject_request_id": str(row.subject_request_id),
    }
    return await _signed(request, document, status=201)


@_answering
async def show(request: Request) -> Response:
    """Where one request stands."""
    platform, viewer = await _caller(request)
    async with platform.db.transaction(Role.WORKER) as tx:
        whose = await controllers.calling(tx, viewer)
        row = await asked.find(tx, whose, _id(request))
    return await _signed(request, row.document(platform), status=200)


@_answering
async def cancel(request: Request) -> Response:
    """Take one request back."""
    platform, viewer = await _caller(request)
    async with platform.db.transaction(Role.WORKER) as tx:
        whose = await controllers.calling(tx, viewer)
        row = await asked.cancel(tx, viewer, whose, _id(request))
    document = {
        "controller_id": row.client_id,
        "subject_request_id": str(row.subject_request_id),
        "received_time": iso(platform.clock()),
        "api_version": wire.API_VERSION,
    }
    return await _signed(request, document, status=202)


@_answering
async def fetch(request: Request) -> Response:
    """The results of a request of access."""
    platform, viewer = await _caller(request)
    async with platform.db.transaction(Role.WORKER) as tx:
        whose = await controllers.calling(tx, viewer)
        row = await asked.find(tx, whose, _id(request))
    return await _signed(request, await results.results(platform, viewer, row), status=200)


async def one(request: Request) -> Response:
    """One request: where it stands, or take it back."""
    return await (cancel if request.method == "DELETE" else show)(request)


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise RequestUnknown from None


routes = [
    Route(f"{BASE}/discovery", discovery, methods=["GET"]),
    Route(f"{BASE}/certificate.pem", certificate, methods=["GET"]),
    *(
        route
        for name in ("requests", OLDER)
        for route in (
            Route(f"{BASE}/{name}", receive, methods=["POST"]),
            Route(f"{BASE}/{name}/{{id}}", one, methods=["GET", "DELETE"]),
            Route(f"{BASE}/{name}/{{id}}/status", show, methods=["GET"]),
            Route(f"{BASE}/{name}/{{id}}/results", fetch, methods=["GET"]),
        )
    ),
    Route(f"{BASE}/status/{{id}}", show, methods=["GET"]),
]
