"""An event as the entry of a leaf: canonical JSON of everything its row says, described in docs/audit-log.md.

The row is enough to make the entry again, byte for byte, so a row changed behind our back no longer fits its leaf.
"""

from typing import Any

from sqlalchemy import Row, Select, select

from cdp.core.clock import iso
from cdp.core.sign import Document, canonical
from cdp.operations.proofs.formats import VERSION
from cdp.tables.audit import audit_event


def events() -> Select[Any]:
    """The columns an entry is made of."""
    return select(audit_event)


def entry(row: Row[Any]) -> bytes:
    """The canonical bytes of an event."""
    return canonical(document(row))


def document(row: Row[Any]) -> Document:
    """The same before it is serialised."""
    return {
        "version": VERSION,
        "id": str(row.id),
        "occurredAt": iso(row.occurred_at),
        "action": row.action,
        "outcome": row.outcome,
        "code": row.code,
        "actor": {"kind": row.actor_kind, "ref": _text(row.actor_ref), "client": row.client},
        "subject": _text(row.subject_ref),
        "object": {"type": row.object_type, "id": _text(row.object_id)},
        "details": _whole(row.details),
        "request": row.request,
        "note": row.note_hash.hex() if row.note_hash is not None else None,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> object:
    """Canonical JSON has no fractions: they are written as text."""
    if isinstance(value, dict):
        return {str(name): _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return repr(value) if isinstance(value, float) else value
