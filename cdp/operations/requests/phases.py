"""Carry out what ``progress`` decides about requests, one deed after the other, until they have to wait.

Two workers may do so at once: each deed is a conditional update under the request's lock, or can be repeated. Requests
that move on at the same time share a transaction, and the deeds most of them need are statements over all of them.
Calls to the outside (object store, key store) happen between transactions, never inside one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, Update, Uuid, bindparam, column, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Code
from cdp.connectors.holds import HOLD_PLACED
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId, RequestId, SystemId
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations import moves, subjects, systems
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.requests import certificates, erasure, exports, freezing, holding, opening, restrictions, tasks
from cdp.operations.requests.erasure import Burial, Buried, Leaving
from cdp.operations.requests.opening import Opened
from cdp.operations.requests.progress import OPEN, Deed, Standing, next_deed
from cdp.operations.subjects import Home, Person, SealedPerson
from cdp.tables.request import RequestStatus, RequestType, TaskStatus, TaskStep, privacy_request, request_task

IN_MOTION = frozenset(
    {
        RequestStatus.CHECKING,
        RequestStatus.ERASING,
        RequestStatus.VERIFYING,
        RequestStatus.COLLECTING,
        RequestStatus.PACKING,
        RequestStatus.APPLYING,
    }
)


@dataclass(frozen=True)
class _Case:
    """One request under its lock, with what was sealed for it; ``left_s`` is what is left of the cooling-off time."""

    request: RequestRow
    tasks: tuple[Standing, ...]
    sealed: SealedPerson
    left_s: float | None

    @property
    def left_out(self) -> frozenset[UUID]:
        """Systems that could not erase, or not be read again."""
        acted = (TaskStep.ERASE, TaskStep.VERIFY)
        return frozenset(t.system_id for t in self.tasks if t.step in acted and t.status is TaskStatus.UNSUPPORTED)

    @property
    def is_cooled_off(self) -> bool:
        """Whether its cooling-off time is over, by the database's clock."""
        return self.left_s is not None and self.left_s <= 0

    def systems(self, step: TaskStep, *, status: TaskStatus | None = None) -> list[SystemId]:
        return [
            SystemId(task.system_id)
            for task in self.tasks
            if task.step is step and not task.is_own and status in (None, task.status)
        ]


async def standing_still(tx: Tx, *, limit: int, rested_s: float = 0.0) -> list[UUID]:
    """Requests that could move on: their waiting time is over, or they are in motion without an open task.

    Those in motion only once nothing has changed for ``rested_s``: their ring may be on its way.
    """
    cooled = privacy_request.c.status.in_((RequestStatus.COOLING_OFF, RequestStatus.LIFTING)) & (
        privacy_request.c.cooling_off_until <= func.now()
    )
    working = (
        select(request_task.c.id)
        .where(request_task.c.request_id == privacy_request.c.id, request_task.c.status.in_(OPEN))
        .exists()
    )
    is_rested = privacy_request.c.updated_at <= func.now() - timedelta(seconds=rested_s)
    idle = privacy_request.c.status.in_(IN_MOTION) & is_rested & ~working
    found = await tx.all(select(privacy_request.c.id).where(cooled | idle).order_by(privacy_request.c.id).limit(limit))
    return [row.id for row in found]


async def advance(platform: Platform, *request_ids: UUID) -> frozenset[UUID]:
    """Do what is next for requests, as long as there is something to do; several share their transactions.

    Of several, those are left out, and named, that somebody else has locked, or whose burial was in trouble; one alone
    waits, and raises.
    """
    is_alone = len(request_ids) == 1
    async with platform.db.transaction(Role.WORKER) as tx:
        locked = await moves.lock_many(tx, request_ids, is_waiting=is_alone)
        burials, buried = await _decide(tx, platform, await _known(tx, platform, locked))
    outcomes = await asyncio.gather(*(erasure.destroy(platform, one) for one in burials), return_exceptions=True)
    buried += [one for one in outcomes if isinstance(one, Buried)]
    if buried:
        await erasure.bury(platform, buried)
    failed = {one.request.id: o for one, o in zip(burials, outcomes, strict=True) if isinstance(o, BaseException)}
    if is_alone:
        for error in failed.values():
            raise error
    return frozenset(request_ids) - {request.id for request in locked} | failed.keys()


