"""Record a deal: seller, acquirer and key, scope, cohorts and fields, the notice; confirm the key; call it off.

A deal is recorded whole. Whoever wants other terms cancels it and records another one, so that nobody approves
something that has changed since. The acquirer's key counts once a second person has compared its fingerprint with what
the acquirer said on another way than the key came by.
Sources: GDPR art. 5(1)(b), 6, 13 and 21; resolution of the German data protection conference, 2024-09-11.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, any_, func, insert, literal, select, update

from cdp.access.transfers import RECEIVE_SCOPE
from cdp.access.viewer import Viewer
from cdp.core import age
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import new_id, new_reference
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.letters import language_of
from cdp.operations.transfers import states
from cdp.operations.transfers.states import OBJECT, SecondPersonNeeded, TransferMoved
from cdp.tables.oauth import oauth_client
from cdp.tables.policy import brand, policy_version, purpose
from cdp.tables.transfer import (
    BouncePolicy,
    CohortBasis,
    CohortRule,
    TransferStatus,
    transfer,
    transfer_cohort,
)

MOST_COHORTS = 20
MOST_FIELDS = 200
LONGEST_WINDOW_DAYS = 365
LONGEST_RETENTION_DAYS = 3650
_PATH = re.compile(r"[a-zA-Z][a-zA-Z0-9]*(\.[a-zA-Z][a-zA-Z0-9]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Refuses what goes to nobody; the edges pass the one that knows the schema.
FieldCheck = Callable[[Sequence[str]], object]


class TransferInvalid(InvalidInput):
    """These terms make no deal: look at the named field."""

    code = "TRANSFER_INVALID"


class FingerprintMismatch(Conflict):
    """This is not the fingerprint of the recorded key; ask the acquirer again, and never by the same way."""

    code = "FINGERPRINT_MISMATCH"


@dataclass(frozen=True)
class Acquirer:
    """Who buys: legal name, jurisdiction, contact, age public key, and the client that pulls and signs."""

    name: str
    jurisdiction: str
    contact: str = field(repr=False)
    key: str
    client_id: str | None = None


@dataclass(frozen=True)
class CohortTerms:
    """Who goes on which basis, with which fields; ``window_days`` where it is not the deal's."""

    name: str
    basis: CohortBasis
    rule: CohortRule
    fields: Sequence[str]
    purpose: str | None = None
    window_days: int | None = None


@dataclass(frozen=True)
class NoticeText:
    """What is written to people in one language.

    ``{link}`` is the page where they see what would go and object; ``{days}`` how long they have after it reached them.
    """

    subject: str
    body: str


@dataclass(frozen=True)
class Paper:
    """A document behind the deal, kept elsewhere and named by its hash."""

    title: str
    sha256: str
    reference: str | None = None


@dataclass(frozen=True)
class Terms:
    """A deal to record; ``reviews`` says of each policy version whether it permits this."""

    name: str
    seller: str
    acquirer: Acquirer
    brand: str
    cohorts: Sequence[CohortTerms]
    reviews: Mapping[str, bool]
    notice_version: str
    notice: Mapping[str, NoticeText]
    window_days: int = 42
    sources: Sequence[str] = ()
    partner_sources: Sequence[str] = ()
    inactive_days: int | None = None
    bounce: BouncePolicy = BouncePolicy.EXCLUDE
    documents: Sequence[Paper] = ()
    retain_days: int | None = None
    """How long the seller keeps what went, for what may come of the handing over; None: as the platform is set."""


@dataclass(frozen=True)
class Recorded:
    """A deal on record, and the fingerprint a second person compares."""

    id: UUID
    reference: str
    fingerprint: str


def fingerprint(key: str) -> str:
    """What people compare: SHA-256 of a public key as written, in groups."""
    digits = hashlib.sha256(key.encode()).hexdigest()
    return " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))


