"""``/bulk``: asynchronous exports over plain HTTP, as FHIR's bulk data access does it.

    POST   /bulk/export            202, Content-Location
    GET    /bulk/export/{id}       202 with X-Progress and Retry-After, or 200 with the manifest
    GET    /bulk/export/{id}/{file}   the file, or a range of it
    DELETE /bulk/export/{id}       202: cancelled, or destroyed when it was finished

Source: https://hl7.org/fhir/uv/bulkdata/export.html; RFC 9110 (ranges), RFC 7240 (Prefer).
"""

import json
import re
from email.utils import format_datetime
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role
from cdp.core.errors import InvalidInput, PlatformError, Unauthenticated
from cdp.core.platform import Platform
from cdp.endpoints.oauth.possession import target_of
from cdp.operations import audit
from cdp.operations.bulk import control, kickoff, manifests
from cdp.operations.bulk.kickoff import Wanted
from cdp.operations.bulk.states import BulkExportGone, BulkExportMissing
from cdp.operations.oauth.callers import viewer_of
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus

ASK_AGAIN_S = 2
NO_STORE = {"Cache-Control": "no-store"}
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_TEXTS = ("query", "purpose", "operationName", "recipient", "since", "notifyUrl")


class KickOffUnreadable(InvalidInput):
    """The body is a JSON object with a query and a purpose."""

    code = "BAD_REQUEST"


class BulkExportFailed(PlatformError):
    """This export failed; ask for it again."""

    code = "BULK_EXPORT_FAILED"


async def _caller(request: Request) -> tuple[Platform, Viewer]:
    """Programs come with a bearer token; a browser's cookie counts for nothing here."""
    platform: Platform = request.app.state.platform
    viewer = await viewer_of(platform, request.headers, {}, target=target_of(platform, request))
    if viewer.actor is Actor.ANONYMOUS:
        raise Unauthenticated
    return platform, viewer


async def kick_off(request: Request) -> Response:
    """Ask for an export."""
    platform, viewer = await _caller(request)
    reader = request.app.state.reader
    wanted = _wanted(await request.body(), request.headers.get("idempotency-key"))
    async with audit.refusing(platform.db, viewer, "bulk_export.requested"):
        asked = await kickoff.run_query(platform, BulkCompiler(reader.graph, reader.limits), viewer, wanted)
    where = f"{platform.settings.url}{manifests.PATH}/{asked.id}"
    headers = {**NO_STORE, "Content-Location": where, "Retry-After": str(ASK_AGAIN_S)}
    return JSONResponse({"id": str(asked.id), "reference": asked.reference}, status_code=202, headers=headers)


def _wanted(body: bytes, key: str | None) -> Wanted:
    try:
        given = json.loads(body)
        texts = {name: given.get(name) for name in _TEXTS}
        variables, personal = given.get("variables"), given.get("personal", False)
        if not all(value is None or isinstance(value, str) for value in texts.values()) or not texts["query"]:
            raise KickOffUnreadable
        if not isinstance(variables, dict | None) or not isinstance(personal, bool):
            raise KickOffUnreadable
        return Wanted(
            query=texts["query"],
            purpose=texts["purpose"],
            variables=variables,
            operation_name=texts["operationName"],
            format=BulkFormat(given.get("format", "ndjson")),
            compression=BulkCompression(given.get("compression", "none")),
            personal=personal,
            recipient=texts["recipient"],
            since=texts["since"],
            idempotency_key=key,
            notify_url=texts["notifyUrl"],
        )
    except (ValueError, AttributeError, RecursionError):
        raise KickOffUnreadable from None


async def show(request: Request) -> Response:
    """How far it is, or the manifest."""
    platform, viewer = await _caller(request)
    async with (
        audit.refusing(platform.db, viewer, "bulk_export.shown"),
        platform.db.transaction(Role.WORKER) as tx,
    ):
        found = await control.progress(tx, viewer, _id(request))
        manifest = await control.manifest(tx, viewer, found.row.id) if found.manifest is not None else None
    row = found.row
    if manifest is not None:
        expires = format_datetime(row.expires_at, usegmt=True)
        return Response(manifest, media_type="application/json", headers={**NO_STORE, "Expires": expires})
    match row.status:
        case BulkStatus.CANCELLING | BulkStatus.CANCELLED:
            raise BulkExportMissing
        case BulkStatus.EXPIRED | BulkStatus.DESTROYED:
            raise BulkExportGone
        case BulkStatus.FAILED:
            raise BulkExportFailed(reason=row.code)
    said = f"{found.parts_done} of {row.part_count} parts" if row.part_count else row.status.value.replace("_", " ")
    headers = {**NO_STORE, "X-Progress": said, "Retry-After": str(ASK_AGAIN_S)}
    return Response(status_code=202, headers=headers)


async def remove(request: Request) -> Response:
    """Cancel it, or destroy its files."""
    platform, viewer = await _caller(request)
    async with (
        audit.refusing(platform.db, viewer, "bulk_export.cancelled"),
        platform.db.transaction(Role.WORKER) as tx,
    ):
        await control.cancel(tx, viewer, _id(request))
    return Response(status_code=202, headers=NO_STORE)


async def fetch(request: Request) -> Response:
    """One file, whole or a range of it; never cached."""
    platform, viewer = await _caller(request)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    start, end = (int(asked[1]), int(asked[2]) + 1 if asked[2] else None) if asked else (0, None)
    async with audit.refusing(platform.db, viewer, "bulk_export.fetched"):
        file = await control.fetch(platform, viewer, _id(request), request.path_params["file"], start=start, end=end)
    headers = {
        **NO_STORE,
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256.hex()}"',
        "Content-Length": str(file.end - file.start),
        "Content-Disposition": f'attachment; filename="{file.name}"',
    }
    if asked:
        headers["Content-Range"] = f"bytes {file.start}-{file.end - 1}/{file.size_bytes}"
    status = 206 if asked else 200
    return StreamingResponse(file.chunks, status, headers=headers, media_type="application/octet-stream")


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise BulkExportMissing from None


async def export(request: Request) -> Response:
    """One export: look at it, or remove it."""
    return await (remove if request.method == "DELETE" else show)(request)


routes = [
    Route(manifests.PATH, kick_off, methods=["POST"]),
    Route(f"{manifests.PATH}/{{id}}", export, methods=["GET", "DELETE"]),
    Route(f"{manifests.PATH}/{{id}}/{{file}}", fetch, methods=["GET"]),
]
