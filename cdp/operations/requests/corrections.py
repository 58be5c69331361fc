"""Correcting what we hold: the value as the person saw it, the value as it should be, into every system that can.

A correction applies only while the old value still stands; where people may change a value themselves it is applied at
once, everything else (what an order says, for example) after an agent's approval. Our own row is changed in the
transaction that settles its task. Source: GDPR art. 16 and 19, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy import Column, Table, func, insert, select, update

from cdp.access.viewer import SYSTEM, Viewer
from cdp.connectors.base import Change, Code, Outcome, State
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import RequestId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, subjects, values
from cdp.operations.collection import collect, lock
from cdp.operations.letters import Template
from cdp.operations.requests import opening
from cdp.operations.requests.opening import KINDS, Opened
from cdp.operations.requests.permission import WRITE_SCOPE, require
from cdp.tables.contact import postal_address
from cdp.tables.customer import customer
from cdp.tables.datamap import subject_column
from cdp.tables.inquiry import inquiry
from cdp.tables.order import sales_order
from cdp.tables.request import SETTLED, RequestStatus, RequestType, correction, privacy_request

VALUE_CHANGED = "VALUE_CHANGED"


class NotCorrectable(InvalidInput):
    """This value is not corrected this way; contacts are changed under contacts, which proves them again."""

    code = "NOT_CORRECTABLE"


class ValueChanged(Conflict):
    """This is not the value any more; look at the page again."""

    code = "VALUE_CHANGED"


class NothingToCorrect(InvalidInput):
    """The new value is the old one."""

    code = "NOTHING_TO_CORRECT"


@dataclass(frozen=True)
class Correctable:
    """A value that can be corrected: where it lives, how a new one is read, whether its person may do it alone."""

    column: Column[str]
    read: Callable[[str], str]
    by_oneself: bool

    @property
    def table(self) -> Table:
        """Its table."""
        return self.column.table


@dataclass(frozen=True)
class Wanted:
    """One correction: the field of an object as the API names them, its value as seen, and as it should be."""

    object_type: str
    object_id: UUID
    field: str
    old: str | None = dataclasses.field(repr=False)
    new: str | None = dataclasses.field(repr=False)


def _texts(table: Table, *, by_oneself: bool, **longest: int) -> dict[str, Correctable]:
    found = {}
    for name, length in longest.items():
        read = partial(values.text, field=_camel(name), longest=length, lines=name == "body")
        found[_camel(name)] = Correctable(table.c[name], read, by_oneself)
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


CORRECTABLE: Mapping[str, Mapping[str, Correctable]] = {
    "Customer": {
        **_texts(customer, by_oneself=True, given_name=100, family_name=100, organisation_name=200),
        "country": Correctable(customer.c.country, values.country, by_oneself=True),
        "locale": Correctable(customer.c.locale, values.locale, by_oneself=True),
    },
    "PostalAddress": {
        **_texts(postal_address, by_oneself=True, recipient=200, line1=200, line2=200, city=100, region=100),
        **_texts(postal_address, by_oneself=True, postal_code=20),
        "country": Correctable(postal_address.c.country, values.country, by_oneself=True),
    },
    "Order": {
        **_texts(sales_order, by_oneself=False, purchase_order_number=60, billing_name=200, billing_line1=200),
        **_texts(sales_order, by_oneself=False, billing_city=100, billing_region=100, billing_postal_code=20),
        "billingCountry": Correctable(sales_order.c.billing_country, values.country, by_oneself=False),
    },
    "Inquiry": _texts(inquiry, by_oneself=False, subject=200, body=5000),
}


async def correct(tx: Tx, viewer: Viewer, platform: Platform, wanted: Wanted, *, reason: str | None = None) -> Opened:
    """Open a correction of one value of the viewer's own; the same one that is open is joined.

    Raises MissingScope, StepUpRequired, CustomerFrozen, NotCorrectable, NotFound, ValueChanged, NothingToCorrect, and
    the refusals of ``values``. Locks the customer row.
    """
    require(viewer, platform, WRITE_SCOPE)
    place = _place(wanted)
    subject = await lock(tx, viewer)
    there = await _open_one(tx, viewer, wanted)
    if there is not None:
        return there
    person = await subjects.gather(tx, subject.customer_id)
    if person is None:
        raise NotFound
    kind = KINDS[RequestType.RECTIFICATION]
    status = kind.status if place.by_oneself else RequestStatus.RECEIVED
    opened = await opening.write(tx, viewer, platform, person, kind, status=status, reason=reason)
    await note(tx, viewer, platform, opened.id, wanted)
    if place.by_oneself:
        await opening.start(tx, platform, opened, person, kind)
    else:
        await opening.tell(tx, platform, opened, person, Template.REQUEST_RECEIVED)
    return opened


async def note(tx: Tx, viewer: Viewer, platform: Platform, request_id: RequestId, wanted: Wanted) -> None:
    """Write down what a request corrects; ``viewer.customer_id`` names whose values they are.

    Raises CustomerFrozen, NotCorrectable, NotFound, ValueChanged, NothingToCorrect, and the refusals of ``values``.
    """
    subject = await lock(tx, viewer)
    old, new = await _values(tx, viewer, _place(wanted), wanted)
    origin = await collect(tx, viewer, subject, now=platform.clock())
    await tx.execute(
        insert(correction).values(
            id=new_id(),
            **origin,
            request_id=request_id,
            object_type=wanted.object_type,
            object_id=wanted.object_id,
            field=wanted.field,
            old_value=old,
            new_value=new,
        )
    )


def _place(wanted: Wanted) -> Correctable:
    place = CORRECTABLE.get(wanted.object_type, {}).get(wanted.field)
    if place is None:
        raise NotCorrectable(field=wanted.field)
    return place


async def _values(tx: Tx, viewer: Viewer, place: Correctable, wanted: Wanted) -> tuple[str | None, str | None]:
    """The old value as it stands and the new one as it will; whoever names another old value saw another page."""
    row = await tx.first(
        select(place.column.label("value")).where(
            place.table.c.id == wanted.object_id, subject_column(place.table) == viewer.subject
        )
    )
    if row is None:
        raise NotFound
    old: str | None = row.value
    new = values.optional(place.read, wanted.new)
    if (old or None) != (wanted.old or None):
        raise ValueChanged(field=wanted.field)
    if new == old:
        raise NothingToCorrect(field=wanted.field)
    if new is None and not place.column.nullable:
        raise values.InvalidText(field=wanted.field)
    return old, new


async def _open_one(tx: Tx, viewer: Viewer, wanted: Wanted) -> Opened | None:
    """The open correction of the same value, however it should become."""
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.reference, privacy_request.c.subject_ref)
        .join(correction, correction.c.request_id == privacy_request.c.id)
        .where(
            privacy_request.c.customer_id == viewer.subject,
            privacy_request.c.status.not_in(SETTLED),
            correction.c.object_id == wanted.object_id,
            correction.c.field == wanted.field,
        )
    )
    if row is None:
        return None
    return await opening.note_again(tx, viewer, RequestId(row.id), row.reference, row.subject_ref)


async def changes(tx: Tx, request_id: UUID) -> list[Change]:
    """What a request corrects, as connected systems are told it."""
    rows = await tx.all(select(correction).where(correction.c.request_id == request_id).order_by(correction.c.id))
    return [Change(row.object_type, row.field, row.old_value, row.new_value) for row in rows]


async def apply_own(tx: Tx, request_id: RequestId) -> Outcome:
    """Change our own rows, in the transaction that settles the task; a value that changed meanwhile is refused."""
    rows = await tx.all(select(correction).where(correction.c.request_id == request_id).order_by(correction.c.id))
    applied = 0
    for row in rows:  # one or a few, each in a table and column of its own
        if row.applied_at is not None:
            continue
        column = CORRECTABLE[row.object_type][row.field].column
        mine = [column.table.c.id == row.object_id, subject_column(column.table) == row.customer_id]
        values_ = {column.name: row.new_value}
        if "version" in column.table.c:
            values_["version"] = column.table.c.version + 1
        if row.collection_id is not None and "collection_id" in column.table.c:
            values_["collection_id"] = row.collection_id
        changed = await tx.execute(
            update(column.table).where(*mine, column.is_not_distinct_from(row.old_value)).values(values_)
        )
        if changed.rowcount != 1:
            return Outcome(State.REFUSED, VALUE_CHANGED)
        await tx.execute(update(correction).where(correction.c.id == row.id).values(applied_at=func.now()))
        applied += 1
        await _note(tx, row.request_id, row.object_type, row.object_id, row.field)
    return Outcome(State.DONE, Code.CORRECTED if rows else Code.NOTHING_FOUND, records={"values": applied})


async def _note(tx: Tx, request_id: UUID, object_type: str, object_id: UUID, name: str) -> None:
    ref = await tx.scalar(select(privacy_request.c.subject_ref).where(privacy_request.c.id == request_id))
    await audit.record(
        tx,
        SYSTEM,
        "value.corrected",
        subject_ref=ref,
        object_type=object_type,
        object_id=object_id,
        details={"field": name},
    )
