"""Carry out what ``progress`` decides about a request, one deed after the other, until it has to wait.

Two workers may do so at once: each deed is a conditional update under the request's lock, or can be repeated. Calls to
the outside (object store, key store) happen between transactions, never inside one.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Code
from cdp.connectors.holds import HOLD_PLACED
from cdp.core.db import Role, Tx
from cdp.core.ids import SystemId
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations import moves, subjects, systems
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.requests import certificates, erasure, exports, freezing, holding, opening, restrictions, tasks
from cdp.operations.requests.opening import Opened
from cdp.operations.requests.progress import OPEN, Deed, Standing, next_deed
from cdp.operations.subjects import SealedPerson
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


async def advance(platform: Platform, request_id: UUID) -> None:
    """Do what is next for a request, as long as there is something to do."""
    async with platform.db.transaction(Role.WORKER) as tx:
        buried = await _decide(tx, platform, request_id)
    if buried is not None:
        await erasure.bury(platform, buried.request, buried.sealed, left_out=buried.left_out)


async def _decide(tx: Tx, platform: Platform, request_id: UUID) -> _Case | None:
    """Do one deed after the other under the request's lock; the case of one to be buried, outside this transaction."""
    while (case := await _load(tx, platform, request_id)) is not None:
        is_cooled_off = case.left_s is not None and case.left_s <= 0
        is_released = bool(await holding.free(tx, case.request, case.tasks))
        deed = next_deed(case.request.status, case.tasks, is_cooled_off=is_cooled_off, is_released=is_released)
        if deed is Deed.BURY:
            return case
        if not await _DEEDS[deed](tx, platform, case):
            return None
    return None


async def _load(tx: Tx, platform: Platform, request_id: UUID) -> _Case | None:
    request = await moves.lock(tx, request_id, is_sealed=True)
    if request is None or request.is_settled:
        return None
    try:
        person = subjects.unseal(platform.keys, request.id, request.identifiers_sealed or b"")
    except (KeyGone, Unsealable) as error:
        if request.status is not RequestStatus.NEEDS_ATTENTION:
            await moves.move(tx, request, RequestStatus.NEEDS_ATTENTION, code=error.code)
        return None
    return _Case(request, tuple(await tasks.of_request(tx, request.id)), person, request.cooling_left_s)


async def _wait(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    """Signing out of apps is not the person's own transaction's to do; it happens as soon as a worker looks."""
    request = case.request
    is_new = request.status in (RequestStatus.CHECKING, RequestStatus.COOLING_OFF)
    if is_new and request.type is RequestType.ERASURE and request.customer_id is not None:
        await freezing.end_grants(tx, request.customer_id, given_before=request.requested_at)
    return False


async def _cool_off(tx: Tx, platform: Platform, case: _Case) -> bool:
    request = case.request
    await _wait(tx, platform, case)
    moved = await moves.move(tx, request, RequestStatus.COOLING_OFF)
    left_s = case.left_s or 0.0
    if moved and 0 < left_s <= moves.LONGEST_RING_S:
        tx.ring(moves.ADVANCE, request.id, defer_s=left_s)
    return moved


async def _erase(tx: Tx, platform: Platform, case: _Case) -> bool:
    """Erase in every system that was asked or has been connected since, knowing the person as we know them now.

    True where there is none, so that the request goes on at once; as of ``_verify``.
    """
    request, values = case.request, {}
    if request.customer_id is not None:
        known = await subjects.gather(tx, request.customer_id)
        lived = await subjects.homes(tx, request.customer_id)
        sealed = case.sealed.known_better(known, lived)
        values = {"identifiers_sealed": subjects.seal(platform.keys, request.id, sealed)}
    own = await systems.own_id(tx)
    asked = dict.fromkeys([*case.systems(TaskStep.CHECK), *await systems.asked(tx, request.id)])
    if not await moves.move(tx, request, RequestStatus.ERASING, values=values):
        return False
    others = [one for one in asked if one != own]
    return await tasks.open_tasks(tx, request.id, request.customer_id, TaskStep.ERASE, others) == 0


async def _pack(tx: Tx, platform: Platform, case: _Case) -> bool:
    request = case.request
    package = await exports.of_request(tx, request.id)
    if package is None or not await moves.move(tx, request, RequestStatus.PACKING):
        return False
    platform.keys.create(exports.key_name(package.id))
    own = await systems.own_id(tx)
    await tasks.open_tasks(tx, request.id, request.customer_id, TaskStep.PACK, [own])
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


async def _verify(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    if not await moves.move(tx, case.request, RequestStatus.VERIFYING):
        return False
    done = case.systems(TaskStep.ERASE, status=TaskStatus.DONE)
    return await tasks.open_tasks(tx, case.request.id, case.request.customer_id, TaskStep.VERIFY, done) == 0


async def _prove(tx: Tx, platform: Platform, case: _Case) -> bool:  # noqa: ARG001 - the deeds share one form
    await tasks.open_tasks(tx, case.request.id, None, TaskStep.VERIFY, [await systems.own_id(tx)])
    return False


async def _certify(tx: Tx, platform: Platform, case: _Case) -> bool:
    return await certificates.issue(tx, platform, case.request, case.sealed)


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


_DEEDS: Mapping[Deed, Callable[[Tx, Platform, _Case], Awaitable[bool]]] = {
    Deed.WAIT: _wait,
    Deed.COOL_OFF: _cool_off,
    Deed.REFUSE: _refuse,
    Deed.STOP: _stop,
    Deed.ERASE: _erase,
    Deed.VERIFY: _verify,
    Deed.PROVE: _prove,
    Deed.CERTIFY: _certify,
    Deed.PACK: _pack,
    Deed.FINISH: _finish,
    Deed.LIFT: _lift,
    Deed.HOLD: _hold,
    Deed.RESUME: _resume,
}
