"""Privacy requests: opened, undone and retried by people; everything in between is the work of ``phases``."""

import math
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound, RateLimited
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.operations import letters, messages, moves, subjects
from cdp.operations.collection import CustomerFrozen
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.packages.choices import EVERYTHING, Choices
from cdp.operations.requests import exports, freezing, objections, opening, restrictions, tasks
from cdp.operations.requests.opening import KINDS, Opened
from cdp.operations.requests.permission import ERASE_SCOPE, EXPORT_SCOPE, SCOPES, require, require_worker
from cdp.operations.requests.progress import retry_of
from cdp.tables.customer import CustomerStatus
from cdp.tables.request import RequestStatus, RequestType, TaskStep, privacy_request

MOST_DELETIONS, BRAKE_WINDOW = 5, timedelta(hours=1)
MOST_COPIES, COPIES_WINDOW = 10, timedelta(days=1)
CANCELLABLE = frozenset(
    {
        RequestStatus.RECEIVED,
        RequestStatus.CHECKING,
        RequestStatus.COOLING_OFF,
        RequestStatus.COLLECTING,
        RequestStatus.PACKING,
        RequestStatus.IN_FORCE,
        RequestStatus.LIFTING,
        RequestStatus.PAUSED,
        RequestStatus.NEEDS_ATTENTION,
    }
)


class TooLateToUndo(Conflict):
    """This request can no longer be undone."""

    code = "TOO_LATE_TO_UNDO"


class DeletionAskedTooOften(RateLimited):
    """You have asked for deletion and undone it several times; wait a while before you ask again."""

    code = "DELETION_ASKED_TOO_OFTEN"


class CopyAskedTooOften(RateLimited):
    """You have asked for many copies of your data within a day; wait a while before you ask for another."""

    code = "COPY_ASKED_TOO_OFTEN"


class NothingToRetry(Conflict):
    """Nothing in this request waits for a retry."""

    code = "NOTHING_TO_RETRY"


async def open_export(
    tx: Tx,
    viewer: Viewer,
    platform: Platform,
    *,
    reason: str | None = None,
    kind: RequestType = RequestType.ACCESS,
    chosen: Choices = EVERYTHING,
) -> Opened:
    """Ask for a copy of everything, or of what is ``chosen`` (GDPR art. 15 and 20); whoever has one under way joins it.

    Raises StepUpRequired, MissingScope, CopyAskedTooOften, CustomerFrozen while an erasure is under way, and what is
    wrong with the choices. Locks the customer row.
    """
    return await _open(tx, viewer, platform, kind, scope=EXPORT_SCOPE, reason=reason, chosen=chosen.check())


async def open_erasure(tx: Tx, viewer: Viewer, platform: Platform, *, reason: str | None = None) -> Opened:
    """Ask for deletion everywhere (GDPR art. 17): freezes the account, signs it out, starts the cooling-off time.

    Whoever has one under way joins it. Raises StepUpRequired, MissingScope, DeletionAskedTooOften. Locks the customer
    row.
    """
    return await _open(tx, viewer, platform, RequestType.ERASURE, scope=ERASE_SCOPE, reason=reason)


async def _open(
    tx: Tx,
    viewer: Viewer,
    platform: Platform,
    which: RequestType,
    *,
    scope: str,
    reason: str | None,
    chosen: Choices = EVERYTHING,
) -> Opened:
    customer_id = require(viewer, platform, scope)
    status = await opening.lock_customer(tx, customer_id)
    there = await opening.join(tx, viewer, customer_id, which)
    if there is not None:
        return there
    if status is not CustomerStatus.ACTIVE and which is not RequestType.ERASURE:
        raise CustomerFrozen
    await _brake(tx, customer_id, which)
    person = await subjects.gather(tx, customer_id)
    if person is None:
        raise NotFound
    kind = KINDS[which]
    opened = await opening.write(tx, viewer, platform, person, kind, status=kind.status, reason=reason)
    await opening.start(tx, platform, opened, person, kind, chosen=chosen)
    return opened


