"""Merging two customers: both side by side, what would happen, the decision; and undoing it from the ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformError, StepUpRequired
from cdp.core.ids import CustomerId, InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.merging import merges, preview, splitting
from cdp.operations.merging.merges import Wanted
from cdp.operations.merging.states import OBJECT
from cdp.tables.merge import MergeStatus
from cdp.web.console.customer import address, row_id
from cdp.web.console.search import hit_of
from cdp.web.visit import Problem, Visit
from cdp.web.words import with_times

UNDOABLE = frozenset({MergeStatus.PROPOSED.name, MergeStatus.MERGED.name})
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of the comparison: what each of the two says."""

    label: str
    keep: Sequence[str]
    drop: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether they say different things."""
        return list(self.keep) != list(self.drop)


async def show(visit: Visit) -> Response:
    """Both customers, what would happen, and the form."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Merge, or propose it; both lead to the customer that stays."""
    keep, drop, platform = row_id(visit), _other(visit), visit.platform
    if not visit.field("reason"):
        return await _page(visit, [Problem("reason", "Say why they are the same.")])
    wanted = Wanted(
        keep,
        drop,
        visit.field("reason"),
        visit.field("case_ref") or None,
        _number(visit.field("keep_version")),
        _number(visit.field("drop_version")),
    )
    try:
        async with (
            audit.refusing(platform.db, visit.viewer, "customer.merged"),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await merges.merge(tx, visit.viewer, platform, wanted)
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden) as error:
        return await _page(visit, [Problem(_field(error), error.message)], status=error.status)
    return visit.redirect(f"{address(visit)}?done=merge")


async def show_undo(visit: Visit) -> Response:
    """One merge of the customer, and the form to undo it."""
    return await _undo_page(visit, [])


async def submit_undo(visit: Visit) -> Response:
    """Undo it, or withdraw the proposal."""
    platform = visit.platform
    if not visit.field("reason"):
        return await _undo_page(visit, [Problem("reason", "Say why they are two.")])
    try:
        merge_id = parse_global_id(str(visit.request.path_params["merge"]), expected=OBJECT)[1]
        async with (
            audit.refusing(platform.db, visit.viewer, "customer.unmerged"),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await splitting.unmerge(
                tx,
                visit.viewer,
                platform,
                merge_id,
                reason=visit.field("reason"),
                expected_version=_number(visit.field("version")),
            )
    except InvalidGlobalId as error:
        raise NotFound from error
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden) as error:
        return await _undo_page(visit, [Problem(_field(error), error.message)], status=error.status)
    return visit.redirect(f"{address(visit)}?done=unmerged")


def _field(error: PlatformError) -> str:
    return "reason" if isinstance(error, InvalidInput) else ""


def _number(typed: str) -> int | None:
    return int(typed) if typed.isdecimal() and len(typed) < 10 else None


def _other(visit: Visit) -> CustomerId:
    try:
        return CustomerId(parse_global_id(str(visit.request.path_params["other"]), expected="Customer")[1])
    except InvalidGlobalId as error:
        raise NotFound from error


async def _page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    keep, drop = row_id(visit), _other(visit)
    params = visit.request.path_params
    async with visit.platform.db.transaction(Role.WORKER) as tx:
        would = await preview.preview(tx, visit.viewer, keep, drop)
    answer = with_times(await visit.read("console/merge.graphql", keep=params["id"], drop=params["other"]))
    if answer["keep"] is None or answer["drop"] is None:
        raise NotFound
    return visit.page(
        "console/merge.html",
        title="Merge two customers",
        problems=problems,
        status=status,
        here=address(visit),
        there=f"/console/customers/{params['other']}",
        action=f"{address(visit)}/merge/{params['other']}",
        swapped=f"/console/customers/{params['other']}/merge/{params['id']}",
        keep=answer["keep"],
        drop=answer["drop"],
        lines=_lines(answer["keep"], answer["drop"]),
        would=would,
        moved=[(_spoken(name), rows) for name, rows in would.moved],
        aside=[(_spoken(name), rows) for name, rows in would.aside],
        withdrawn=[f"{purpose.replace('_', ' ')} ({channel.value})" for purpose, channel in would.withdrawn],
        typed={name: visit.field(name) for name in ("reason", "case_ref")},
    )


async def _undo_page(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    merge_id = visit.request.path_params["merge"]
    answer = with_times(await visit.read("console/undoing.graphql", id=visit.request.path_params["id"]))
    customer = answer["customer"]
    found = [one for one in customer["merges"] if one["id"] == merge_id] if customer else []
    if not found or found[0]["status"] not in UNDOABLE:
        raise NotFound
    return visit.page(
        "console/unmerge.html",
        title="Undo a merge" if found[0]["status"] == MergeStatus.MERGED.name else "Withdraw a proposal",
        problems=problems,
        status=status,
        here=address(visit),
        customer=hit_of(customer),
        merge=found[0],
        typed={"reason": visit.field("reason")},
    )


def _lines(keep: Row, drop: Row) -> list[Line]:
    """What both say, line by line."""
    return [Line(label, said(keep), said(drop)) for label, said in _SAID.items()]


def _values(*names: str) -> Any:  # noqa: ANN401  # a reader of a row
    return lambda row: [" ".join(str(row[name]) for name in names if row[name])]


def _contacts(kind: str, *names: str) -> Any:  # noqa: ANN401  # a reader of a row
    def read(row: Row) -> list[str]:
        found = row["contacts"][kind]
        return sorted(", ".join(str(one[name]) for name in names if one[name]) + _marks(one) for one in found)

    return read


def _marks(one: Row) -> str:
    marks = [("proven", one.get("verifiedAt")), ("first choice", one["isPrimary"])]
    named = [name for name, is_so in marks if is_so]
    return f" ({', '.join(named)})" if named else ""


def _consents(row: Row) -> list[str]:
    return sorted(
        f"{one['purpose']['title'] if one['purpose'] else 'Consent'}, {one['channel'].lower()}: {one['action'].lower()}"
        for one in row["currentConsents"]
    )


def _preferences(row: Row) -> list[str]:
    return sorted(f"{one['key']}: {json.dumps(one['value'], ensure_ascii=False)}" for one in row["preferences"])


_SAID: Mapping[str, Any] = {
    "Name": _values("displayName"),
    "Kind": lambda row: [str(row["kind"]).capitalize()],
    "Country": _values("country"),
    "Language": _values("locale"),
    "Customer of": lambda row: [row["brand"]["name"]] if row["brand"] else [],
    "Sign-in": lambda row: [row["account"]["username"]] if row["account"] else [],
    "E-mail addresses": _contacts("emails", "address"),
    "Phone numbers": _contacts("phones", "number"),
    "Postal addresses": _contacts("addresses", "recipient", "line1", "postalCode", "city", "country"),
    "Identifiers": lambda row: sorted(f"{one['type'].lower()}: {one['value']}" for one in row["identities"]),
    "Consents now": _consents,
    "Preferences": _preferences,
    "Orders": lambda row: [str(row["orders"]["totalCount"])],
    "Questions": lambda row: [str(row["inquiries"]["totalCount"])],
}


def _spoken(table: str) -> str:
    return table.replace("_", " ")
