"""Runs of the canary: a person who never was, made and erased through every system, so that we know it still works."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, String, Table, Uuid

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, timestamp

# The channel of a canary's request, by which it is told from people's.
CHANNEL = "canary"


class CanaryStatus(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


CANARY_TRANSITIONS: Mapping[CanaryStatus, frozenset[CanaryStatus]] = {
    CanaryStatus.RUNNING: frozenset({CanaryStatus.PASSED, CanaryStatus.FAILED}),
    CanaryStatus.PASSED: frozenset(),
    CanaryStatus.FAILED: frozenset(),
}

canary_run = Table(
    "canary_run",
    metadata,
    id_column(),
    Column("request_id", Uuid, ForeignKey("privacy_request.id"), nullable=False),
    Column(
        "status", enum_type(CanaryStatus, "canary_status"), nullable=False, server_default=CanaryStatus.RUNNING.value
    ),
    Column("code", String(60)),
    timestamp("started_at", now=True),
    timestamp("finished_at", nullable=True),
)
Index("canary_run_started_at_idx", canary_run.c.started_at)
Index("canary_run_one_running_key", canary_run.c.status, unique=True, postgresql_where="status = 'running'")
foreign_key_indexes(canary_run)
