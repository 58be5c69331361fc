"""Asset transfers: every deal, how far it is, who goes and why not, and the steps that move it on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StepUpRequired
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.delivery import deltas, packages, progress
from cdp.operations.transfers import classifying, deals, freezing, notices, states, views
from cdp.operations.transfers.views import Sample
from cdp.tables.transfer import TRANSFER_TRANSITIONS, TransferStatus
from cdp.web.visit import Problem, Visit
from cdp.web.words import Said, with_times

PAGE = 50
HERE = "/console/transfers"
PREVIEW = "preview"
S = TransferStatus
STATUS: Mapping[str, Said] = {
    S.DRAFT.name: ("Recorded", ""),
    S.CLASSIFIED.name: ("Classified", ""),
    S.NOTIFYING.name: ("People are being told", ""),
    S.WINDOW.name: ("People can object", "warn"),
    S.FROZEN.name: ("Waits for approvals", "warn"),
    S.APPROVED.name: ("Approved", "good"),
    S.PACKAGING.name: ("Being packed", ""),
    S.DELIVERING.name: ("Being delivered", ""),
    S.COMPLETED.name: ("Done", "good"),
    S.RECALLED.name: ("Called back", "bad"),
    S.CANCELLED.name: ("Called off", ""),
}
Step = Callable[[Tx, Visit, UUID], Awaitable[object]]
STEPS: Mapping[str, Step] = {
    "classify": lambda tx, visit, one: classifying.classify(tx, visit.viewer, visit.platform, one),
    "notify": lambda tx, visit, one: notices.notify(tx, visit.viewer, visit.platform, one),
    "freeze": lambda tx, visit, one: freezing.freeze(tx, visit.viewer, visit.platform, one),
    "thaw": lambda tx, visit, one: freezing.thaw(tx, visit.viewer, visit.platform, one),
    "confirm": lambda tx, visit, one: deals.confirm_key(
        tx, visit.viewer, visit.platform, one, given=visit.field("fingerprint")
    ),
    "approve": lambda tx, visit, one: freezing.approve(
        tx, visit.viewer, visit.platform, one, sha256=visit.field("sha256")
    ),
    "offer": lambda tx, visit, one: packages.offer_again(tx, visit.viewer, visit.platform, one),
    "retry": lambda tx, visit, one: packages.retry(tx, visit.viewer, visit.platform, one),
    "recall": lambda tx, visit, one: deltas.recall(tx, visit.viewer, visit.platform, one, reason=visit.field("reason")),
    "cancel": lambda tx, visit, one: deals.cancel(tx, visit.viewer, visit.platform, one, reason=visit.field("reason")),
}
# Steps of the one who makes a deal, by where it stands: word of the address and label.
NEXT: Mapping[str, Sequence[tuple[str, str]]] = {
    S.DRAFT.name: (("classify", "Classify everybody in scope"),),
    S.CLASSIFIED.name: (("notify", "Tell everybody who would go"), ("classify", "Classify again")),
    S.WINDOW.name: (("freeze", "Freeze who goes"),),
    S.FROZEN.name: (("thaw", "Give up what is frozen"),),
    S.APPROVED.name: (("thaw", "Give up what is frozen"),),
    S.PACKAGING.name: (("retry", "Make failed parts again"),),
    S.DELIVERING.name: (("offer", "Offer the package again"), ("retry", "Make failed parts again")),
}


PACKED = frozenset({S.PACKAGING, S.DELIVERING, S.COMPLETED, S.RECALLED})


async def show_list(visit: Visit) -> Response:
    """Deals, newest first."""
    after = visit.request.query_params.get("after") or None
    listed = with_times((await visit.read("console/transfers.graphql", first=PAGE, after=after))["transfers"])
    return visit.page(
        "console/transfers.html",
        title="Transfers",
        rows=listed["nodes"],
        statuses=STATUS,
        after=listed["pageInfo"]["endCursor"] if listed["pageInfo"]["hasNextPage"] else None,
    )


async def show(visit: Visit) -> Response:
    """One deal."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Move it on: the last word of the address."""
    what, transfer_id = str(visit.request.path_params["what"]), _id(visit)
    if what not in {*STEPS, PREVIEW}:
        raise NotFound
    samples: list[Sample] | None = None
    db = visit.platform.db
    try:
        refusing = audit.refusing(db, visit.viewer, f"transfer.{what}", about=(states.OBJECT, transfer_id))
        async with refusing, db.transaction(Role.WORKER) as tx:
            if what == PREVIEW:
                samples = await views.preview(tx, visit.viewer, transfer_id)
            else:
                await STEPS[what](tx, visit, transfer_id)
    except StepUpRequired:
        raise
    except (Conflict, Forbidden, InvalidInput) as error:
        return await _page(visit, [Problem("", error.message)], status=error.status)
    if samples is not None:
        return await _page(visit, [], samples=samples)
    return visit.redirect(f"{HERE}/{visit.request.path_params['id']}")


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="Transfer")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(
    visit: Visit,
    problems: Sequence[Problem],
    *,
    status: int | None = None,
    samples: Sequence[Sample] | None = None,
) -> Response:
    _id(visit)
    answer = await visit.read("console/transfer.graphql", id=visit.request.path_params["id"])
    row: dict[str, Any] | None = with_times(answer["transfer"])
    if not row:
        raise NotFound
    state = TransferStatus[row["status"]]
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        delivery = await progress.of(tx, visit.viewer, _id(visit)) if state in PACKED else None
    return visit.page(
        "console/transfer.html",
        title=row["name"],
        problems=problems,
        status=status,
        row=row,
        said=STATUS[state.name],
        steps=NEXT.get(state.name, ()),
        approvals=[one for one in row["approvals"] if one["sha256"] == row["frozenSha256"]],
        needed=freezing.APPROVALS_NEEDED,
        is_frozen=state is S.FROZEN,
        waits_for_key=not row["keyConfirmedAt"] and S.CANCELLED in TRANSFER_TRANSITIONS[state],
        samples=samples,
        delivery=delivery,
        can_recall=S.RECALLED in TRANSFER_TRANSITIONS[state],
        can_cancel=S.CANCELLED in TRANSFER_TRANSITIONS[state],
        here=f"{HERE}/{visit.request.path_params['id']}",
    )
