"""The manifest: what a recipient holds an export against, and the only proof that it is whole.

FHIR's bulk manifest with what makes it checkable: bytes and SHA-256 of every file, counts that add up, a signature.
Source: https://hl7.org/fhir/uv/bulkdata/export.html#response---complete-status
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Row

from cdp.core.clock import iso
from cdp.core.platform import Platform
from cdp.core.sign import Document
from cdp.tables.bulk import PartKind

KIND = "bulk-export"
VERSION = 1
TYPE = "Customer"
PATH = "/bulk/export"


def name_of(part: Row[Any]) -> str:
    """The name of a part's file for its reader: without the claim that wrote it."""
    stored = PurePosixPath(part.object_key).name
    kind, ordinal, rest = stored.split("-", 2)
    return f"{kind}-{ordinal}.{rest.partition('.')[2]}"


def document(platform: Platform, row: Row[Any], parts: Sequence[Row[Any]], *, revision: int) -> Document:
    """The signed manifest of an export whose parts are all done."""
    base = f"{platform.settings.url}{PATH}/{row.id}"
    excluded = excluded_of(parts)
    exported = sum(part.record_count for part in parts if part.kind is PartKind.OUTPUT)
    body: Document = {
        "kind": KIND,
        "version": VERSION,
        "id": str(row.id),
        "reference": row.reference,
        "revision": revision,
        "transactionTime": iso(row.snapshot_at),
        "issuedAt": iso(platform.clock()),
        "request": base,
        "requiresAccessToken": True,
        "format": row.format.value,
        "compression": row.compression.value,
        "purpose": row.purpose,
        "personal": row.personal,
        "incremental": row.since_xid is not None,
        "selected": exported + sum(excluded.values()),
        "exported": exported,
        "output": [_file(base, part) for part in parts if part.kind is PartKind.OUTPUT],
        "deleted": [_file(base, part) for part in parts if part.kind is PartKind.DELETED],
        "excluded": [{"reason": reason, "count": count} for reason, count in sorted(excluded.items())],
        "outcome": [],
        "watermark": row.watermark,
    }
    return platform.signer.sign(body)


def excluded_of(parts: Sequence[Row[Any]]) -> Counter[str]:
    """People left out, by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.excluded or {})
    return total


def _file(base: str, part: Row[Any]) -> Document:
    return {
        "type": TYPE,
        "url": f"{base}/{name_of(part)}",
        "count": part.record_count,
        "bytes": part.size_bytes,
        "sha256": bytes(part.sha256).hex(),
    }
