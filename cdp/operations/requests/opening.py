"""Opening a request and starting its work: one transaction for the row, its tasks, the audit event and the letter.

The person gets a status key with it, once: with the reference it opens the status page after signing out, and when the
account is gone. We keep its hash; the key itself is sealed with the identifiers, for the letters, and dies with them.
Who asks twice for the same joins what is open (``joined`` counts it); nobody is turned away for asking again.
Source: GDPR art. 12, 15 to 21, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, insert, select, text, update

from cdp.access.viewer import Actor, Viewer
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id, new_reference, new_token
from cdp.core.platform import Platform
from cdp.operations import audit, letters, messages, moves, subjects, systems
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.packages.choices import EVERYTHING, Choices, ExportCategory
from cdp.operations.requests import exports, freezing, tasks
from cdp.operations.subjects import Person, SealedPerson
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.request import SETTLED, RequestStatus, RequestType, TaskStep, privacy_request

# The channel of requests made without signing in, on proof of an address.
BY_LINK = "privacy request page"
R, S = RequestType, RequestStatus


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


@dataclass(frozen=True)
class Kind:
    """How a type of request is called, where its work begins, and what every system is asked first."""

    type: RequestType
    prefix: str
    status: RequestStatus
    step: TaskStep | None


KINDS: Mapping[RequestType, Kind] = {
    kind.type: kind
    for kind in (
        Kind(R.ACCESS, "EX", S.COLLECTING, TaskStep.READ),
        Kind(R.PORTABILITY, "EX", S.COLLECTING, TaskStep.READ),
        Kind(R.ERASURE, "ER", S.CHECKING, TaskStep.CHECK),
        Kind(R.RECTIFICATION, "RC", S.APPLYING, TaskStep.UPDATE),
        Kind(R.RESTRICTION, "RS", S.IN_FORCE, None),
        Kind(R.OBJECTION, "OB", S.COMPLETED, None),
    )
}
EXPORTS = frozenset({R.ACCESS, R.PORTABILITY})
NO_TIME = timedelta(0)


async def lock_customer(tx: Tx, customer_id: CustomerId) -> CustomerStatus:
    """Lock a customer's row, so that two requests of one person are opened one after the other. Raises NotFound."""
    found = await tx.first(select(customer.c.status).where(customer.c.id == customer_id).with_for_update())
    if found is None:
        raise NotFound
    status: CustomerStatus = found.status
    return status


async def join(tx: Tx, viewer: Viewer, customer_id: CustomerId, kind: RequestType) -> Opened | None:
    """The open request of this kind, if there is one; that somebody asked again is noted on it."""
    kinds = EXPORTS if kind in EXPORTS else {kind}
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.reference, privacy_request.c.subject_ref).where(
            privacy_request.c.customer_id == customer_id,
            privacy_request.c.type.in_(kinds),
            privacy_request.c.status.not_in(SETTLED),
        )
    )
    if row is None:
        return None
    return await note_again(tx, viewer, RequestId(row.id), row.reference, row.subject_ref)


async def note_again(tx: Tx, viewer: Viewer, request_id: RequestId, reference: str, subject_ref: UUID) -> Opened:
    """Note on an open request that somebody asked for it again."""
    again = update(privacy_request).where(privacy_request.c.id == request_id)
    await tx.execute(again.values(joined=privacy_request.c.joined + 1))
    await audit.record(
        tx,
        viewer,
        "request.joined",
        subject_ref=subject_ref,
        object_type="PrivacyRequest",
        object_id=request_id,
    )
    return Opened(request_id, reference, None)


