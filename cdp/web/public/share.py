"""What a customer's link shows to whoever has it. Opening takes a press of a button: mail scanners press none."""

from typing import Any

from starlette.responses import Response

from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.operations.partners import links
from cdp.operations.partners.links import SHAREABLE_AREAS, LinkGone
from cdp.web.visit import Visit, document_text

PATH = "/share/{token}"
TITLE = "Shared with you"


async def show(visit: Visit) -> Response:
    """Say what this is, whoever asks; nothing is read and nothing noted."""
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        is_live = await links.is_live(tx, _token(visit))
    return _page(visit, is_live=is_live, status=200 if is_live else LinkGone.status)


async def submit(visit: Visit) -> Response:
    """Open the link: note the disclosure, then read exactly its areas."""
    try:
        async with visit.platform.db.transaction(Role.WORKER) as tx:
            opened = await links.open_link(tx, _token(visit))
    except LinkGone as error:
        return _page(visit, is_live=False, status=error.status)
    reader: Reader = visit.request.app.state.reader
    wanted = {area: area in opened.areas for area in SHAREABLE_AREAS}
    found = await reader.one(document_text("public/share.graphql"), opened.viewer, **wanted)
    shown = _sections(found["viewer"]["customer"])
    return _page(visit, is_live=True, status=200, shown=shown, name=found["viewer"]["customer"]["displayName"])


def _sections(customer: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Every list of the answer under its own name, pages and single objects as lists too."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for name, value in customer.items():
        if name == "contacts" and value:
            found += [(kind, rows) for kind, rows in value.items()]
        elif isinstance(value, dict):
            found.append((name, value.get("nodes", [value])))
        elif isinstance(value, list):
            found.append((name, value))
    return found


def _token(visit: Visit) -> str:
    return str(visit.request.path_params["token"])


def _page(
    visit: Visit,
    *,
    is_live: bool,
    status: int,
    shown: list[tuple[str, list[dict[str, Any]]]] | None = None,
    name: str | None = None,
) -> Response:
    response = visit.page(
        "public/share.html",
        title=TITLE,
        status=status,
        is_live=is_live,
        shown=shown,
        name=name,
        here=visit.request.url.path,
    )
    # The address opens it: no link on the page hands it on, and no cache keeps what it shows.
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
