"""Static files: our own and those of packages, under an address that changes with their content, cached for ever.

Nothing comes from another host. Every file is read once, when the module is imported.
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

OWN = Path(__file__).parent / "static"
GRAPHIQL = files("graphene_django_graphiql_static") / "static/graphene_django_graphiql_static"
FOREIGN = {
    "htmx.js": files("js_lib_htmx") / "static/htmx/htmx.min.js",
    "graphiql.js": GRAPHIQL / "graphiql.min.js",
    "graphiql.css": GRAPHIQL / "graphiql.min.css",
    "react.js": GRAPHIQL / "react.production.min.js",
    "react-dom.js": GRAPHIQL / "react-dom.production.min.js",
}
FOREVER = "public, max-age=31536000, immutable"
MOUNT = "/static"


@dataclass(frozen=True)
class Asset:
    """One file, ready to send."""

    address: str
    body: bytes
    media_type: str


def _read(name: str, path: Traversable) -> Asset:
    body = path.read_bytes()
    stem, _, suffix = name.rpartition(".")
    digest = hashlib.sha256(body).hexdigest()[:12]
    media_type = mimetypes.types_map.get(f".{suffix}", "application/octet-stream")
    return Asset(f"{MOUNT}/{stem}.{digest}.{suffix}", body, media_type)


_FILES: Mapping[str, Traversable] = {**{path.name: path for path in OWN.iterdir()}, **FOREIGN}
ASSETS: Mapping[str, Asset] = {name: _read(name, path) for name, path in _FILES.items()}
_BY_ADDRESS = {asset.address: asset for asset in ASSETS.values()}


def address_of(name: str) -> str:
    """Where a file is served; raises KeyError for one that is not there, when a page is first rendered."""
    return ASSETS[name].address


async def serve(request: Request) -> Response:
    """Send a file, or 404."""
    asset = _BY_ADDRESS.get(request.url.path)
    if asset is None:
        raise HTTPException(404)
    return Response(asset.body, media_type=asset.media_type, headers={"Cache-Control": FOREVER})


route = Route(MOUNT + "/{name}", serve, methods=["GET"])
