"""Addenda: the signed result of a residual pass for one certificate, so that the certificate tells the whole.

An addendum names its certificate by reference and by the SHA-256 of its exact bytes, and stands in the audit log as the
certificate does. It says how much was looked through, for how many identifiers of which type, and what was not looked
through. It is issued only where nothing was found; the key of the sealed identifiers dies after it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select

from cdp.access.viewer import SYSTEM
from cdp.core.clock import iso
from cdp.core.db import Tx
from cdp.core.ids import new_id, new_reference
from cdp.core.platform import Platform
from cdp.core.sign import Document, canonical
from cdp.operations import audit
from cdp.operations.audit import sequencer
from cdp.operations.packages.formats import ADDENDUM, VERSION
from cdp.operations.residual.checks import Check, Finding
from cdp.operations.residual.needles import Sought
from cdp.operations.residual.scan import Seen
from cdp.tables.residual import certificate_addendum

NOT_SCANNED = (
    ("object-names", "Names of files in the object store; they are random and hold no identifier."),
    ("object-contents", "Files in the object store; each is sealed under a key of its own, or was destroyed before."),
    ("binary-columns", "Columns of bytes; they hold keyed hashes and values sealed under keys."),
    ("connected-systems", "Other systems; what each said when it was read again is in the certificate."),
)


@dataclass(frozen=True)
class Addendum:
    """An addendum as it is handed out: the exact bytes of its document."""

    reference: str
    document: bytes


@dataclass(frozen=True)
class Result:
    """What a pass came to for one person; ``elsewhere`` is what others hold by the same identifier."""

    pass_id: UUID
    started_at: datetime
    seen: Seen
    sought: Sought
    elsewhere: Sequence[Finding]


async def issue(tx: Tx, platform: Platform, check: Check, result: Result) -> None:
    """Sign the addendum, in the transaction that settles its check as clean."""
    now = await tx.scalar(select(func.now()))
    addendum_id, reference = new_id(), new_reference("AD")
    statement: Document = {
        "version": VERSION,
        "kind": ADDENDUM,
        "reference": reference,
        "certificate": {
            "reference": check.certificate_reference,
            "sha256": hashlib.sha256(check.certificate_document.encode()).hexdigest(),
        },
        "request": {"reference": json.loads(check.certificate_document)["request"]["reference"]},
        "pass": _pass(result),
        "lookedFor": dict(sorted(result.sought.counts.items())),
        "tooWeak": result.sought.weak,
        "found": [],
        "heldByOthers": [_place(one) for one in result.elsewhere],
        "notScanned": [{"what": what, "why": why} for what, why in NOT_SCANNED],
        "issuedAt": iso(now),
    }
    event_id = await audit.record(
        tx,
        SYSTEM,
        "addendum.issued",
        subject_ref=None,  # as with the certificate: nothing in it may lead to the person
        object_type="CertificateAddendum",
        object_id=addendum_id,
        details={"reference": reference, "sha256": hashlib.sha256(canonical(statement)).hexdigest()},
    )
    (proof,) = await sequencer.include(tx, platform, [event_id])
    await tx.execute(
        insert(certificate_addendum).values(
            id=addendum_id,
            certificate_id=check.certificate_id,
            request_id=check.request_id,
            reference=reference,
            document=canonical(platform.signer.sign({**statement, "log": proof.document()})).decode(),
            key_id=platform.signer.key_id,
            issued_at=now,
        )
    )


def _pass(result: Result) -> Document:
    seen = result.seen
    return {
        "id": str(result.pass_id),
        "startedAt": iso(result.started_at),
        "tables": seen.tables,
        "columns": seen.columns,
        "rows": seen.rows,
        "canaries": {"planted": seen.canaries, "found": seen.canaries},
    }


def _place(one: Finding) -> Mapping[str, object]:
    return {"table": one.table, "column": one.column, "type": one.type, "rows": one.rows}


_OF_REQUEST = select(certificate_addendum.c.reference, certificate_addendum.c.document).where(
    certificate_addendum.c.request_id == bindparam("request")
)


async def of_request(tx: Tx, request_id: UUID) -> Addendum | None:
    """The addendum of a request, from its row: that is the original."""
    row = await tx.first(_OF_REQUEST, {"request": request_id})
    return None if row is None else Addendum(row.reference, row.document.encode())


async def publish(platform: Platform, document: bytes, certificate_reference: str) -> None:
    """Put it beside its certificate in the object store; doing it again writes the same."""
    await platform.blobs.put(f"certificates/{certificate_reference}.addendum.json", document)
