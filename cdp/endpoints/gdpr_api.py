"""``/gdpr-api/v1/{id}``: a profile service shows and deletes what we hold about one of its people.

    GET     200 the tree of nodes, or 204
    DELETE  204 done, or nothing here; 403 refused; 500 not done yet, call again. ``dry_run=true`` changes nothing

Never 200, 202 or 404 to a deletion: callers take 204 alone for success.
Source: gdpr-api-openapi.yaml 1.1.0 of https://github.com/City-of-Helsinki/open-city-profile
"""

import json
from collections.abc import Iterator
from urllib.parse import parse_qsl

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.core.errors import InvalidInput, PlatformError, Unauthenticated
from cdp.core.platform import Platform
from cdp.operations.providers.gdpr_api.answers import Answered, Verdict
from cdp.operations.providers.gdpr_api.deleting import delete, rehearse
from cdp.operations.providers.gdpr_api.querying import query
from cdp.operations.providers.gdpr_api.tokens import Deed, admit

NO_STORE = {"Cache-Control": "no-store"}
PATH = "/gdpr-api/v1/{id}"
_YES, _NO = frozenset({"true", "1"}), frozenset({"false", "0"})

log = structlog.get_logger()


class DryRunUnclear(InvalidInput):
    """Say dry_run=true or dry_run=false; nothing was deleted."""

    code = "DRY_RUN_UNCLEAR"


async def person(request: Request) -> Response:
    """One person's data: show it, or delete it."""
    platform: Platform = request.app.state.platform
    try:
        return await (_delete if request.method == "DELETE" else _query)(request, platform)
    except (Unauthenticated, InvalidInput):
        raise
    except PlatformError as error:
        log.warning("gdpr_api.failed", code=error.code)
        return _answer(Verdict(Answered.TECHNICAL_ERROR))


async def _query(request: Request, platform: Platform) -> Response:
    name = request.path_params["id"]
    service = await admit(platform, request.headers.get("authorization"), name, Deed.QUERY)
    found = await query(platform, request.app.state.reader, service, name)
    return JSONResponse(found, headers=NO_STORE) if found else Response(status_code=204, headers=NO_STORE)


async def _delete(request: Request, platform: Platform) -> Response:
    name = request.path_params["id"]
    service = await admit(platform, request.headers.get("authorization"), name, Deed.DELETE)
    if _is_dry(request.query_params.getlist("dry_run"), await request.body()):
        return _answer(await rehearse(platform, service, name))
    return _answer(await delete(platform, request.app.state.watch, service, name))


def _answer(verdict: Verdict) -> Response:
    if verdict.body is None:
        return Response(status_code=verdict.status, headers=NO_STORE)
    return JSONResponse(verdict.body, status_code=verdict.status, headers=NO_STORE)


def _is_dry(asked: list[str], body: bytes) -> bool:
    """Whether it is a rehearsal, by address or body; what is unclear is never taken for an order to delete."""
    said = {value.strip().lower() for value in (*asked, *_in_body(body))}
    if not said <= _YES | _NO or (said & _YES and said & _NO):
        raise DryRunUnclear
    return bool(said & _YES)


def _in_body(body: bytes) -> Iterator[str]:
    if not body.strip():
        return
    try:
        text = body.decode()
        found = json.loads(text) if text.lstrip().startswith("{") else dict(parse_qsl(text, strict_parsing=True))
    except (ValueError, RecursionError) as error:
        raise DryRunUnclear from error
    if "dry_run" in found:
        yield str(found["dry_run"])


routes = [Route(PATH, person, methods=["GET", "DELETE"])]
