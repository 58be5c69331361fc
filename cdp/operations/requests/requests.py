"""Privacy requests: opened, undone and retried by people; everything in between is the work of ``phases``.

Opening is one transaction: the request, one task for each connected system, the audit event and a message. The person
gets a status key with it, once: with the reference it opens the status page after signing out, and when the account is
gone. We keep its hash; the key itself is sealed with the identifiers, for the letters, and dies with them.
Source: GDPR art. 12, 15, 17, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

import hashlib
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import func, insert, select, text

from cdp.access.viewer import Actor, Viewer
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import CustomerId, RequestId, new_id, new_reference, new_token
from cdp.core.platform import Platform
from cdp.operations import audit, letters, messages, moves, subjects, systems
from cdp.operations.collection import CustomerFrozen
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.requests import exports, freezing, tasks
from cdp.operations.requests.progress import retry_of
from cdp.operations.subjects import Person, SealedPerson
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.request import SETTLED, RequestStatus, RequestType, TaskStep, privacy_request

EXPORT_SCOPE = "privacy:export"
ERASE_SCOPE = "privacy:erase"
WORK_SCOPE = "requests:work"
CANCELLABLE = frozenset(
    {
        RequestStatus.RECEIVED,
        RequestStatus.CHECKING,
        RequestStatus.COOLING_OFF,
        RequestStatus.COLLECTING,
        RequestStatus.PACKING,
        RequestStatus.NEEDS_ATTENTION,
    }
)


class RequestAlreadyOpen(Conflict):
    """A deletion of this customer is already under way."""

    code = "REQUEST_ALREADY_OPEN"


class TooLateToUndo(Conflict):
    """This request can no longer be undone."""

    code = "TOO_LATE_TO_UNDO"


class NothingToRetry(Conflict):
    """Nothing in this request waits for a retry."""

    code = "NOTHING_TO_RETRY"


@dataclass(frozen=True)
class Opened:
    """An open request. ``status_key`` comes with the opening and never again; None when the caller joined."""

    id: RequestId
    reference: str
    status_key: str | None = field(repr=False)

    @property
    def joined(self) -> bool:
        """Whether the request was open already."""
        return self.status_key is None


def require(viewer: Viewer, platform: Platform, scope: str) -> CustomerId:
    """The customer a request is about: signed in, allowed to, and freshly so (RFC 9470).

    Raises Unauthenticated, MissingScope or StepUpRequired.
    """
    subject = viewer.subject
    viewer.require_scope(scope)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    return subject


async def open_export(tx: Tx, viewer: Viewer, platform: Platform, *, reason: str | None = None) -> Opened:
    """Ask for a copy of everything (GDPR art. 15 and 20); whoever has one under way joins it.

    Raises StepUpRequired, MissingScope, and CustomerFrozen while an erasure is under way. Locks the customer row.
    """
    customer_id = require(viewer, platform, EXPORT_SCOPE)
    status = await _lock_customer(tx, customer_id)
    there = await _open_one(tx, customer_id, RequestType.ACCESS)
    if there is not None:
        return there
    if status is not CustomerStatus.ACTIVE:
        raise CustomerFrozen
    opened, person = await _open(tx, viewer, platform, _EXPORT, reason=reason)
    await exports.prepare(tx, customer_id, opened.id, opened.reference)
    await _tell(tx, platform, opened, person, Template.EXPORT_OPENED)
    return opened


async def open_erasure(tx: Tx, viewer: Viewer, platform: Platform, *, reason: str | None = None) -> Opened:
    """Ask for deletion everywhere (GDPR art. 17): freezes the account, signs it out, starts the cooling-off time.

    Raises RequestAlreadyOpen with the open ``reference``, StepUpRequired, MissingScope. Locks the customer row.
    """
    customer_id = require(viewer, platform, ERASE_SCOPE)
    await _lock_customer(tx, customer_id)
    there = await _open_one(tx, customer_id, RequestType.ERASURE)
    if there is not None:
        raise RequestAlreadyOpen(reference=there.reference)
    opened, person = await _open(tx, viewer, platform, _ERASURE, reason=reason)
    await freezing.freeze(tx, customer_id, now=platform.clock())
    until = iso(platform.clock() + platform.settings.cooling_off)[:16].replace("T", " ") + " UTC"
    await _tell(tx, platform, opened, person, Template.ERASURE_OPENED, until=until)
    tx.ring(moves.ADVANCE, opened.id)
    return opened


async def _lock_customer(tx: Tx, customer_id: CustomerId) -> CustomerStatus:
    found = await tx.first(select(customer.c.status).where(customer.c.id == customer_id).with_for_update())
    if found is None:
        raise NotFound
    status: CustomerStatus = found.status
    return status


async def _open_one(tx: Tx, customer_id: CustomerId, kind: RequestType) -> Opened | None:
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.reference).where(
            privacy_request.c.customer_id == customer_id,
            privacy_request.c.type == kind,
            privacy_request.c.status.not_in(SETTLED),
        )
    )
    return Opened(RequestId(row.id), row.reference, None) if row else None


@dataclass(frozen=True)
class _Kind:
    """How a type of request starts."""

    type: RequestType
    prefix: str
    status: RequestStatus
    step: TaskStep
    cools_off: bool


_EXPORT = _Kind(RequestType.ACCESS, "EX", RequestStatus.COLLECTING, TaskStep.READ, cools_off=False)
_ERASURE = _Kind(RequestType.ERASURE, "ER", RequestStatus.CHECKING, TaskStep.CHECK, cools_off=True)


async def _open(
    tx: Tx, viewer: Viewer, platform: Platform, kind: _Kind, *, reason: str | None
) -> tuple[Opened, Person]:
    person = await subjects.gather(tx, viewer.subject)
    if person is None:
        raise NotFound
    request_id, status_key, reference = RequestId(new_id()), new_token(), new_reference(kind.prefix)
    await tx.execute(
        insert(privacy_request).values(
            id=request_id,
            customer_id=person.customer_id,
            reference=reference,
            type=kind.type,
            status=kind.status,
            subject_ref=person.subject_ref,
            channel=(viewer.client_id or "account page")[:30],
            reason=reason[:2000] if reason else None,
            secret_hash=digest(status_key),
            identifiers_sealed=subjects.seal(platform.keys, request_id, SealedPerson(person, status_key)),
            key_id=subjects.key_name(request_id),
            due_at=func.now() + text("interval '1 month'"),
            cooling_off_until=func.now() + platform.settings.cooling_off if kind.cools_off else None,
        )
    )
    await tasks.open_tasks(tx, request_id, person.customer_id, kind.step, await systems.enabled(tx))
    await audit.record(
        tx,
        viewer,
        "request.opened",
        subject_ref=person.subject_ref,
        object_type="PrivacyRequest",
        object_id=request_id,
        details={"type": kind.type.value},
    )
    return Opened(request_id, reference, status_key), person


def digest(status_key: str) -> bytes:
    """What we keep of a status key."""
    return hashlib.sha256(status_key.encode()).digest()


async def _tell(tx: Tx, platform: Platform, opened: Opened, person: Person, template: Template, **values: str) -> None:
    if person.recipient is None or opened.status_key is None:
        return
    letter = letters.write(
        template,
        person.locale,
        reference=opened.reference,
        base=platform.settings.url,
        link=letters.status_link(platform.settings.url, opened.reference, opened.status_key),
        secret=opened.status_key,
        **values,
    )
    await messages.queue(tx, person.customer_id, person.recipient, letter)


async def cancel(tx: Tx, viewer: Viewer, reference: str) -> RequestId:
    """Undo an erasure in its cooling-off time, or stop an export: nothing was changed, the account works again.

    Raises NotFound for somebody else's request, TooLateToUndo once anything may have been erased.
    """
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.type).where(
            privacy_request.c.reference == reference, privacy_request.c.customer_id == viewer.subject
        )
    )
    if row is None:
        raise NotFound
    viewer.require_scope(ERASE_SCOPE if row.type is RequestType.ERASURE else EXPORT_SCOPE)
    return await cancel_row(tx, viewer, row.id)


async def cancel_row(tx: Tx, viewer: Viewer, request_id: UUID) -> RequestId:
    """Undo a request the caller has proven to be the viewer's. Raises TooLateToUndo."""
    request = await moves.lock(tx, request_id)
    if request is None or request.customer_id is None or not await _is_undoable(tx, request):
        raise TooLateToUndo
    if not await moves.move(tx, request, RequestStatus.CANCELLED, viewer=viewer):
        raise TooLateToUndo
    if request.type is RequestType.ERASURE:
        await freezing.unfreeze(tx, request.customer_id)
        await _tell_undone(tx, request)
    else:
        await exports.revoke_of(tx, request.id)
    return request.id


async def _is_undoable(tx: Tx, request: RequestRow) -> bool:
    """Whether nothing can have been erased: no erase task was ever written."""
    if request.status not in CANCELLABLE:
        return False
    return all(task.step is not TaskStep.ERASE for task in await tasks.of_request(tx, request.id))


async def _tell_undone(tx: Tx, request: RequestRow) -> None:
    if request.customer_id is None:
        return
    person = await subjects.gather(tx, request.customer_id)
    if person is not None and person.recipient is not None:
        letter = letters.write(Template.ERASURE_CANCELLED, person.locale, reference=request.reference)
        await messages.queue(tx, request.customer_id, person.recipient, letter)


async def retry(tx: Tx, viewer: Viewer, reference: str) -> RequestId:
    """Work again on a request that needs attention, from the step that failed; for operators.

    Raises MissingScope, NotFound, NothingToRetry.
    """
    if viewer.actor is not Actor.SYSTEM:
        viewer.require_scope(WORK_SCOPE)
    request_id = await tx.scalar(select(privacy_request.c.id).where(privacy_request.c.reference == reference))
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
