"""Pushed authorization requests (RFC 9126): checked here as a whole, so that the browser's visit finds nothing new."""

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.endpoints.oauth.authorization_request import checked, is_strange
from cdp.endpoints.oauth.client_auth import AUTH_METHODS
from cdp.endpoints.oauth.grants import register
from cdp.endpoints.oauth.possession import proven_key
from cdp.endpoints.oauth.server import (
    NO_STORE,
    Fields,
    ProtocolRequest,
    Server,
    UnreadableForm,
    failure,
    in_thread,
    read_form,
    refuse_repeated,
    refuse_unreadable_basic,
)
from cdp.operations.oauth import pushed

LARGEST_REQUEST = 8 * 1024


async def push(request: Request) -> Response:
    """Keep a client's authorization request and answer the reference to send the browser with."""
    platform: Platform = request.app.state.platform
    try:
        fields = await _readable(request)
    except OAuth2Error as error:
        return failure(error).response()
    async with platform.db.transaction(Role.WORKER) as tx:
        try:
            reference = await _push(platform, tx, request, fields)
        except OAuth2Error as error:  # what the client has proven itself with stays used up
            error.redirect_uri = None  # it is told here, not by the browser
            return failure(error).response()
    body = {"request_uri": reference, "expires_in": int(pushed.LIFE.total_seconds())}
    return JSONResponse(body, status_code=201, headers=NO_STORE)


async def _readable(request: Request) -> Fields:
    try:
        fields = await read_form(request)
    except UnreadableForm as error:
        raise InvalidRequestError(error.message) from error
    refuse_repeated(fields)
    refuse_unreadable_basic(request.headers)
    if "request_uri" in fields:
        raise InvalidRequestError("A pushed request refers to no other.")
    if is_strange(fields) or sum(map(len, fields.values())) > LARGEST_REQUEST:
        raise InvalidRequestError("A parameter is too long or holds characters it must not.")
    return fields


async def _push(platform: Platform, tx: Tx, request: Request, fields: Fields) -> str:
    server = register(Server(platform, tx))
    client = await in_thread(server.authenticate_client, ProtocolRequest(platform, request, fields), AUTH_METHODS)
    asked = {**fields, "client_id": client.client_id}
    if fields.get("client_id", client.client_id) != client.client_id:
        raise InvalidRequestError("This 'client_id' is of another client.")
    jkt = await proven_key(platform, tx, request)
    if jkt is not None and asked.setdefault("dpop_jkt", jkt) != jkt:
        raise OAuth2Error("The proof is by another key.", error="invalid_dpop_proof")
    await checked(server, ProtocolRequest(platform, request, Fields(asked)))
    return await pushed.push(tx, client, asked, now=platform.clock())
