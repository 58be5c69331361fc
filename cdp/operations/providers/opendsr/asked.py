"""Requests of controllers as rows: taken once, looked up, taken back, moved on with their audit event and callbacks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Environment
from cdp.operations import audit
from cdp.operations.providers.opendsr.certificate import domain_of
from cdp.operations.providers.opendsr.controllers import Controller
from cdp.operations.providers.opendsr.wire import API_VERSION, Asked, require_callbacks
from cdp.tables.oauth import oauth_client
from cdp.tables.provider import (
    ASKED_TRANSITIONS,
    AskedOutcome,
    AskedStatus,
    AskedType,
    asked_request,
    controller,
    status_call,
)

WORK = "work_on_asked"
CALL = "call_controller"
BASE = "/opendsr/v2"
HASH_KIND = "opendsr"


class RequestUnknown(NotFound):
    """There is no request of this id of yours."""

    code = "REQUEST_UNKNOWN"


class AnotherRequest(Conflict):
    """This id was used for another request."""

    code = "SUBJECT_REQUEST_ID_USED"


class TooLateToCancel(Conflict):
    """Only a pending request can be cancelled."""

    code = "TOO_LATE_TO_CANCEL"


@dataclass(frozen=True)
class AskedRow:
    """A request as it stands; ``client_id`` is the controller's public name."""

    id: UUID
    controller_id: UUID
    client_id: str
    subject_request_id: UUID
    type: AskedType
    status: AskedStatus
    outcome: AskedOutcome | None
    code: str | None
    results_count: int | None
    callback_urls: tuple[str, ...]
    request_id: UUID | None
    received_at: datetime
    due_at: datetime

    def document(self, platform: Platform) -> dict[str, object]:
        """Where it stands, in the words of the specification and ours beside them."""
        said: dict[str, object] = {
            "controller_id": self.client_id,
            "expected_completion_time": iso(self.due_at),
            "subject_request_id": str(self.subject_request_id),
            "request_status": self.status.value,
            "api_version": API_VERSION,
        }
        if self.status is AskedStatus.COMPLETED and self.results_count is not None:
            said["results_count"] = self.results_count
            if self.request_id is not None:
                said["results_url"] = f"{platform.settings.url}{BASE}/requests/{self.subject_request_id}/results"
        if self.outcome is not None:
            said["extensions"] = {domain_of(platform.settings): {"outcome": self.outcome.value, "code": self.code}}
        return said


def row_of(found: Row[Any]) -> AskedRow:
    """A request out of the columns of ``selected``."""
    return AskedRow(
        id=found.id,
        controller_id=found.controller_id,
        client_id=found.client_id,
        subject_request_id=found.subject_request_id,
        type=found.type,
        status=found.status,
        outcome=found.outcome,
        code=found.code,
        results_count=found.results_count,
        callback_urls=tuple(found.callback_urls),
        request_id=found.request_id,
        received_at=found.received_at,
        due_at=found.due_at,
    )


def selected() -> Any:  # noqa: ANN401 - the type of a select of two tables' columns is longer than the statement
    """Requests with their controller's name."""
    return (
        select(asked_request, oauth_client.c.client_id)
        .join(controller, controller.c.id == asked_request.c.controller_id)
        .join(oauth_client, oauth_client.c.id == controller.c.client_id)
    )


async def take(tx: Tx, viewer: Viewer, platform: Platform, whose: Controller, asked: Asked, *, body: bytes) -> AskedRow:
    """Write a request down, or find the one that was written down from the same body.

    Raises AnotherRequest for another body under the same id, CallbackNotAllowed.
    """
    schemes = {"https"} if platform.settings.env is Environment.PRODUCTION else {"https", "http"}
    require_callbacks(asked.status_callback_urls, whose.callback_domains, schemes=frozenset(schemes))
    asked_id, digest = new_id(), hashlib.sha256(body).hexdigest()
    known = [one.value for one in platform.pepper.hashes(HASH_KIND, digest)]
    written = await tx.scalar(
        upsert(asked_request)
        .values(
            id=asked_id,
            controller_id=whose.id,
            subject_request_id=asked.id,
            type=asked.subject_request_type,
            regulation=asked.regulation,
            body_hash=platform.pepper.hash(HASH_KIND, digest).value,
            identities_sealed=platform.sealer.seal(body, f"asked_request:{asked_id}"),
            callback_urls=list(dict.fromkeys(asked.status_callback_urls)),
            submitted_at=asked.at,
            due_at=func.now() + text("interval '1 month'"),
        )
        .on_conflict_do_nothing()
        .returning(asked_request.c.id)
    )
    found = await tx.first(_of(whose, asked.id))
    if found is None or bytes(found.body_hash) not in known:
        raise AnotherRequest
    row = row_of(found)
    if written is not None:
        await _note(tx, viewer, row, "asked_request.received", row.type.value)
        tx.ring(WORK, row.id)
    return row


