"""Rows everything else points at: the main brand, the purposes of the privacy policy, its published versions.

They are part of the product, so they come with the code and not with a migration; writing them twice changes nothing.
Purposes are promise P6 of the policy, plus the two a platform can not do without: what the law demands of it
(``privacy_requests``) and what it must say about an account (``account_notices``, promise P11).
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, true
from sqlalchemy.dialects.postgresql import insert

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.operations.systems import ensure_own
from cdp.tables.policy import LegalBasis, brand, policy_version, purpose

MAIN_BRAND = "main"
FIRST_POLICY = "2026-01"


class Purpose(StrEnum):
    """Codes of ``purpose``: why personal data is processed."""

    ORDERS = "orders"
    INFORMATION = "information"
    QUESTIONS = "questions"
    PROMOTIONS = "promotions"
    PRODUCTS = "products"
    INDIVIDUAL_SERVICE = "individual_service"
    PREFERENCES = "preferences"
    SITE_IMPROVEMENT = "site_improvement"
    ACCOUNT_NOTICES = "account_notices"
    PRIVACY_REQUESTS = "privacy_requests"


@dataclass(frozen=True)
class PurposeText:
    """One purpose as people read it."""

    code: Purpose
    title: str
    description: str
    basis: LegalBasis

    @property
    def needs_consent(self) -> bool:
        """Whether nothing happens under it until the customer agreed."""
        return self.basis is LegalBasis.CONSENT


PURPOSES = (
    PurposeText(
        Purpose.ORDERS,
        "Processing orders and requests",
        "To take your orders and requests, deliver, invoice and answer for them.",
        LegalBasis.CONTRACT,
    ),
    PurposeText(
        Purpose.INFORMATION,
        "Sending relevant information",
        "To send you information about products, our policy and events.",
        LegalBasis.CONSENT,
    ),
    PurposeText(
        Purpose.QUESTIONS,
        "Answering questions",
        "To answer what you ask us.",
        LegalBasis.LEGITIMATE_INTEREST,
    ),
    PurposeText(
        Purpose.PROMOTIONS,
        "Personalised promotions",
        "To send you offers chosen by what you looked at and bought.",
        LegalBasis.CONSENT,
    ),
    PurposeText(
        Purpose.PRODUCTS,
        "Providing products and services",
        "To give you the products and services you asked for.",
        LegalBasis.CONTRACT,
    ),
    PurposeText(
        Purpose.INDIVIDUAL_SERVICE,
        "Individual service",
        "To let our customer service help you with your own case.",
        LegalBasis.LEGITIMATE_INTEREST,
    ),
    PurposeText(
        Purpose.PREFERENCES,
        "Remembering preferences",
        "To remember your language and the other choices you made.",
        LegalBasis.LEGITIMATE_INTEREST,
    ),
    PurposeText(
        Purpose.SITE_IMPROVEMENT,
        "Improving the site",
        "To learn from how pages are used and make them better.",
        LegalBasis.CONSENT,
    ),
    PurposeText(
        Purpose.ACCOUNT_NOTICES,
        "Notices about your account",
        "To tell you about your registration, your sign-ins and changes of your account.",
        LegalBasis.CONTRACT,
    ),
    PurposeText(
        Purpose.PRIVACY_REQUESTS,
        "Answering privacy requests",
        "To fulfil your rights: access, correction, deletion and proof of it.",
        LegalBasis.LEGAL_OBLIGATION,
    ),
)

POLICY_TITLE = "Privacy policy"
POLICY_BODY = """\
What we collect. Personal data: first and last name, username and password, e-mail, phone, street address, country.
Other data: device, IP address, pages you view and how long, exit URL, preferred language, location, a cookie id.

When we collect it. When you register an account, ask for a product, a service or information, or answer a survey.
Some features need no full information; we say what is missing and why.

What we use it for. Processing orders and requests; sending you relevant information about products, this policy and
events; answering questions; personalised promotions; providing products and services; individual service; remembering
preferences; improving the site. We do not contact you without permission, except as said here or about your account.

Who receives it. Partners, only as far as their work for you needs it: promotional material, e-mail, data management,
payment, customer service. Nobody else without your prior consent or a legal order. If a substantial part of the
business is sold, customer information may be among the assets; you are told before and may object.

How we keep it. Over encrypted connections, on secured servers; paper in our offices, destroyed when no longer needed.

Your rights. See your data, correct it, take it with you, choose your consents, and have it deleted. All of it works on
your account page, without asking anybody. When this policy changes, we announce it; your silence is never consent.
"""


@dataclass(frozen=True)
class Reference:
    """Ids every collection row needs."""

    brand_id: UUID
    policy_version_id: UUID
    policy_version: str


async def ensure_reference(tx: Tx) -> None:
    """Write the rows that are missing; runs as the worker role at every start and before an import."""
    await tx.execute(
        insert(brand).values(id=new_id(), code=MAIN_BRAND, name="Main brand").on_conflict_do_nothing(),
    )
    rows = [
        {
            "code": text.code.value,
            "title": text.title,
            "description": text.description,
            "legal_basis": text.basis,
            "needs_consent": text.needs_consent,
        }
        for text in PURPOSES
    ]
    await tx.execute(insert(purpose).values(rows).on_conflict_do_nothing())
    await tx.execute(
        insert(policy_version)
        .values(
            id=new_id(),
            version=FIRST_POLICY,
            title=POLICY_TITLE,
            body=POLICY_BODY,
            body_sha256=hashlib.sha256(POLICY_BODY.encode()).digest(),
            effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        )
        .on_conflict_do_nothing()
    )
    await ensure_own(tx)


async def current(tx: Tx, now: datetime, *, brand_code: str = MAIN_BRAND) -> Reference:
    """The brand and the policy version in force at ``now``: what a new collection row refers to."""
    row = (
        await tx.execute(
            select(brand.c.id.label("brand_id"), policy_version.c.id, policy_version.c.version)
            .select_from(brand.join(policy_version, true()))
            .where(brand.c.code == brand_code, policy_version.c.effective_from <= now)
            .order_by(policy_version.c.effective_from.desc(), policy_version.c.id.desc())
            .limit(1)
        )
    ).one()
    return Reference(row.brand_id, row.id, row.version)