async def _brake(tx: Tx, customer_id: CustomerId, which: RequestType) -> None:
    """Every deletion or copy asks every system and writes letters: undoing and asking again has an end."""
    is_erasure = which is RequestType.ERASURE
    most, window = (MOST_DELETIONS, BRAKE_WINDOW) if is_erasure else (MOST_COPIES, COPIES_WINDOW)
    left = func.min(privacy_request.c.requested_at) + window - func.now()
    asked = select(func.count().label("number"), func.extract("epoch", left).label("left_s")).where(
        privacy_request.c.customer_id == customer_id,
        privacy_request.c.type.in_([which] if is_erasure else opening.EXPORTS),
        privacy_request.c.requested_at > func.now() - window,
    )
    found = await tx.first(asked)
    if found is not None and found.number >= most:
        refusal = DeletionAskedTooOften if is_erasure else CopyAskedTooOften
        raise refusal(retryAfterS=math.ceil(found.left_s))


async def cancel(tx: Tx, viewer: Viewer, reference: str) -> RequestId:
    """Undo an erasure in its cooling-off time, stop an export, end a restriction, take an objection back.

    Raises NotFound for somebody else's request, TooLateToUndo once anything may have been erased.
    """
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.type).where(
            privacy_request.c.reference == reference, privacy_request.c.customer_id == viewer.subject
        )
    )
    if row is None:
        raise NotFound
    viewer.require_scope(SCOPES[row.type])
    return await cancel_row(tx, viewer, row.id)


async def cancel_row(tx: Tx, viewer: Viewer, request_id: UUID) -> RequestId:
    """Undo a request the caller has proven to be the viewer's. Raises TooLateToUndo."""
    request = await moves.lock(tx, request_id)
    if request is None or not await is_undoable(tx, request):
        raise TooLateToUndo
    if not await moves.move(tx, request, RequestStatus.CANCELLED, viewer=viewer):
        raise TooLateToUndo
    match request.type:
        case RequestType.ERASURE:
            await _unfreeze(tx, request)
        case RequestType.ACCESS | RequestType.PORTABILITY:
            await exports.revoke_of(tx, request.id)
        case RequestType.RESTRICTION:
            await restrictions.end(tx, viewer, request)
        case RequestType.OBJECTION:
            await objections.decide(tx, request, stands=False)
        case RequestType.RECTIFICATION:
            pass  # nothing is written before a correction is approved
    return request.id


async def is_undoable(tx: Tx, request: RequestRow) -> bool:
    """Whether nothing can have been erased: no erase task was ever written."""
    if request.status not in CANCELLABLE:
        return False
    return all(task.step is not TaskStep.ERASE for task in await tasks.of_request(tx, request.id))


async def _unfreeze(tx: Tx, request: RequestRow) -> None:
    if request.customer_id is None:
        return  # somebody we hold no row of: nothing was frozen
    await freezing.unfreeze(tx, request.customer_id)
    person = await subjects.gather(tx, request.customer_id)
    if person is not None and person.recipient is not None:
        letter = letters.write(Template.ERASURE_CANCELLED, person.locale, reference=request.reference)
        await messages.queue(tx, request.customer_id, person.recipient, letter)


async def retry(tx: Tx, viewer: Viewer, reference: str) -> RequestId:
    """Work again on a request that needs attention, from the step that failed; for operators.

    Raises MissingScope, NotFound, NothingToRetry.
    """
    require_worker(viewer)
    request_id = await tx.scalar(select(privacy_request.c.id).where(privacy_request.c.reference == reference))
    return await retry_row(tx, viewer, request_id)


async def retry_row(tx: Tx, viewer: Viewer, request_id: UUID | None) -> RequestId:
    """``retry`` of a request by its id."""
    require_worker(viewer)
    request = await moves.lock(tx, request_id) if request_id else None
    if request is None:
        raise NotFound
    if request.status is not RequestStatus.NEEDS_ATTENTION:
        raise NothingToRetry
    plan = retry_of(await tasks.of_request(tx, request.id))
    await moves.move(tx, request, plan.status, viewer=viewer, code="RETRIED")
    await tasks.make_anew(tx, plan.anew)
    await tasks.run_again(tx, plan.again)
    tx.ring(moves.ADVANCE, request.id)
    return request.id
