"""Runs of the purge: one a day, claimed under a lease, with what each rule removed. Counts only, nobody's data."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import BigInteger, Column, Date, Index, Table
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import enum_type, id_column, metadata, timestamp


class RunStatus(StrEnum):
    """Where a run stands."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"


R = RunStatus
RUN_TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    R.DUE: frozenset({R.RUNNING}),
    R.RUNNING: frozenset({R.RUNNING, R.DONE}),  # again once the lease of a dead worker is over
    R.DONE: frozenset(),
}

retention_run = Table(
    "retention_run",
    metadata,
    id_column(),
    # None where an operator asked for it.
    Column("day", Date, unique=True),
    Column("status", enum_type(RunStatus, "run_status"), nullable=False, server_default="due"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("removed", JSONB, nullable=False, server_default="{}"),
    timestamp("lease_until", nullable=True),
    timestamp("created_at", now=True),
    timestamp("finished_at", nullable=True),
)

Index(None, retention_run.c.status, retention_run.c.lease_until)
