"""Record a legal order about a customer, with its document; two others agree, then it is followed once."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.attachments import attachments
from cdp.operations.partners import orders, partners
from cdp.operations.partners.orders import NewOrder, OrderIncomplete
from cdp.web.console.customer import address, row_id
from cdp.web.console.partners import HERE
from cdp.web.console.search import hit_of
from cdp.web.console.uploads import ACCEPTED, document_of
from cdp.web.visit import Problem, Visit
from cdp.web.words import with_times

FOLLOWING = f"{HERE}/orders/disclose"
_TYPED = ("authority", "case_ref", "law", "silent_until")


async def show(visit: Visit) -> Response:
    """The form to record an order about somebody."""
    partners.require(visit.viewer, visit.platform)
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Record it; it leads to where others agree."""
    platform, viewer, customer_id = visit.platform, visit.viewer, row_id(visit)
    covered = frozenset(one for one in visit.form.getlist("field") if isinstance(one, str))
    given = {name: visit.field(name) for name in _TYPED}
    try:
        wanted = NewOrder(given["authority"], given["case_ref"], given["law"], covered, _day(given["silent_until"]))
        async with audit.refusing(platform.db, viewer, "legal_order.proposed"):
            partners.require(viewer, platform)
            async with (
                attachments.stored(platform, await document_of(visit)) as document,
                platform.db.transaction(Role.WORKER) as tx,
            ):
                await orders.propose(tx, viewer, platform, customer_id, wanted, document=document)
    except (Conflict, InvalidInput, TooLarge) as error:
        place = str(error.extensions.get("field") or ("fields" if isinstance(error, OrderIncomplete) else ""))
        place = {"caseRef": "case_ref"}.get(place, place)
        return await _page(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(f"{HERE}#orders")


async def disclose(visit: Visit) -> Response:
    """Follow an approved order: what it covers comes as a file, this once."""
    try:
        order_id = parse_global_id(visit.field("id"), expected="LegalOrder")[1]
    except InvalidGlobalId as error:
        raise NotFound from error
    platform, viewer = visit.platform, visit.viewer
    async with audit.refusing(platform.db, viewer, "legal_order.disclosed"):
        found = await orders.disclose(platform, visit.reader, viewer, order_id)
    named = {"content-disposition": 'attachment; filename="disclosure.json"', "cache-control": "no-store"}
    return Response(json.dumps(dict(found), indent=2, ensure_ascii=False), media_type="application/json", headers=named)


def _day(given: str) -> datetime | None:
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC) if given else None
    except ValueError as error:
        raise OrderIncomplete from error


async def _page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    row_id(visit)
    answer = with_times(await visit.read("console/ordering.graphql", id=visit.request.path_params["id"]))
    customer: dict[str, Any] | None = answer["customer"]
    if customer is None:
        raise NotFound
    return visit.page(
        "console/ordering.html",
        title="Record a legal order",
        problems=problems,
        status=status,
        customer=hit_of(customer),
        here=address(visit),
        accepted=ACCEPTED,
        fields=sorted(orders.COVERABLE),
        ticked=visit.form.getlist("field"),
        typed={name: visit.field(name) for name in _TYPED},
    )
