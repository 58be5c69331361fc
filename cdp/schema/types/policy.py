"""Brands, purposes, policy versions, and the provenance of every value ("why do you have this?")."""

from datetime import datetime

import strawberry

from cdp.schema.fields import column, mapped, one
from cdp.schema.types.relay import Node
from cdp.tables import policy
from cdp.tables.policy import AcceptanceDecision, CollectionPoint, LegalBasis

strawberry.enum(CollectionPoint, description="Where personal data entered.")
strawberry.enum(LegalBasis, description="Legal basis of processing (GDPR art. 6(1)).")
strawberry.enum(AcceptanceDecision, description="Answer to a policy version.")


@mapped(policy.brand, description="A brand under which customers are served.")
class Brand(Node):
    """A brand."""

    code: str = column(description="Short name used by systems.")
    name: str = column(description="Name shown to people.")


@mapped(policy.purpose, description="A purpose for which personal data is processed, and its legal basis.")
class Purpose:
    """A purpose."""

    code: str = column(description="Stable code of the purpose.")
    title: str = column(description="Name shown to people.")
    description: str = column(description="What is done, in plain words.")
    legal_basis: LegalBasis = column(description="Why it is lawful.")
    needs_consent: bool = column(description="Whether it happens only with your consent.")


@mapped(policy.policy_version, description="One version of the privacy policy.")
class PolicyVersion(Node):
    """A policy version."""

    version: str = column(description="Its version name.")
    title: str = column(description="Its title.")
    body: str = column(description="Its full text.")
    effective_from: datetime = column(description="From when it holds.")


@mapped(
    policy.collection, subject="customer_id", description="Where, when and under which policy a value was collected."
)
class Collection:
    """Provenance."""

    point: CollectionPoint = column(description="The collection point.")
    source: str = column(description="The form, file or system it came from.")
    collected_at: datetime = column(description="When it was collected.")
    policy_version: PolicyVersion | None = one({"policy_version_id": "id"}, description="The policy that held then.")
    brand: Brand | None = one({"brand_id": "id"}, description="The brand that collected it.")


COLLECTED = "Where this value came from."


@mapped(policy.policy_acceptance, subject="customer_id", description="An answer to a version of the privacy policy.")
class PolicyAcceptance(Node):
    """What a customer answered to a policy version; silence is no answer."""

    decision: AcceptanceDecision = column(description="Accepted or declined.")
    decided_at: datetime = column(description="When.")
    policy_version: PolicyVersion | None = one({"policy_version_id": "id"}, description="The version answered to.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)