async def create(
    tx: Tx, viewer: Viewer, platform: Platform, terms: Terms, *, check_fields: FieldCheck | None = None
) -> Recorded:
    """Record a deal. Raises MissingScope, TransferRoleNeeded, StepUpRequired, AgeKeyInvalid, TransferInvalid."""
    staff_id = states.require_maker(viewer, platform)
    _check(terms)
    for cohort in terms.cohorts if check_fields else ():
        assert check_fields is not None
        check_fields(cohort.fields)
    key = str(age.public_key(terms.acquirer.key.strip()))
    transfer_id, reference = new_id(), new_reference("TR")
    await tx.execute(
        insert(transfer).values(
            id=transfer_id,
            reference=reference,
            created_by_id=staff_id,
            salt=secrets.token_bytes(16),
            acquirer_key=key,
            key_fingerprint=hashlib.sha256(key.encode()).digest(),
            acquirer_client_id=await _client(tx, terms.acquirer.client_id),
            brand_id=await _brand(tx, terms.brand),
            reviews=await _reviews(tx, terms.reviews),
            retain_days=platform.settings.transfer_retain.days if terms.retain_days is None else terms.retain_days,
            **_written(terms),
        )
    )
    await _write_cohorts(tx, transfer_id, terms)
    await states.note(
        tx,
        viewer,
        "transfer.created",
        transfer_id,
        details={"reference": reference, "keyFingerprint": fingerprint(key), "cohorts": len(terms.cohorts)},
    )
    return Recorded(transfer_id, reference, fingerprint(key))


