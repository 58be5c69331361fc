"""Search, the console's first page: one field, results in groups, masked.

What is typed is somebody's personal data and never stands in an address: it is posted, and the page that follows is
called by a sealed handle, good for a quarter of an hour and for this member of staff alone.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response

from cdp.core.seal import Unsealable
from cdp.web.console import terms
from cdp.web.console.terms import Terms
from cdp.web.console.words import Chip, request_line, status_chips
from cdp.web.visit import Problem, Visit
from cdp.web.words import with_times

HANDLE_LIVES = timedelta(minutes=15)
MOST = 20
Row = Mapping[str, Any]
# How a customer was found, in the order of certainty, and the answers of the document that belong to it.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("By id", ("id",)),
    ("By e-mail address", ("email",)),
    ("By phone number", ("phone",)),
    ("By order number", ("order",)),
    ("By customer number or user name", ("identity",)),
    ("By name", ("name", "swapped")),
)


@dataclass(frozen=True)
class Hit:
    """One customer found; ways to reach them are masked."""

    row: Row
    chips: tuple[Chip, ...]
    email: str | None
    phone: str | None


@dataclass(frozen=True)
class Group:
    """Customers found in one way. ``is_cut`` when there are more than are shown."""

    title: str
    hits: tuple[Hit, ...]
    is_cut: bool


async def show(visit: Visit) -> Response:
    """The field, and what was found by the handle in the address."""
    handle = visit.request.query_params.get("found")
    if handle is None:
        return visit.page("console/search.html", title="Customers", sought="", groups=None, requests=())
    typed = _opened(visit, handle)
    if typed is None:
        return visit.redirect("/console")
    return await _found(visit, typed)


async def submit(visit: Visit) -> Response:
    """Take what was typed on to its results."""
    typed = visit.field("q")[: terms.LONGEST]
    if not (await run_sync(terms.read, typed)).is_anything:
        problem = Problem("q", f"Type at least {terms.SHORTEST_NAME} characters, or a whole number or reference.")
        return visit.page(
            "console/search.html", title="Customers", problems=[problem], sought=typed, groups=None, requests=()
        )
    return visit.redirect(f"/console?found={_sealed(visit, typed)}")


async def _found(visit: Visit, typed: str) -> Response:
    wanted: Terms = await run_sync(terms.read, typed)
    answer = with_times(await visit.read("console/search.graphql", first=MOST, **wanted.variables))
    requests = answer.get("reference", {"nodes": []})["nodes"]
    return visit.page(
        "console/search.html",
        title="Customers",
        sought=typed,
        groups=[group for group in _groups(answer) if group.hits],
        requests=[(request_line(row, visit.now), hit_of(row["customer"])) for row in requests],
    )


def _groups(answer: Row) -> Iterable[Group]:
    for title, names in GROUPS:
        hits: dict[str, Hit] = {}
        is_cut = False
        for found in (answer.get(name) for name in names):
            if found is None:
                continue
            rows = found.get("nodes", [found])
            hits |= {row["id"]: hit_of(row) for row in rows}
            is_cut = is_cut or ("pageInfo" in found and found["pageInfo"]["hasNextPage"])
        yield Group(title, tuple(hits.values()), is_cut)


def hit_of(row: Row | None) -> Hit:
    """A customer in a list; None is one who was deleted."""
    if row is None:
        return Hit({"id": None}, (), None, None)
    contacts = row["contacts"]
    return Hit(
        row,
        status_chips(row),
        _first(contacts["emails"], "address"),
        _first(contacts["phones"], "number"),
    )


def _first(contacts: Iterable[Row], name: str) -> str | None:
    """The one to use first, else the oldest."""
    ranked = sorted(contacts, key=lambda one: not one["isPrimary"])
    return ranked[0][name] if ranked else None


def _context(visit: Visit) -> str:
    return f"console-search:{visit.viewer.staff_id}"


def _sealed(visit: Visit, typed: str) -> str:
    until = (visit.now + HANDLE_LIVES).timestamp()
    sealed = visit.platform.sealer.seal(json.dumps([typed, until]).encode(), _context(visit))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _opened(visit: Visit, handle: str) -> str | None:
    """What was typed; None for a handle that is over, foreign or made up."""
    try:
        sealed = base64.b64decode(handle + "=" * (-len(handle) % 4), altchars=b"-_", validate=True)
        typed, until = json.loads(visit.platform.sealer.open(sealed, _context(visit)))
    except (Unsealable, binascii.Error, ValueError):
        return None
    return str(typed) if visit.now.timestamp() <= until else None
