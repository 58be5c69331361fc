"""What of a person is outside their own rows, or on its way out, asked in one statement before an erasure goes on.

Hardly anybody has any of it; asking for each by itself would be a transaction each, for every deletion and twice.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Exists,
    Select,
    Text,
    Uuid,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from cdp.core.db import Tx
from cdp.operations import messages
from cdp.operations.accounts import sessions
from cdp.operations.attachments import attachments
from cdp.operations.bulk import reach
from cdp.operations.moves import RequestRow
from cdp.operations.requests import evidence
from cdp.operations.subjects import Person
from cdp.operations.systems import OWN
from cdp.tables.export import export
from cdp.tables.manual import manual_task
from cdp.tables.message import MessageStatus, message
from cdp.tables.request import TaskStep, privacy_request, request_task
from cdp.tables.system import system


@dataclass(frozen=True)
class Outside:
    """What there is: other requests and exports by id, of the rest whether there is any.

    ``has_letters`` are queued ones but the last, which can be cancelled; ``has_unsent`` others that are not handed over
    yet, which are waited for. ``was_told``: the last letter was queued before; ``has_begun``: the erasure of our own
    rows was begun.
    """

    requests: list[UUID]
    exports: list[UUID]
    is_signed_in: bool
    has_letters: bool
    has_unsent: bool
    was_told: bool
    has_begun: bool
    has_evidence: bool
    has_documents: bool
    has_bulk: bool


async def look(tx: Tx, request: RequestRow, person: Person, *, last: str) -> Outside:
    """Look for all of it; ``last`` is the template of the letter that may still leave."""
    asked = {
        "request": request.id,
        "owner": request.customer_id,
        "person": person.customer_id,
        "subject_ref": request.subject_ref,
        "last": last,
    }
    row = await tx.first(_survey(is_guest=request.customer_id is None), asked)
    assert row is not None, "a survey is one row"
    return Outside(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a row as mapping


@lru_cache(maxsize=2)
def _survey(*, is_guest: bool) -> Select[Any]:
    """Built once: every deletion needs it."""
    request, person = bindparam("request", type_=Uuid), bindparam("person", type_=Uuid)
    owner, last = bindparam("owner", type_=Uuid), bindparam("last", type_=Text)
    letters = messages.of(None if is_guest else owner, request)
    queued = (message.c.status == MessageStatus.QUEUED) & (message.c.template != last)
    unsent = message.c.status.in_(messages.UNSENT) & ~queued
    own = select(system.c.id).where(system.c.kind == OWN)
    begun = (
        request_task.c.request_id == request,
        request_task.c.step == TaskStep.ERASE,
        request_task.c.system_id.in_(own),
    )
    documents = attachments.of_person(bindparam("subject_ref", type_=Uuid), person)
    documents.append((manual_task, manual_task.c.request_id == request))
    return select(
        _ids(privacy_request.c.id, privacy_request.c.customer_id == owner, privacy_request.c.id != request).label(
            "requests"
        ),
        _ids(export.c.id, export.c.customer_id == owner).label("exports"),
        sessions.is_anywhere(person).label("is_signed_in"),
        _is_any(letters, queued).label("has_letters"),
        _is_any(letters, unsent).label("has_unsent"),
        _is_any(letters, message.c.template == last).label("was_told"),
        _is_any(*begun).label("has_begun"),
        _is_any(evidence.of(None if is_guest else owner, request)).label("has_evidence"),
        or_(*(_is_any(about, table.c.object_key.is_not(None)) for table, about in documents)).label("has_documents"),
        reach.is_any(request).label("has_bulk"),
    )


def _is_any(*which: ColumnElement[bool]) -> Exists:
    return exists().where(*which)


def _ids(column: ColumnElement[UUID], *which: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.array(select(column).where(*which).scalar_subquery(), type_=ARRAY(Uuid))
