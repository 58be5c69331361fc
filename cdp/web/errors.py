"""Errors as people and programs see them: a machine code, a sentence, the request id; a page, or JSON.

Programs: ``{"code", "message", "requestId", …}``, and for tokens the challenge of RFC 6750 and RFC 9470.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.access.viewer import MissingScope
from cdp.core.db import DatabaseUnreachable
from cdp.core.errors import Conflict, NotFound, PlatformError, StepUpRequired, TooLarge, Unauthenticated
from cdp.operations.oauth.callers import challenge_in_kind
from cdp.operations.starting import ASK_AGAIN_S, is_away
from cdp.web.render import render

log = structlog.get_logger()
TITLES: Mapping[int, str] = {
    400: "That did not work",
    401: "Sign in first",
    403: "You may not do this",
    404: "There is nothing here",
    405: "That did not work",
    409: "This has changed",
    410: "This is gone",
    413: "That is too much",
    429: "One moment, please",
    503: "Not available right now",
}


class MethodNotAllowed(Conflict):
    """This address does not take that method."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class MalformedRequest(PlatformError):
    """This request can not be read."""

    code = "MALFORMED_REQUEST"
    status = 400


def error_response(request: Request, error: Exception) -> Response:
    """The answer to an error; everything unknown is INTERNAL, without a word about what it was."""
    known = _known(error)
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    headers = {**_headers(request, known), **_told(error)}
    if "text/html" in request.headers.get("accept", ""):
        context = {"error": known, "title": TITLES.get(known.status, "Something went wrong"), "request_id": request_id}
        page = render(request, "error.html", context, status=known.status)
        page.headers.update(headers)
        return page
    return json_error(request, known, headers)


def json_error(request: Request, error: PlatformError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to an error for programs, and where no page can be made."""
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    body = {**error.extensions, "code": error.code, "message": error.message, "requestId": request_id}
    return JSONResponse(body, status_code=error.status, headers={**(headers or {}), "Cache-Control": "no-store"})


def _known(error: Exception) -> PlatformError:
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, HTTPException):
        kinds: Mapping[int, type[PlatformError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
        return kinds.get(error.status_code, MalformedRequest if error.status_code < 500 else PlatformError)()
    if is_away(error):
        return DatabaseUnreachable(retryAfterS=ASK_AGAIN_S)
    return PlatformError()


def _headers(request: Request, error: PlatformError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, StepUpRequired):
        headers["WWW-Authenticate"] = error.challenge
    elif isinstance(error, MissingScope):
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.extensions.get("scope", "")}"'
    elif isinstance(error, Unauthenticated):
        with_token = "authorization" in request.headers
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if with_token else "Bearer"
    if plain := headers.get("WWW-Authenticate"):
        headers["WWW-Authenticate"] = challenge_in_kind(plain, error, request.headers.get("authorization"))
    if retry := error.extensions.get("retryAfterS"):
        headers["Retry-After"] = str(retry)
    return headers


def _told(error: Exception) -> Mapping[str, str]:
    """What the framework says beside its status: which methods an address takes."""
    said = error.headers or {} if isinstance(error, HTTPException) else {}
    return {"Allow": said["Allow"]} if "Allow" in said else {}


def _on_platform_error(request: Request, error: Exception) -> Response:
    if isinstance(error, PlatformError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request.refused", code=error.code)
    return error_response(request, error)


exception_handlers: Mapping[type[Exception], Callable[[Request, Exception], Response]] = {
    PlatformError: _on_platform_error,
    HTTPException: error_response,
}