async def write(
    tx: Tx,
    viewer: Viewer,
    platform: Platform,
    person: Person,
    kind: Kind,
    *,
    status: RequestStatus,
    reason: str | None = None,
    channel: str | None = None,
    is_known: bool = True,
    address_hash: bytes | None = None,
    is_confirmed: bool = False,
) -> Opened:
    """Write a request in its first state: the deadline is one month from now (GDPR art. 12(3)).

    ``is_known`` is False for somebody of whom we hold no customer row. ``is_confirmed``: whoever sends an erasure has
    had it confirmed, so nothing cools off here.
    """
    request_id, status_key, reference = RequestId(new_id()), new_token(), new_reference(kind.prefix)
    cools_off, settings = kind.type is RequestType.ERASURE, platform.settings
    await tx.execute(
        insert(privacy_request).values(
            id=request_id,
            customer_id=person.customer_id if is_known else None,
            reference=reference,
            type=kind.type,
            status=status,
            subject_ref=person.subject_ref,
            channel=(channel or viewer.client_id or "account page")[:30],
            reason=reason[:2000] if reason else None,
            secret_hash=digest(status_key),
            identifiers_sealed=subjects.seal(platform.keys, request_id, SealedPerson(person, status_key)),
            key_id=subjects.key_name(request_id),
            address_hash=address_hash,
            due_at=func.now() + text("interval '1 month'"),
            cooling_off_until=func.now() + (NO_TIME if is_confirmed else settings.cooling_off) if cools_off else None,
            opened_by_id=viewer.staff_id if viewer.actor is Actor.STAFF else None,
        )
    )
    await audit.record(
        tx,
        viewer,
        "request.opened",
        subject_ref=person.subject_ref,
        object_type="PrivacyRequest",
        object_id=request_id,
        details={"type": kind.type.value, "status": status.value},
    )
    return Opened(request_id, reference, status_key)


async def start(
    tx: Tx,
    platform: Platform,
    opened: Opened,
    person: Person,
    kind: Kind,
    *,
    is_known: bool = True,
    is_confirmed: bool = False,
    chosen: Choices = EVERYTHING,
    only: Sequence[SystemId] = (),
) -> None:
    """Begin the work of a request that stands in its kind's first state: tasks, what it freezes, and the letter.

    ``only`` names the systems that are asked beside our own tables; by default all are.
    """
    customer_id = person.customer_id if is_known else None
    if kind.step is not None:
        asked = (await systems.asked(tx, [opened.id]))[opened.id]
        if ExportCategory.SYSTEMS not in chosen.categories:
            asked = [await systems.own_id(tx)]
        if only:
            asked = [await systems.own_id(tx), *only]
        await tasks.open_tasks(tx, kind.step, [(opened.id, customer_id, asked)])
    template = Template.REQUEST_OPENED
    values: dict[str, str] = {}
    if kind.type in EXPORTS:
        sealer, reference = platform.sealer, opened.reference
        await exports.prepare(tx, sealer, customer_id, opened.id, reference=reference, chosen=chosen)
        template = Template.EXPORT_OPENED
    if kind.type is RequestType.ERASURE:
        template = Template.REQUEST_OPENED if is_confirmed else Template.ERASURE_OPENED
        values["until"] = iso(platform.clock() + platform.settings.cooling_off)[:16].replace("T", " ") + " UTC"
        if customer_id is not None:
            await freezing.freeze(tx, customer_id, now=platform.clock())
        tx.ring(moves.ADVANCE, opened.id)
    await tell(tx, platform, opened, person, template, is_known=is_known, **values)


async def is_by_link(tx: Tx, request_id: RequestId) -> bool:
    """Whether a request came without an account: what comes of it is fetched by mailed links."""
    channel = await tx.scalar(select(privacy_request.c.channel).where(privacy_request.c.id == request_id))
    return bool(channel == BY_LINK)


async def unsealed(tx: Tx, platform: Platform, request: RequestRow) -> tuple[Opened, Person]:
    """A request as it was opened, and its person; as the worker. Raises KeyGone once it is closed."""
    sealed_bytes = await tx.scalar(
        select(privacy_request.c.identifiers_sealed).where(privacy_request.c.id == request.id)
    )
    sealed = subjects.unseal(platform.keys, request.id, sealed_bytes or b"")
    return Opened(request.id, request.reference, sealed.status_key), sealed.person


def digest(status_key: str) -> bytes:
    """What we keep of a status key."""
    return hashlib.sha256(status_key.encode()).digest()


async def tell(
    tx: Tx,
    platform: Platform,
    opened: Opened,
    person: Person,
    template: Template,
    *,
    is_known: bool = True,
    **values: str,
) -> UUID | None:
    """Write to the person about a request whose status key is at hand; nobody without an address."""
    if person.recipient is None or opened.status_key is None:
        return None
    customer_id = person.customer_id if is_known else None
    letter = letters.write(
        template,
        person.locale,
        reference=opened.reference,
        base=platform.settings.url,
        link=letters.status_link(platform.settings.url, opened.reference, opened.status_key),
        secret=opened.status_key,
        **values,
    )
    return await messages.queue(tx, customer_id, person.recipient, letter, request_id=opened.id)
