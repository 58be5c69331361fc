"""Watermarks: up to where an export saw everything, sealed so that only we can have written it.

``xid`` is the oldest transaction that was still running when the snapshot was taken: everything before it is in the
export, everything from it on is looked at again. A watermark holds for one query, one grant and one line of the
database's history; elsewhere numbers of transactions mean something else.
Source: https://www.postgresql.org/docs/18/functions-info.html (pg_snapshot_xmin), section 27.5 (timelines).
"""

import base64
import binascii
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.seal import Sealer, Unsealable
from cdp.operations.bulk.states import FullExportNeeded

PREFIX = "cdp1."
_CONTEXT = "bulk:watermark"
CLUSTER = (
    "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,"
    " left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline"
)


@dataclass(frozen=True)
class Watermark:
    """Where an export ended. ``query`` is the fingerprint of query, variables and grant."""

    xid: int
    system: str
    timeline: str
    query: str
    at: str


@dataclass(frozen=True)
class Cluster:
    """Which line of which database's history we are on."""

    system: str
    timeline: str


async def cluster(tx: Tx) -> Cluster:
    """Ask the database which it is."""
    row = await tx.first(text(CLUSTER))
    assert row is not None
    return Cluster(row.system, row.timeline)


def write(sealer: Sealer, watermark: Watermark) -> str:
    """The opaque text a manifest carries."""
    sealed = sealer.seal(json.dumps(asdict(watermark)).encode(), _CONTEXT)
    return PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def read(sealer: Sealer, given: str) -> Watermark:
    """Read a watermark. Raises FullExportNeeded for anything we did not write."""
    try:
        body = given.removeprefix(PREFIX)
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return Watermark(**json.loads(sealer.open(sealed, _CONTEXT)))
    except (Unsealable, binascii.Error, ValueError, TypeError):
        raise FullExportNeeded("This watermark is not one of ours.", reason="unknown") from None


def require_fit(watermark: Watermark, here: Cluster, fingerprint: str, *, now: datetime, kept: timedelta) -> int:
    """The transaction to continue from. Raises FullExportNeeded, which says why in ``reason``."""
    if (watermark.system, watermark.timeline) != (here.system, here.timeline):
        raise FullExportNeeded("The watermark is of another database.", reason="cluster")
    if watermark.query != fingerprint:
        raise FullExportNeeded("The watermark is of another query, or of another grant.", reason="query")
    if watermark.at < iso(now - kept):
        raise FullExportNeeded("Changes are not kept for that long.", reason="age")
    return watermark.xid