async def confirm_key(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID, *, given: str) -> None:
    """Confirm, as a second person, the acquirer's key by the fingerprint they gave; before anything is frozen.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, SecondPersonNeeded, FingerprintMismatch, TransferMoved.
    """
    staff_id = states.require_approver(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    states.require_state(
        row, TransferStatus.DRAFT, TransferStatus.CLASSIFIED, TransferStatus.NOTIFYING, TransferStatus.WINDOW
    )
    if row.created_by_id == staff_id:
        raise SecondPersonNeeded
    digits = re.sub(r"[\s:]", "", given).lower()
    if not secrets.compare_digest(digits.encode(), bytes(row.key_fingerprint).hex().encode()):
        code = FingerprintMismatch.code
        await audit.record_refusal(
            platform.db, viewer, "transfer.key_refused", code, object_type=OBJECT, object_id=transfer_id
        )
        raise FingerprintMismatch
    await tx.execute(
        update(transfer)
        .where(transfer.c.id == transfer_id)
        .values(key_confirmed_by_id=staff_id, key_confirmed_at=func.now(), version=transfer.c.version + 1)
    )
    await states.note(tx, viewer, "transfer.key_confirmed", transfer_id, details={"keyFingerprint": digits})


async def name_client(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID, *, client_id: str) -> None:
    """Say, as a second person, which program pulls and signs for the acquirer, first or in place of one that is lost.

    What the former one has signed stays. Raises MissingScope, TransferRoleNeeded, StepUpRequired, SecondPersonNeeded,
    TransferMoved, TransferInvalid for one without a key of its own or the scope.
    """
    staff_id = states.require_approver(viewer, platform)
    row = await states.find(tx, transfer_id, lock=True)
    if row.status is TransferStatus.CANCELLED:
        raise TransferMoved(state=row.status.value)
    if row.created_by_id == staff_id:
        raise SecondPersonNeeded
    named = {"acquirer_client_id": await _client(tx, client_id), "version": transfer.c.version + 1}
    await tx.execute(update(transfer).where(transfer.c.id == transfer_id).values(named))
    await states.note(tx, viewer, "transfer.client_named", transfer_id, details={"client": client_id})


async def cancel(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID, *, reason: str) -> None:
    """Call a deal off before anything was delivered.

    Raises MissingScope, TransferRoleNeeded, StepUpRequired, InvalidText, TransferMoved.
    """
    states.require_maker(viewer, platform)
    written = values.text(reason, "reason", longest=2000, lines=True)
    row = await states.find(tx, transfer_id, lock=True)
    await states.move(tx, row, TransferStatus.CANCELLED, viewer=viewer, wrote={"reason": written})


def _check(terms: Terms) -> None:
    if not 1 <= len(terms.cohorts) <= MOST_COHORTS:
        raise TransferInvalid(field="cohorts")
    names = [cohort.name for cohort in terms.cohorts]
    if len(set(names)) != len(names):
        raise TransferInvalid(field="cohorts.name")
    for cohort in terms.cohorts:
        _check_cohort(cohort)
    if not 0 <= terms.window_days <= LONGEST_WINDOW_DAYS:
        raise TransferInvalid(field="windowDays")
    if terms.retain_days is not None and not 0 <= terms.retain_days <= LONGEST_RETENTION_DAYS:
        raise TransferInvalid(field="retainDays")
    if terms.inactive_days is not None and terms.inactive_days < 1:
        raise TransferInvalid(field="inactiveDays")
    if "en" not in terms.notice or any(language_of(language) != language for language in terms.notice):
        raise TransferInvalid(field="notice")
    if not all("{link}" in text.body for text in terms.notice.values()):
        raise TransferInvalid(field="notice.body")
    if not all(_SHA256.fullmatch(paper.sha256) for paper in terms.documents):
        raise TransferInvalid(field="documents.sha256")


def _check_cohort(cohort: CohortTerms) -> None:
    if not 1 <= len(cohort.fields) <= MOST_FIELDS or not all(_PATH.fullmatch(path) for path in cohort.fields):
        raise TransferInvalid(field="cohorts.fields")
    if cohort.basis is CohortBasis.OPT_IN and cohort.purpose is None:
        raise TransferInvalid(field="cohorts.purpose")
    if cohort.window_days is not None and not 0 <= cohort.window_days <= LONGEST_WINDOW_DAYS:
        raise TransferInvalid(field="cohorts.windowDays")


def _written(terms: Terms) -> dict[str, object]:
    notice = {
        language: {
            "subject": values.text(text.subject, "notice.subject", longest=300),
            "body": values.text(text.body, "notice.body", longest=20_000, lines=True) + "\n",
        }
        for language, text in terms.notice.items()
    }
    hashed = hashlib.sha256(json.dumps(notice, sort_keys=True, ensure_ascii=False).encode()).digest()
    return {
        "name": values.text(terms.name, "name", longest=200),
        "seller": values.text(terms.seller, "seller", longest=200),
        "acquirer_name": values.text(terms.acquirer.name, "acquirer.name", longest=200),
        "acquirer_jurisdiction": values.text(terms.acquirer.jurisdiction, "acquirer.jurisdiction", longest=100),
        "acquirer_contact": values.email(terms.acquirer.contact).address,
        "sources": [values.text(one, "sources", longest=200) for one in terms.sources],
        "partner_sources": [values.text(one, "partnerSources", longest=200) for one in terms.partner_sources],
        "documents": [
            {"title": values.text(one.title, "documents.title", longest=200), "sha256": one.sha256}
            | ({"reference": values.text(one.reference, "documents.reference", longest=200)} if one.reference else {})
            for one in terms.documents
        ],
        "inactive_days": terms.inactive_days,
        "window_days": terms.window_days,
        "bounce": terms.bounce,
        "notice_version": values.text(terms.notice_version, "noticeVersion", longest=40),
        "notice": notice,
        "notice_sha256": hashed,
    }


async def _write_cohorts(tx: Tx, transfer_id: UUID, terms: Terms) -> None:
    known = {row.code for row in await tx.all(select(purpose.c.code))}
    if any(cohort.purpose is not None and cohort.purpose not in known for cohort in terms.cohorts):
        raise TransferInvalid(field="cohorts.purpose")
    rows = [
        {
            "id": new_id(),
            "transfer_id": transfer_id,
            "ordinal": ordinal,
            "name": values.text(cohort.name, "cohorts.name", longest=60),
            "basis": cohort.basis,
            "rule": cohort.rule,
            "purpose": cohort.purpose,
            "fields": sorted(set(cohort.fields)),
            "window_days": terms.window_days if cohort.window_days is None else cohort.window_days,
        }
        for ordinal, cohort in enumerate(terms.cohorts, 1)
    ]
    await tx.execute(insert(transfer_cohort), rows)


async def _client(tx: Tx, client_id: str | None) -> UUID | None:
    if client_id is None:
        return None
    known = select(oauth_client.c.id).where(
        oauth_client.c.client_id == client_id,
        oauth_client.c.revoked_at.is_(None),
        oauth_client.c.jwks.is_not(None),
        literal(RECEIVE_SCOPE) == any_(oauth_client.c.scopes),
    )
    found: UUID | None = await tx.scalar(known)
    if found is None:
        raise TransferInvalid(field="acquirer.clientId")
    return found


async def _brand(tx: Tx, code: str) -> UUID:
    found: UUID | None = await tx.scalar(select(brand.c.id).where(brand.c.code == code))
    if found is None:
        raise TransferInvalid(field="brand")
    return found


async def _reviews(tx: Tx, reviews: Mapping[str, bool]) -> dict[str, bool]:
    known: Sequence[Row[Any]] = await tx.all(select(policy_version.c.version))
    if strange := set(reviews) - {row.version for row in known}:
        raise TransferInvalid(field="reviews", versions=sorted(strange))
    return dict(reviews)