async def find(tx: Tx, whose: Controller, subject_request_id: UUID) -> AskedRow:
    """One request of a controller's own. Raises RequestUnknown."""
    found = await tx.first(_of(whose, subject_request_id))
    if found is None:
        raise RequestUnknown
    return row_of(found)


def _of(whose: Controller, subject_request_id: UUID) -> Any:  # noqa: ANN401 - see selected
    return selected().where(
        asked_request.c.controller_id == whose.id, asked_request.c.subject_request_id == subject_request_id
    )


async def lock(tx: Tx, asked_id: UUID) -> Row[Any] | None:
    """One open request under its lock, with what is sealed of it; None when it is settled."""
    open_one = asked_request.c.settled_at.is_(None)
    found = selected().where(asked_request.c.id == asked_id, open_one).with_for_update(of=asked_request)
    return await tx.first(found)


async def cancel(tx: Tx, viewer: Viewer, whose: Controller, subject_request_id: UUID) -> AskedRow:
    """Take back a request that nobody has begun; doing it again is fine. Raises RequestUnknown, TooLateToCancel."""
    row = await find(tx, whose, subject_request_id)
    if row.status is AskedStatus.PENDING:
        await move(tx, row, AskedStatus.CANCELLED, viewer=viewer)
        row = await find(tx, whose, subject_request_id)
    if row.status is not AskedStatus.CANCELLED or row.outcome is not None:
        raise TooLateToCancel
    return row


async def move(
    tx: Tx,
    row: AskedRow,
    new: AskedStatus,
    *,
    outcome: AskedOutcome | None = None,
    code: str | None = None,
    values: Mapping[str, object] | None = None,
    viewer: Viewer = SYSTEM,
) -> bool:
    """Change where a request stands, if it still is as it was read, and queue a call to each of its addresses."""
    if new not in ASKED_TRANSITIONS[row.status]:
        raise ValueError(f"a request of a controller never goes from {row.status} to {new}")
    is_over = not ASKED_TRANSITIONS[new]
    settled = {"settled_at": func.now(), "identities_sealed": None} if is_over else {}
    moved = await tx.execute(
        update(asked_request)
        .where(asked_request.c.id == row.id, asked_request.c.status == row.status)
        .values({**(values or {}), **settled, "status": new, "outcome": outcome, "code": code})
    )
    if moved.rowcount != 1:
        return False
    calls = [
        {"id": new_id(), "asked_request_id": row.id, "url": url, "request_status": new, "outcome": outcome}
        for url in row.callback_urls
    ]
    if calls:
        await tx.execute(insert(status_call), calls)
    for call in calls:
        tx.ring(CALL, UUID(str(call["id"])))
    await _note(tx, viewer, row, f"asked_request.{new.value}", row.type.value, code=code)
    return True


async def postpone(tx: Tx, row: AskedRow, *, wait: timedelta) -> None:
    """Look at a pending request again later."""
    mine = update(asked_request).where(asked_request.c.id == row.id)
    await tx.execute(mine.values(next_run_at=func.now() + wait))


async def _note(tx: Tx, viewer: Viewer, row: AskedRow, action: str, kind: str, *, code: str | None = None) -> None:
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=None,
        object_type="AskedRequest",
        object_id=row.id,
        code=code,
        details={"type": kind, "controller": row.client_id},
    )
