"""``/v1/tasks/{task}/callback``: a connected system says that it is through with what it was asked to do."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cdp.core.errors import NotFound
from cdp.operations.requests import callbacks


async def called(request: Request) -> Response:
    """Take a callback with its bearer token; the body is not read. The answer is 204, or 404 for everything wrong."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        task_id = UUID(request.path_params["task"])
    except ValueError as error:
        raise NotFound from error
    if scheme.lower() != "bearer":
        raise NotFound
    await callbacks.called(request.app.state.platform, task_id, token)
    return Response(status_code=204)


routes = [Route(callbacks.PATH, called, methods=["POST"])]
