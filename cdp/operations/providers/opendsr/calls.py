"""Callbacks: each change of a request is told to each of its addresses, signed, and tried again for a while.

    queued -> sending -> sent
                      \\-> queued (again, later) -> … -> failed

An address is called outside any transaction; it may hear the same twice. It hears where its request stood, in order of
the changes as far as it answers. Nothing about anybody is in it.
Source: OpenDSR 2.0 section 8, https://github.com/opengdpr/OpenDSR
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations import audit
from cdp.operations.backoff import wait_s
from cdp.operations.providers.opendsr import asked
from cdp.operations.providers.opendsr.certificate import signature_of
from cdp.tables.provider import CALL_TRANSITIONS, CallStatus, asked_request, status_call

TIMEOUT_S = 10.0
LARGEST_ANSWER = 64 * 1024
OPEN = (CallStatus.QUEUED, CallStatus.SENDING)


@dataclass(frozen=True)
class Call:
    """A call this worker may make now; ``fence`` is the number of its claim."""

    id: UUID
    asked_id: UUID
    fence: int
    attempt: int
    url: str = field(repr=False)
    document: Mapping[str, object] = field(repr=False)


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Calls nobody rang for, or whose worker died."""
    found = select(status_call.c.id).where(status_call.c.status.in_(OPEN), status_call.c.next_run_at <= func.now())
    return [row.id for row in await tx.all(found.order_by(status_call.c.next_run_at).limit(limit))]


async def claim(tx: Tx, platform: Platform, call_id: UUID) -> Call | None:
    """Take a due call under a lease; None when it is not due or somebody else has it."""
    free = select(status_call.c.id).where(
        status_call.c.id == call_id, status_call.c.status.in_(OPEN), status_call.c.next_run_at <= func.now()
    )
    row = await tx.first(
        update(status_call)
        .where(status_call.c.id.in_(free.with_for_update(skip_locked=True)))
        .values(
            status=CallStatus.SENDING,
            fence=status_call.c.fence + 1,
            attempt=status_call.c.attempt + 1,
            next_run_at=func.now() + timedelta(seconds=platform.settings.lease_s),
        )
        .returning(status_call)
    )
    if row is None:
        return None
    found = (await tx.all(asked.selected().where(asked_request.c.id == row.asked_request_id)))[0]
    now = asked.row_of(found)
    # As it stood when this call was queued; its code belongs to its last change.
    then = replace(
        now,
        status=row.request_status,
        outcome=row.outcome,
        code=now.code if (now.status, now.outcome) == (row.request_status, row.outcome) else None,
    )
    document = {"status_callback_url": row.url, **then.document(platform)}
    return Call(row.id, row.asked_request_id, row.fence, row.attempt, row.url, document)


async def make(platform: Platform, call: Call) -> str | None:
    """Make the call; None when it was taken, else why not."""
    body = json.dumps(call.document).encode()
    try:
        signature = await signature_of(platform)
        answer = await platform.outbound.request(
            "POST",
            call.url,
            headers={"Content-Type": "application/json", **signature.headers(body, is_older=True)},
            content=body,
            timeout_s=min(TIMEOUT_S, platform.settings.task_timeout_s),
            max_bytes=LARGEST_ANSWER,
        )
    except PlatformError as error:
        return error.code
    return None if 200 <= answer.status < 300 else f"HTTP_{answer.status}"


async def settle(tx: Tx, call: Call, code: str | None, *, settings: Settings) -> CallStatus | None:
    """Record what became of a claim; None when it is no longer the newest."""
    is_over = code is None or call.attempt >= settings.max_attempts
    status = CallStatus.SENT if code is None else CallStatus.FAILED if is_over else CallStatus.QUEUED
    if status not in CALL_TRANSITIONS[CallStatus.SENDING]:
        raise ValueError(f"a call never goes from sending to {status}")
    delay_s = wait_s(call.attempt, base_s=settings.retry_base_s)
    settled = await tx.execute(
        update(status_call)
        .where(
            status_call.c.id == call.id,
            status_call.c.status == CallStatus.SENDING,
            status_call.c.fence == call.fence,
        )
        .values(
            status=status,
            code=code,
            next_run_at=func.now() + timedelta(seconds=delay_s),
            settled_at=func.now() if is_over else None,
        )
    )
    if settled.rowcount != 1:
        return None
    if not is_over:
        tx.ring(asked.CALL, call.id, defer_s=delay_s)
        return status
    await audit.record(
        tx,
        SYSTEM,
        "asked_request.told" if code is None else "asked_request.not_told",
        subject_ref=None,
        object_type="AskedRequest",
        object_id=call.asked_id,
        outcome="ok" if code is None else "failed",
        code=code,
        details={"attempt": call.attempt},
    )
    return status
