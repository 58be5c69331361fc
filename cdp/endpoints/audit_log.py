"""The audit log's public face: its newest signed head, and proofs that tell nothing about anybody.

``/.well-known/cdp-audit-head``, ``/.well-known/cdp-audit-inclusion?hash=HEX&size=N`` and
``/.well-known/cdp-audit-consistency?first=N&second=M``, much as logs of certificate transparency serve them (RFC 6962
section 4). Form: docs/audit-log.md.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cdp.core.errors import InvalidInput
from cdp.operations.audit import proofs
from cdp.operations.proofs.checks import LARGEST_SIZE, hash_of

HEAD = "/.well-known/cdp-audit-head"
INCLUSION = "/.well-known/cdp-audit-inclusion"
CONSISTENCY = "/.well-known/cdp-audit-consistency"
EVERYBODY = {"Access-Control-Allow-Origin": "*"}
FOREVER = {**EVERYBODY, "Cache-Control": "public, max-age=86400, immutable"}
LONGEST_NUMBER = len(str(LARGEST_SIZE))


class NotAHash(InvalidInput):
    """A hash is 64 lower-case hexadecimal digits, a size a whole number."""

    code = "NOT_A_HASH_OR_SIZE"


async def head(request: Request) -> Response:
    """The newest signed head."""
    found = await proofs.head(request.app.state.platform)
    return JSONResponse(found, headers={**EVERYBODY, "Cache-Control": "no-cache"})


async def inclusion(request: Request) -> Response:
    """Proof that a leaf is in a tree; who asks knows its hash already."""
    leaf = hash_of(request.query_params.get("hash"))
    if leaf is None:
        raise NotAHash
    found = await proofs.inclusion(request.app.state.platform, leaf, _number(request, "size"))
    return JSONResponse(found, headers=FOREVER)


async def consistency(request: Request) -> Response:
    """Proof that a tree begins with a smaller one."""
    first, second = _number(request, "first"), _number(request, "second")
    found = await proofs.consistency(request.app.state.platform, first, second)
    return JSONResponse(found, headers=FOREVER)


def _number(request: Request, name: str) -> int:
    given = request.query_params.get(name, "")
    if not (given.isascii() and given.isdigit() and len(given) < LONGEST_NUMBER):
        raise NotAHash
    return int(given)


routes = [Route(HEAD, head), Route(INCLUSION, inclusion), Route(CONSISTENCY, consistency)]
