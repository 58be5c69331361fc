"""Erasure certificates: what was erased, verified and kept, signed so that anybody can check it without us.

A certificate names no person. It carries SHA-256(salt, canonical identifier), and only the person has the salt; whoever
finds the certificate learns nothing, whoever holds both can prove whom it is about. What was not scanned is said.
The document is canonical JSON (see ``core.sign``); one changed byte makes it invalid. An entry of the audit log holds
its hash, and the certificate carries the proof that this entry is in the log: no other can be issued in its place.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, any_, bindparam, func, insert, select

from cdp.access.viewer import SYSTEM
from cdp.connectors.holds import BASIS
from cdp.core.blobs import Blobs
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.ids import RequestId, new_id, new_reference
from cdp.core.platform import Platform
from cdp.core.sign import Document, canonical
from cdp.operations import audit, moves, subjects
from cdp.operations.audit import sequencer
from cdp.operations.moves import RequestRow
from cdp.operations.packages.formats import CERTIFICATE, VERSION, subject_hash
from cdp.operations.proofs import verify_certificate
from cdp.operations.requests import certificate_pdf, holding
from cdp.operations.residual import checks
from cdp.operations.subjects import SealedPerson
from cdp.tables.certificate import certificate
from cdp.tables.request import RequestStatus, TaskStep, request_task
from cdp.tables.system import system

LABELS = {TaskStep.CHECK: "announced", TaskStep.ERASE: "erased", TaskStep.VERIFY: "verified"}
VERIFIER = "verify_certificate.py"
# Object stores this process has put the verifier into.
_PUBLISHED: set[str] = set()
NOT_SCANNED = (
    ("write-ahead-log", "Removed as the database recycles it; never read for any purpose but recovery."),
    ("dead-rows", "Overwritten as the database vacuums; not readable by any query."),
    ("backups", "Hold the data until they are replaced; the journal says what to erase again after a restore."),
)


@dataclass(frozen=True)
class Issued:
    """A certificate as it is handed out: the exact bytes of its document, and its PDF."""

    reference: str
    request_reference: str
    document: bytes

    @classmethod
    def of(cls, document: str) -> "Issued":
        """From the text of its row: that is the original."""
        read = json.loads(document)
        return cls(read["reference"], read["request"]["reference"], document.encode())

    def pdf(self) -> bytes:
        """The same certificate to print."""
        return certificate_pdf.render(self.document)


# Built once: every deletion needs them.
_NOW = select(func.now())
_ISSUE = insert(certificate)
_TASKS = (
    select(
        request_task.c.request_id,
        system.c.name,
        system.c.title,
        system.c.kind,
        request_task.c.step,
        request_task.c.status,
        request_task.c.attempt,
        request_task.c.code,
        request_task.c.evidence,
        request_task.c.settled_at,
    )
    .join(system, system.c.id == request_task.c.system_id)
    .where(request_task.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid))))
    .order_by(system.c.position, system.c.name)
)
_OF_REQUEST = select(certificate.c.document).where(certificate.c.request_id == bindparam("request"))


async def issue(tx: Tx, platform: Platform, cases: Mapping[RequestId, tuple[RequestRow, SealedPerson]]) -> None:
    """Sign the certificates of requests and complete them, in one transaction; nothing where somebody did already."""
    moved = await moves.move_many(
        tx, [request for request, _ in cases.values()], RequestStatus.COMPLETED, values={"customer_id": None}
    )
    if not moved:
        return
    now = await tx.scalar(_NOW)
    systems, holds = await _systems(tx, [request.id for request in moved]), await holding.documents(tx, moved)
    unsigned = [
        (new_id(), request, _statement(request, cases[request.id][1], systems[request.id], holds[request.id], now))
        for request in moved
    ]
    events = await audit.record_many(
        tx,
        SYSTEM,
        [
            audit.Happened(
                "certificate.issued",
                None,  # the entry stands in the certificate, where nothing may lead to the person
                "Certificate",
                certificate_id,
                details={
                    "reference": statement["reference"],
                    "sha256": hashlib.sha256(canonical(statement)).hexdigest(),
                },
            )
            for certificate_id, _, statement in unsigned
        ],
    )
    proofs = await sequencer.include(tx, platform, events)
    rows = [
        {
            "id": certificate_id,
            "request_id": request.id,
            "reference": statement["reference"],
            "document": canonical(platform.signer.sign({**statement, "log": proof.document()})).decode(),
            "key_id": platform.signer.key_id,
            "issued_at": now,
        }
        for (certificate_id, request, statement), proof in zip(unsigned, proofs, strict=True)
    ]
    await tx.execute(_ISSUE, rows)
    await checks.wait(tx, [request.id for request in moved])


def _statement(
    request: RequestRow, person: SealedPerson, systems: list[Document], holds: list[Document], now: datetime
) -> Document:
    return {
        "version": VERSION,
        "kind": CERTIFICATE,
        "reference": new_reference("CE"),
        "request": {
            "reference": request.reference,
            "type": request.type.value,
            "requestedAt": iso(request.requested_at),
            "coolingOffUntil": iso(request.cooling_off_until) if request.cooling_off_until else None,
            "completedAt": iso(now),
        },
        "issuedAt": iso(now),
        "subject": _subject(person),
        "systems": systems,
        # legal holds that kept something back for a while, where there were any
        **({"holds": holds} if holds else {}),
        "notScanned": [{"what": what, "why": why} for what, why in NOT_SCANNED],
    }


def _subject(sealed: SealedPerson) -> Document | None:
    known = subjects.canonical_identifier(sealed.person)
    if known is None:
        return None
    digest = subject_hash(subjects.salt_of(sealed.status_key), known.value)
    return {"algorithm": "SHA-256(salt || identifier)", "identifierType": known.type, "hash": digest}


async def _systems(tx: Tx, request_ids: Sequence[UUID]) -> dict[UUID, list[Document]]:
    """Per request and system what was done, verified and stays; codes and counts as the systems gave them."""
    found: dict[UUID, dict[str, dict[TaskStep, Row[Any]]]] = {request_id: {} for request_id in request_ids}
    for row in await tx.all(_TASKS, {"requests": list(request_ids)}):
        found[row.request_id].setdefault(row.name, {})[row.step] = row
    return {request_id: [_system(steps) for steps in by_name.values()] for request_id, by_name in found.items()}


def _system(steps: Mapping[TaskStep, Row[Any]]) -> Document:
    known = next(iter(steps.values()))
    document = {"name": known.name, "title": known.title, "kind": known.kind, "retained": _retained(steps)}
    for step, label in LABELS.items():
        if step in steps:
            document[label] = _outcome(steps[step])
    return document


def _outcome(row: Row[Any]) -> Document:
    evidence = row.evidence or {}
    return {
        "state": row.status.value,
        "code": row.code,
        "at": iso(row.settled_at) if row.settled_at else None,
        "attempts": row.attempt,
        "records": evidence.get("records", {}),
        "evidence": evidence.get("evidence", {}),
        "evidenceSha256": hashlib.sha256(canonical(evidence)).hexdigest(),
    }


def _retained(steps: Mapping[TaskStep, Row[Any]]) -> list[Document]:
    """What stays, as the erasure said it.

    An erasure whose answer was lost with its worker finds nothing when it is asked again, and can not say what it kept
    the first time; then the check's announcement stands for what the erasure left out.
    """
    told = {step: (row.evidence or {}).get("retained", []) for step, row in steps.items()}
    kept: list[Document] = list(told.get(TaskStep.ERASE, []))
    if TaskStep.ERASE in steps and steps[TaskStep.ERASE].attempt > 1:
        said = {one["collection"] for one in kept}
        announced = [one for one in told.get(TaskStep.CHECK, []) if not one["basis"].startswith(BASIS)]
        kept += [one for one in announced if one["collection"] not in said]
    return kept


async def of_request(tx: Tx, request_id: UUID) -> Issued | None:
    """The certificate of a request."""
    document = await tx.scalar(_OF_REQUEST, {"request": request_id})
    return None if document is None else Issued.of(document)


async def find(platform: Platform, reference: str) -> Issued | None:
    """A certificate by its own reference; it holds no personal data, so who knows the reference may have it."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(certificate.c.document).where(certificate.c.reference == reference))
    return None if row is None else Issued.of(row.document)


def verifier() -> bytes:
    """The one file by which anybody checks a certificate without us."""
    return Path(verify_certificate.__file__).read_bytes()


async def publish(platform: Platform, issued: Issued) -> None:
    """Put it into the object store, where it outlives the database, with the program that checks it.

    Doing it again writes the same. The PDF is made from it whenever somebody asks for one.
    """
    await _publish_verifier(platform.blobs)
    await platform.blobs.put(f"certificates/{issued.reference}.json", issued.document)


async def _publish_verifier(blobs: Blobs) -> None:
    """Once a process: it is the same for every certificate of a release."""
    if blobs.url not in _PUBLISHED:
        await blobs.put(f"certificates/{VERIFIER}", verifier())
        _PUBLISHED.add(blobs.url)
