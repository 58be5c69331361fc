"""Copies that could not be whole: systems that did not give their part are asked once more, a day later.

What they give then is a copy of its own, made like the first but for that part alone; its person is told like of any
other. Nobody is asked for it a third time: the package says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId, SystemId
from cdp.core.platform import Platform
from cdp.operations import subjects
from cdp.operations.packages import choices
from cdp.operations.packages.choices import Choices, ExportCategory
from cdp.operations.requests import opening
from cdp.operations.requests.opening import EXPORTS, KINDS
from cdp.tables.customer import CustomerStatus
from cdp.tables.export import ExportStatus, export
from cdp.tables.request import SETTLED, TaskStatus, privacy_request
from cdp.tables.system import system

CHANNEL = "retry of a copy"
PASSING = frozenset(status.value for status in TaskStatus) - {TaskStatus.DONE.value, TaskStatus.UNSUPPORTED.value}
"""How a system's read can have ended that may end otherwise another day."""


async def may(tx: Tx, request_id: RequestId, chosen: Choices) -> bool:
    """Whether a copy can be completed without its person: not twice, and not under a passphrase we have forgotten."""
    row = await tx.first(
        select(privacy_request.c.channel, privacy_request.c.customer_id).where(privacy_request.c.id == request_id)
    )
    known = row is not None and row.customer_id is not None and row.channel not in {CHANNEL, opening.BY_LINK}
    return known and chosen.passphrase is None


async def open_due(tx: Tx, platform: Platform, *, limit: int) -> int:
    """Open a request for what is missing in every copy whose time has come; returns how many were looked at."""
    due = (
        select(export.c.id, export.c.request_id, export.c.customer_id, export.c.choices, export.c.missing)
        .where(export.c.retry_at <= func.now(), export.c.status.in_((ExportStatus.READY, ExportStatus.EXPIRED)))
        .order_by(export.c.retry_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = await tx.all(due)
    for row in found:  # each opens a request of its own, with tasks, a letter and an audit event
        await _open(tx, platform, row)
        await tx.execute(update(export).where(export.c.id == row.id).values(retry_at=None))
    return len(found)


async def _open(tx: Tx, platform: Platform, row: Row[Any]) -> None:
    """Who has left, is leaving, or has asked for another copy meanwhile gets nothing from us."""
    if row.customer_id is None:
        return
    customer_id = CustomerId(row.customer_id)
    if await opening.lock_customer(tx, customer_id) is not CustomerStatus.ACTIVE or await _is_asked(tx, row):
        return
    person = await subjects.gather(tx, customer_id)
    only = await _systems(tx, [one["system"] for one in row.missing if one.get("retriedAt")])
    if person is None or not only:
        return
    first = await tx.first(select(privacy_request.c.type).where(privacy_request.c.id == row.request_id))
    assert first is not None, "a package belongs to a request"
    kind = KINDS[first.type]
    chosen = replace(choices.read(row.choices, None), categories=frozenset({ExportCategory.SYSTEMS}))
    opened = await opening.write(tx, SYSTEM, platform, person, kind, status=kind.status, channel=CHANNEL)
    await opening.start(tx, platform, opened, person, kind, chosen=chosen, only=only)


async def _is_asked(tx: Tx, row: Row[Any]) -> bool:
    """Whether a copy is being made, or a newer one was."""
    newer = select(privacy_request.c.id).where(
        privacy_request.c.customer_id == row.customer_id,
        privacy_request.c.type.in_(EXPORTS),
        (privacy_request.c.id > row.request_id) | privacy_request.c.status.not_in(SETTLED),
    )
    return await tx.scalar(newer.limit(1)) is not None


async def _systems(tx: Tx, names: Sequence[str]) -> list[SystemId]:
    found = await tx.all(select(system.c.id).where(system.c.name.in_(names), system.c.enabled))
    return [SystemId(one.id) for one in found]