async def _decide(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> tuple[list[Burial], list[Buried]]:
    """Do one deed after the other under the locks of the requests; burials that go on outside this transaction.

    Those that journal or certify come last, in this order: they take the locks everybody needs.
    """
    bury: list[_Case] = []
    certify: list[_Case] = []
    while cases:
        chosen: dict[Deed, list[_Case]] = {}
        for case in cases:
            chosen.setdefault(await _deed_of(tx, case), []).append(case)
        bury += chosen.pop(Deed.BURY, ())
        certify += chosen.pop(Deed.CERTIFY, ())
        cases = [one for deed, which in chosen.items() for one in await _DEEDS[deed](tx, platform, which)]
    burials, buried = await erasure.withdraw(
        tx, platform, [Leaving(case.request, case.sealed, case.left_out) for case in bury]
    )
    await certificates.issue(tx, platform, {case.request.id: (case.request, case.sealed) for case in certify})
    return burials, buried


async def _deed_of(tx: Tx, case: _Case) -> Deed:
    is_released = bool(await holding.free(tx, case.request, case.tasks))
    return next_deed(case.request.status, case.tasks, is_cooled_off=case.is_cooled_off, is_released=is_released)


async def _known(tx: Tx, platform: Platform, locked: Sequence[RequestRow]) -> list[_Case]:
    """Those of the requests that can move on, with their tasks and what was sealed for them."""
    going = [request for request in locked if not request.is_settled]
    standing = await tasks.of_requests(tx, [request.id for request in going]) if going else {}
    cases = []
    for request in going:
        try:
            person = subjects.unseal(platform.keys, request.id, request.identifiers_sealed or b"")
        except (KeyGone, Unsealable) as error:
            if request.status is not RequestStatus.NEEDS_ATTENTION:
                await moves.move(tx, request, RequestStatus.NEEDS_ATTENTION, code=error.code)
        else:
            cases.append(_Case(request, standing[request.id], person, request.cooling_left_s))
    return cases


async def _moved(tx: Tx, cases: Sequence[_Case], new: RequestStatus) -> list[_Case]:
    """Move them all on; those that did."""
    known = {case.request.id: case for case in cases}
    moved = await moves.move_many(tx, [case.request for case in cases], new)
    return [replace(known[request.id], request=request) for request in moved]


async def _open(
    tx: Tx, cases: Sequence[_Case], step: TaskStep, asked: Mapping[RequestId, Sequence[SystemId]]
) -> list[_Case]:
    """Write tasks of a step; the cases that got none, which go on at once."""
    wanted = [(case.request.id, case.request.customer_id, asked[case.request.id]) for case in cases]
    opened = await tasks.open_tasks(tx, step, wanted)
    return [case for case in cases if not opened[case.request.id]]


async def _wait(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:  # noqa: ARG001 - one form for all
    """Signing out of apps is not the person's own transaction's to do; it happens as soon as a worker looks."""
    new = (RequestStatus.CHECKING, RequestStatus.COOLING_OFF)
    erasures = [case.request for case in cases if case.request.type is RequestType.ERASURE]
    frozen = {one.customer_id: one.requested_at for one in erasures if one.customer_id and one.status in new}
    await freezing.end_grants(tx, frozen)
    return []


async def _cool_off(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:
    await _wait(tx, platform, cases)
    moved = await _moved(tx, cases, RequestStatus.COOLING_OFF)
    for case in moved:
        if 0 < (case.left_s or 0.0) <= moves.LONGEST_RING_S:
            tx.ring(moves.ADVANCE, case.request.id, defer_s=case.left_s or 0.0)
    return [case for case in moved if case.is_cooled_off]


async def _erase(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:
    """Erase in every system that was asked or has been connected since, knowing the person as we know them now.

    Those go on at once where there is none; as of ``_verify``.
    """
    customers = [case.request.customer_id for case in cases if case.request.customer_id is not None]
    known, lived = await subjects.gather_many(tx, customers), await subjects.homes(tx, customers)
    own, asked = await systems.own_id(tx), await systems.asked(tx, [case.request.id for case in cases])
    moved = [_informed(case, known, lived) for case in await _moved(tx, cases, RequestStatus.ERASING)]
    sealed = {
        case.request.id: subjects.seal(platform.keys, case.request.id, case.sealed)
        for case in moved
        if case.request.customer_id is not None
    }
    if sealed:
        await tx.execute(_RESEAL, {"requests": list(sealed), "sealed": list(sealed.values())})
    others = {
        case.request.id: [
            one for one in dict.fromkeys([*case.systems(TaskStep.CHECK), *asked[case.request.id]]) if one != own
        ]
        for case in moved
    }
    return await _open(tx, moved, TaskStep.ERASE, others)


def _informed(case: _Case, known: Mapping[CustomerId, Person], lived: Mapping[CustomerId, Sequence[Home]]) -> _Case:
    customer_id = case.request.customer_id
    if customer_id is None:
        return case
    return replace(case, sealed=case.sealed.known_better(known.get(customer_id), lived[customer_id]))


def _reseal() -> Update:
    """Built once: every deletion needs it."""
    rows = (
        func.unnest(bindparam("requests", type_=ARRAY(Uuid)), bindparam("sealed", type_=ARRAY(LargeBinary)))
        .table_valued(column("id", Uuid), column("sealed", LargeBinary), name="fresh")
        .render_derived()
    )
    written = update(privacy_request).where(privacy_request.c.id == rows.c.id)
    return written.values(identifiers_sealed=rows.c.sealed)


_RESEAL = _reseal()


async def _verify(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:  # noqa: ARG001 - one form for all
    moved = await _moved(tx, cases, RequestStatus.VERIFYING)
    erased = {case.request.id: case.systems(TaskStep.ERASE, status=TaskStatus.DONE) for case in moved}
    return await _open(tx, moved, TaskStep.VERIFY, erased)


async def _prove(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:  # noqa: ARG001 - one form for all
    own = [await systems.own_id(tx)]
    await tasks.open_tasks(tx, TaskStep.VERIFY, [(case.request.id, None, own) for case in cases])
    return []


async def _pack(tx: Tx, platform: Platform, case: _Case) -> bool:
    request = case.request
    package = await exports.of_request(tx, request.id)
    if package is None or not await moves.move(tx, request, RequestStatus.PACKING):
        return False
    platform.keys.create(exports.key_name(package.id))
    own = await systems.own_id(tx)
    await tasks.open_tasks(tx, TaskStep.PACK, [(request.id, request.customer_id, [own])])
    return False


async def _finish(tx: Tx, platform: Platform, case: _Case) -> bool:
    request = case.request
    moved = await moves.move(tx, request, RequestStatus.COMPLETED)
    if moved and request.type is RequestType.RECTIFICATION:
        opened = Opened(request.id, request.reference, case.sealed.status_key)
        await opening.tell(tx, platform, opened, case.sealed.person, Template.REQUEST_DONE)
    return moved


async def _lift(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    return await restrictions.finish(tx, case.request)


async def _stop(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    return await moves.move(tx, case.request, RequestStatus.NEEDS_ATTENTION)


async def _refuse(tx: Tx, platform: Platform, case: _Case) -> bool:
    """Our own rules forbid the erasure: nothing was erased, the account works again, the person is told."""
    request, person = case.request, case.sealed.person
    code = await tx.scalar(
        select(request_task.c.code).where(
            request_task.c.request_id == request.id, request_task.c.status == TaskStatus.REFUSED
        )
    )
    reason = str(code or Code.NOT_ALLOWED)
    if not await moves.move(tx, request, RequestStatus.REFUSED, code=reason, values={"refusal_reason": reason}):
        return False
    if request.customer_id is not None:
        await freezing.unfreeze(tx, request.customer_id)
    opened = Opened(request.id, request.reference, case.sealed.status_key)
    is_known = request.customer_id is not None
    await opening.tell(tx, platform, opened, person, Template.ERASURE_REFUSED, is_known=is_known)
    return True


async def _hold(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    return await moves.move(tx, case.request, RequestStatus.HELD, code=HOLD_PLACED)


async def _resume(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    return await holding.resume(tx, SYSTEM, case.request, case.tasks)


def _each(deed: Callable[[Tx, Platform, _Case], Awaitable[bool]]) -> "_Deeds":
    """The same deed for each by itself; those of which it says so are looked at again."""

    async def together(tx: Tx, platform: Platform, cases: Sequence[_Case]) -> list[_Case]:
        again = [case.request.id for case in cases if await deed(tx, platform, case)]
        return await _known(tx, platform, await moves.lock_many(tx, again)) if again else []

    return together


_Deeds: TypeAlias = Callable[[Tx, Platform, Sequence[_Case]], Awaitable[list[_Case]]]
"""Do something about cases of one deed; those that go on at once, as they are now."""
_DEEDS: Mapping[Deed, _Deeds] = {
    Deed.WAIT: _wait,
    Deed.COOL_OFF: _cool_off,
    Deed.REFUSE: _each(_refuse),
    Deed.STOP: _each(_stop),
    Deed.ERASE: _erase,
    Deed.VERIFY: _verify,
    Deed.PROVE: _prove,
    Deed.PACK: _each(_pack),
    Deed.FINISH: _each(_finish),
    Deed.LIFT: _each(_lift),
    Deed.HOLD: _each(_hold),
    Deed.RESUME: _each(_resume),
}
