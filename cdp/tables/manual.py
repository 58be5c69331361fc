"""Steps of requests that people work on: in a system without an API, or at a processor that is asked by mail.

    open -> reported -> settled      by one of us, confirmed by a second person; or sent back (open)
    open -> settled                  by the processor's own answer
    open -> lapsed                   no answer in time; an operator's retry asks again (open)

One row per idempotency key of a step, so that a step asked twice is one task and one mail.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid

from cdp.tables.base import (
    Category,
    Erase,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    timestamp,
)
from cdp.tables.request import PROOF_LAW, TaskStep

_KEPT = personal(Category.REQUEST, erase=Erase.KEEP, basis=PROOF_LAW, export=False)
_CUT = personal(Category.REQUEST, erase=Erase.NULL, export=False)


class ManualStatus(StrEnum):
    """Where the work of people stands."""

    OPEN = "open"
    REPORTED = "reported"
    SETTLED = "settled"
    LAPSED = "lapsed"


class ManualOutcome(StrEnum):
    """What whoever worked on it says came of it."""

    DONE = "done"
    NOTHING_FOUND = "nothing_found"
    REFUSED = "refused"
    HELD = "held"
    NOT_POSSIBLE = "not_possible"


M = ManualStatus
MANUAL_TRANSITIONS: Mapping[ManualStatus, frozenset[ManualStatus]] = {
    M.OPEN: frozenset({M.REPORTED, M.SETTLED, M.LAPSED}),
    M.REPORTED: frozenset({M.SETTLED, M.OPEN}),
    M.SETTLED: frozenset({M.OPEN}),
    M.LAPSED: frozenset({M.OPEN, M.SETTLED}),
}

manual_task = Table(
    "manual_task",
    metadata,
    id_column(),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False, info=structural()),
    Column("system_id", Uuid, ForeignKey("system.id"), nullable=False, info=structural()),
    Column("key", String(200), nullable=False, unique=True, info=structural()),
    Column("step", enum_type(TaskStep, "manual_step"), nullable=False, info=_KEPT),
    Column("status", enum_type(ManualStatus, "manual_status"), nullable=False, server_default="open", info=_KEPT),
    Column("outcome", enum_type(ManualOutcome, "manual_outcome"), info=_KEPT),
    Column("records", Integer, info=_KEPT),
    Column("code", String(60), info=_KEPT),
    Column("note", Text, info=_CUT),
    Column("file_name", String(200), info=_CUT),
    Column("media_type", String(100), info=structural()),
    Column("size_bytes", Integer, info=structural()),
    Column("sha256", LargeBinary(32), info=structural()),
    Column("object_key", String(300), info=structural()),
    Column("key_id", String(60), info=structural()),
    Column("token_hash", LargeBinary(32), unique=True, info=structural()),
    Column("reported_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("confirmed_by_id", Uuid, ForeignKey("staff.id"), info=structural()),
    timestamp("created_at", now=True, info=_KEPT),
    timestamp("due_at", info=_KEPT),
    timestamp("reminded_at", nullable=True),
    timestamp("reported_at", nullable=True, info=_KEPT),
    timestamp("settled_at", nullable=True, info=_KEPT),
)

Index(None, manual_task.c.status, manual_task.c.due_at)
Index(None, manual_task.c.created_at, manual_task.c.id)
Index(None, manual_task.c.request_id, manual_task.c.system_id, manual_task.c.step)
foreign_key_indexes(manual_task)
