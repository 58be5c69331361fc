"""What agents do with requests: open one for somebody, decide, extend, pause, take over. The person reads every reason.

Who opens a request for somebody never decides about it: the second pair of eyes is a supervisor's or a privacy
officer's. All of this runs as the worker, since letters need what a request sealed.
Source: GDPR art. 12(3) to (6), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import func, select, text, update

from cdp.access.viewer import Actor, Viewer
from cdp.access.writes import DECIDERS
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.operations import audit, moves, subjects, values
from cdp.operations.collection import CustomerFrozen
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.requests import (
    corrections,
    evidence,
    exports,
    freezing,
    objections,
    opening,
    restrictions,
    tasks,
)
from cdp.operations.requests.corrections import Wanted
from cdp.operations.requests.evidence import Stored
from cdp.operations.requests.opening import KINDS, Opened
from cdp.operations.requests.permission import require_fresh_worker, require_worker
from cdp.operations.requests.requests import is_undoable
from cdp.tables.customer import CustomerStatus
from cdp.tables.request import PAUSABLE, SETTLED, RequestStatus, RequestType, privacy_request
from cdp.tables.staff import staff

CHANNEL = "customer service"
REFUSABLE = frozenset(
    {
        RequestStatus.RECEIVED,
        RequestStatus.CHECKING,
        RequestStatus.COOLING_OFF,
        RequestStatus.COLLECTING,
        RequestStatus.PAUSED,
        RequestStatus.NEEDS_ATTENTION,
    }
)


class DetailsMissing(InvalidInput):
    """Say what is wrong and how it should be, or which purposes the objection is about."""

    code = "DETAILS_MISSING"


class ReasonMissing(InvalidInput):
    """Give a reason; the person reads it."""

    code = "REASON_MISSING"


class NothingToDecide(Conflict):
    """This request does not wait for a decision."""

    code = "NOTHING_TO_DECIDE"


class SecondPersonNeeded(Forbidden):
    """Whoever opened a request for somebody can not decide about it; ask a colleague."""

    code = "SECOND_PERSON_NEEDED"


class DeciderNeeded(Forbidden):
    """Supervisors and privacy officers decide about requests."""

    code = "DECIDER_NEEDED"


class TooLateToRefuse(Conflict):
    """This request can no longer be refused."""

    code = "TOO_LATE_TO_REFUSE"


class NothingToGiveUp(Conflict):
    """Only a request that needs attention can be given up."""

    code = "NOTHING_TO_GIVE_UP"


class AlreadyExtended(Conflict):
    """The deadline of this request was extended already, or the request is settled."""

    code = "ALREADY_EXTENDED"


class NotPausable(Conflict):
    """This request can not be paused as it stands."""

    code = "NOT_PAUSABLE"


class NotPaused(Conflict):
    """This request is not paused."""

    code = "NOT_PAUSED"


class UnknownAgent(NotFound):
    """Nobody of that id works on requests."""

    code = "UNKNOWN_AGENT"


@dataclass(frozen=True)
class Details:
    """What a request is about beyond its type: values to correct, purposes objected to."""

    corrections: tuple[Wanted, ...] = field(default=(), repr=False)
    purposes: tuple[str, ...] = ()

    def check(self, kind: RequestType) -> None:
        """Raise DetailsMissing unless there are some where the type needs them, and none where it does not."""
        if bool(self.corrections) != (kind is RequestType.RECTIFICATION):
            raise DetailsMissing
        if bool(self.purposes) != (kind is RequestType.OBJECTION):
            raise DetailsMissing


NO_DETAILS = Details()


async def open_for(
    tx: Tx,
    viewer: Viewer,
    platform: Platform,
    customer_id: CustomerId,
    kind: RequestType,
    *,
    reason: str,
    proof: Stored,
    details: Details = NO_DETAILS,
) -> Opened:
    """Open a request for somebody, on evidence; it waits for a second person's decision. An open one is joined.

    Raises MissingScope, StepUpRequired, NotFound, ReasonMissing, DetailsMissing, CustomerFrozen while an erasure is
    under way, and what corrections and objections are refused for. Locks the customer row.
    """
    require_fresh_worker(viewer, platform)
    reason = _reason(reason)
    details.check(kind)
    status = await opening.lock_customer(tx, customer_id)
    person = await subjects.gather(tx, customer_id)
    if person is None:
        raise NotFound
    opened = None
    if kind is not RequestType.RECTIFICATION:  # two values to correct are two requests
        opened = await opening.join(tx, viewer, customer_id, kind)
    if opened is None:
        if status is not CustomerStatus.ACTIVE:
            raise CustomerFrozen
        received = RequestStatus.RECEIVED
        opened = await opening.write(
            tx, viewer, platform, person, KINDS[kind], status=received, reason=reason, channel=CHANNEL
        )
        await opening.tell(tx, platform, opened, person, Template.REQUEST_RECEIVED)
    for_them = replace(viewer, customer_id=customer_id)
    for wanted in details.corrections:
        await corrections.note(tx, for_them, platform, opened.id, wanted)
    if details.purposes:
        await objections.note(tx, for_them, platform, opened.id, details.purposes)
    await evidence.record(tx, viewer, await _locked(tx, opened.id), proof)
    return opened


async def approve(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID) -> RequestId:
    """Decide that a request is to be done: its work begins.

    Raises MissingScope, StepUpRequired, DeciderNeeded, SecondPersonNeeded, NotFound, NothingToDecide.
    """
    request = await _deciding(tx, viewer, platform, request_id)
    if request.status is not RequestStatus.RECEIVED:
        raise NothingToDecide
    kind = KINDS[request.type]
    opened, person = await opening.unsealed(tx, platform, request)
    cools_off = {"cooling_off_until": func.now() + platform.settings.cooling_off}
    await moves.move(
        tx,
        request,
        kind.status,
        viewer=viewer,
        code="APPROVED",
        values=cools_off if request.type is RequestType.ERASURE else None,
    )
    is_known = request.customer_id is not None
    match request.type:
        case RequestType.RESTRICTION if request.customer_id is not None:
            await restrictions.enforce(tx, viewer, request.customer_id, person)
            await opening.tell(tx, platform, opened, person, Template.RESTRICTION_IN_FORCE)
        case RequestType.OBJECTION:
            await objections.decide(tx, request, stands=True)
            await opening.tell(tx, platform, opened, person, Template.REQUEST_DONE, is_known=is_known)
        case _:
            await opening.start(tx, platform, opened, person, kind, is_known=is_known)
    return request.id


async def refuse(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID, *, reason: str) -> RequestId:
    """Decide that a request is not done, and tell the person why (GDPR art. 12(4)); nothing was erased.

    Raises MissingScope, StepUpRequired, DeciderNeeded, SecondPersonNeeded, NotFound, ReasonMissing, TooLateToRefuse.
    """
    reason = _reason(reason)
    request = await _deciding(tx, viewer, platform, request_id)
    if request.status not in REFUSABLE or not await is_undoable(tx, request):
        raise TooLateToRefuse
    opened, person = await opening.unsealed(tx, platform, request)
    wrote = {"refusal_reason": reason}
    await moves.move(tx, request, RequestStatus.REFUSED, viewer=viewer, code="REFUSED", values=wrote)
    await _undo_marks(tx, request)
    await opening.tell(
        tx,
        platform,
        opened,
        person,
        Template.REQUEST_REFUSED,
        is_known=request.customer_id is not None,
        reason=reason,
    )
    return request.id


async def give_up(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID, *, reason: str) -> RequestId:
    """End a request that can not be finished: what was done stays done, the person is told what was not and why.

    Raises MissingScope, StepUpRequired, DeciderNeeded, SecondPersonNeeded, NotFound, ReasonMissing, NothingToGiveUp.
    """
    reason = _reason(reason)
    request = await _deciding(tx, viewer, platform, request_id)
    if request.status is not RequestStatus.NEEDS_ATTENTION:
        raise NothingToGiveUp
    opened, person = await opening.unsealed(tx, platform, request)
    wrote = {"refusal_reason": reason}
    await moves.move(tx, request, RequestStatus.FAILED, viewer=viewer, code="GIVEN_UP", values=wrote)
    await _undo_marks(tx, request)
    is_known = request.customer_id is not None
    await opening.tell(tx, platform, opened, person, Template.REQUEST_REFUSED, is_known=is_known, reason=reason)
    return request.id


async def _undo_marks(tx: Tx, request: RequestRow) -> None:
    """Let a customer whose request ends undone work with their account again."""
    if request.type is RequestType.ERASURE and request.customer_id is not None:
        await freezing.unfreeze(tx, request.customer_id)
    await exports.revoke_of(tx, request.id)
    await objections.decide(tx, request, stands=False)


async def lift(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID, *, reason: str) -> RequestId:
    """Announce the end of a restriction, with its reason; it ends after the time to undo (GDPR art. 18(3)).

    Raises MissingScope, DeciderNeeded, NotFound, ReasonMissing, NotInForce.
    """
    reason = _reason(reason)
    request = await _deciding(tx, viewer, platform, request_id)
    await restrictions.announce_end(tx, viewer, platform, request, reason=reason)
    return request.id


async def extend(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID, *, reason: str) -> RequestId:
    """Take two months more, once, and tell the person why (GDPR art. 12(3)).

    Raises MissingScope, NotFound, ReasonMissing, AlreadyExtended.
    """
    require_worker(viewer)
    reason = _reason(reason)
    request = await _locked(tx, request_id)
    row = await tx.first(
        update(privacy_request)
        .where(
            privacy_request.c.id == request.id,
            privacy_request.c.extended_at.is_(None),
            privacy_request.c.status.not_in(SETTLED),
        )
        .values(
            due_at=privacy_request.c.due_at + text("interval '2 months'"),
            extended_at=func.now(),
            extension_reason=reason,
        )
        .returning(privacy_request.c.due_at)
    )
    if row is None:
        raise AlreadyExtended
    await _noted(tx, viewer, request, "request.extended")
    opened, person = await opening.unsealed(tx, platform, request)
    await opening.tell(
        tx,
        platform,
        opened,
        person,
        Template.REQUEST_EXTENDED,
        is_known=request.customer_id is not None,
        reason=reason,
        until=f"{row.due_at:%Y-%m-%d}",
    )
    return request.id


async def pause(tx: Tx, viewer: Viewer, request_id: UUID, *, reason: str) -> RequestId:
    """Stop the work on a request; the person sees it and why, and the clock of the law runs on.

    Steps under way finish. Raises MissingScope, NotFound, ReasonMissing, NotPausable.
    """
    require_worker(viewer)
    request = await _locked(tx, request_id)
    if request.status not in PAUSABLE:
        raise NotPausable
    wrote = {"paused_from": request.status, "pause_reason": _reason(reason)}
    await moves.move(tx, request, RequestStatus.PAUSED, viewer=viewer, values=wrote)
    return request.id


async def resume(tx: Tx, viewer: Viewer, request_id: UUID) -> RequestId:
    """Go on with a paused request where it stood. Raises MissingScope, NotFound, NotPaused."""
    require_worker(viewer)
    request = await _locked(tx, request_id)
    if request.status is not RequestStatus.PAUSED or request.paused_from is None:
        raise NotPaused
    cleared = {"paused_from": None, "pause_reason": None}
    await moves.move(tx, request, request.paused_from, viewer=viewer, code="RESUMED", values=cleared)
    await tasks.ring_open(tx, request.id)
    tx.ring(moves.ADVANCE, request.id)
    return request.id


async def assign(tx: Tx, viewer: Viewer, request_id: UUID, *, agent_id: UUID | None) -> RequestId:
    """Say who works on a request; nobody with None. Raises MissingScope, NotFound, UnknownAgent."""
    require_worker(viewer)
    request = await _locked(tx, request_id)
    if agent_id is not None:
        works_here = select(staff.c.id).where(staff.c.id == agent_id, staff.c.active)
        if await tx.scalar(works_here) is None:
            raise UnknownAgent
    mine = update(privacy_request).where(privacy_request.c.id == request.id)
    await tx.execute(mine.values(assignee_id=agent_id))
    await _noted(tx, viewer, request, "request.assigned")
    return request.id


async def add_evidence(tx: Tx, viewer: Viewer, request_id: UUID, proof: Stored) -> RequestId:
    """Add evidence to a request that is not settled. Raises MissingScope, NotFound, NothingToDecide."""
    require_worker(viewer)
    request = await _locked(tx, request_id)
    if request.is_settled:
        raise NothingToDecide
    await evidence.record(tx, viewer, request, proof)
    return request.id


def _reason(given: str) -> str:
    if not given.strip():
        raise ReasonMissing
    return values.text(given, "reason", longest=2000, lines=True)


async def _locked(tx: Tx, request_id: UUID) -> RequestRow:
    request = await moves.lock(tx, request_id)
    if request is None:
        raise NotFound
    return request


async def _deciding(tx: Tx, viewer: Viewer, platform: Platform, request_id: UUID) -> RequestRow:
    """Lock a request for a decision of somebody who may make it."""
    require_fresh_worker(viewer, platform)
    if viewer.actor is not Actor.SYSTEM and not viewer.roles & DECIDERS:
        raise DeciderNeeded
    request = await _locked(tx, request_id)
    if request.opened_by_id is not None and request.opened_by_id == viewer.staff_id:
        raise SecondPersonNeeded
    return request


async def _noted(tx: Tx, viewer: Viewer, request: RequestRow, action: str) -> None:
    await moves.touch(tx, request.id)
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=request.subject_ref,
        object_type="PrivacyRequest",
        object_id=request.id,
    )
