"""The catalogue of access rules: which kind of viewer sees which field, which rows, and what is masked.

Unlisted means denied, for fields and rows alike; filters and orderings are covered by the fields they disclose.
Customers see themselves alone. Staff see customers by scope and role; contact details are masked for everybody but
privacy officers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, literal_column, or_, select

from cdp.access import masks
from cdp.access.decision import Columns, Everything, Mask, Own, RowRule, Rows, Rule, Rules, Who
from cdp.access.sharing import MANAGE_SCOPE, MANAGERS
from cdp.access.transfers import READ_SCOPE, READERS
from cdp.access.viewer import Actor
from cdp.tables.base import Category
from cdp.tables.canary import CHANNEL
from cdp.tables.customer import customer
from cdp.tables.merge import MergeStatus, customer_merge
from cdp.tables.request import RequestStatus, privacy_request
from cdp.tables.transfer import transfer_customer

Fields = Mapping[str, str]
"""Type name to its fields, separated by blanks."""

OPEN: Fields = {
    "Query": "viewer policies purposes brands",
    "Viewer": "kind scopes roles",
    "Brand": "id code name",
    "PolicyVersion": "id version title body effectiveFrom",
    "Purpose": "code title description legalBasis needsConsent",
}
PROFILE: Fields = {
    "Customer": (
        "kind displayName givenName familyName organisationName country locale status version createdAt updatedAt brand"
        " collection account contacts identities preferences currentConsents consents orders inquiries quotations"
        " surveyResponses devices events sessions passkeys messages policyAcceptances"
    ),
    "Account": "id username status lastSignInAt createdAt version collection maskedFields",
    "Contacts": "emails phones addresses",
    "EmailAddress": "id address verifiedAt isVerified isPrimary version createdAt collection maskedFields",
    "PhoneNumber": "id number e164 kind verifiedAt isVerified isPrimary version createdAt collection maskedFields",
    "PostalAddress": (
        "id kind recipient line1 line2 city region postalCode country verifiedAt isPrimary version createdAt"
        " collection maskedFields"
    ),
    "Identity": "id type issuer value verifiedAt collection maskedFields",
    "Preference": "id key value version updatedAt collection",
    "Consent": "id purposeCode purpose channel action wording recordedAt collection",
    "Order": (
        "id number kind status placedAt confirmedAt currency total purchaseOrderNumber billingName billingLine1"
        " billingCity billingRegion billingPostalCode billingCountry items collection maskedFields"
    ),
    "OrderItem": "id position sku title quantity unitPrice total",
    "Inquiry": "id kind status subject body receivedAt answeredAt collection",
    "Quotation": ("id number status currency total leadTimeDays requestedAt respondBy validUntil inquiry collection"),
    "SurveyResponse": "id survey answers submittedAt collection",
    "Device": "id kind operatingSystem browser language cookieId firstSeenAt lastSeenAt collection",
    "Event": "id type name page exitUrl timeOnPageMs ipAddress properties occurredAt device collection",
    "Session": "id authenticatedAt lastSeenAt expiresAt revokedAt ipAddress userAgent createdAt",
    "Passkey": "id name createdAt usedAt",
    "Message": "id purpose template recipient subject status createdAt sentAt maskedFields",
    "PolicyAcceptance": "id decision decidedAt policyVersion collection",
    "Collection": "point source collectedAt policyVersion brand",
}
PRIVACY: Fields = {
    "Query": "privacyRequest privacyRequests",
    "Customer": "requests exports",
    "PrivacyRequest": (
        "id reference type status isSettled isOverdue channel reason refusalReason extensionReason pauseReason"
        " joined version requestedAt dueAt extendedAt coolingOffUntil settledAt updatedAt tasks evidence corrections"
        " objections export certificate customer"
    ),
    "Correction": "id objectType field oldValue newValue askedAt appliedAt",
    "Objection": "id purposeCode status objectedAt decidedAt",
    "Evidence": "id kind note representativeName representativeBasis fileName recordedAt",
    "RequestTask": "id system step status attempt code evidence nextRunAt startedAt settledAt",
    "Export": ("id reference status sizeBytes sha256 files missing choices downloadCount createdAt readyAt expiresAt"),
    "Certificate": "id reference document keyId issuedAt addendum",
    "CertificateAddendum": "id reference document keyId issuedAt",
    "System": "id name title kind",
}
OWN_ACCESS: Fields = {
    "Customer": "externalIdentities authenticators recoveryCodes authorizations",
    "ExternalIdentity": "id issuer subject createdAt lastSignInAt",
    "Authenticator": "id createdAt usedAt",
    "RecoveryCode": "id createdAt usedAt",
    "Application": "name",
    "Authorization": (
        "id application scope authorizationDetails authenticatedAt createdAt revokedAt reason caseReference tokens"
    ),
    "AuthorizationToken": "id scope authenticatedAt issuedAt expiresAt",
    "Message": "body",
}
"""What is the customer's alone to take away: how they get in, whom they let in, and the text of letters to them."""
SHARED: Fields = {
    "Customer": "disclosures sharedLinks",
    "Disclosure": "id recipient purpose legalBasis fields disclosedAt customerId",
    "SharedLink": "id recipient purpose areas isLive useCount createdAt expiresAt lastUsedAt revokedAt",
}
"""To whom a customer's data went: theirs to know, and to know for whoever answers them."""
PARTNERS: Fields = {
    "Query": "partners disclosures partnerOffers legalOrders",
    "Disclosure": SHARED["Disclosure"],
    "Partner": "id code name contact createdAt grants recalls",
    "PartnerGrant": (
        "id function purposes fields actions legalBasis countries retentionDays contractReference status validFrom"
        " validUntil proposedAt endorsedAt approvedAt endedAt endReason proposedById endorsedById approvedById"
    ),
    "PartnerRecall": "id reason status isOverdue createdAt dueAt acknowledgedAt note",
    "PartnerOffer": "id purpose subject body status sentCount withheldCount createdAt decidedAt completedAt",
    "LegalOrder": (
        "id authority caseRef law fields status silentUntil reason fileName proposedAt approvedAt disclosedAt toldAt"
        " proposedById customer"
    ),
}
TOLD_TRANSFERS: Fields = {
    "Customer": "transfers",
    "CustomerTransfer": (
        "id transfer cohort notice notifiedAt deadline objectedAt objectionChannel transferredAt receipt receivedAt"
        " stoppedAt removedAt"
    ),
    "Transfer": (
        "id reference name status seller acquirerName acquirerJurisdiction acquirerContact brand noticeVersion"
        " retainDays createdAt notifiedAt frozenAt completedAt endedAt"
    ),
    "TransferCohort": "id name basis fields windowDays",
}
"""What customers learn of a sale: who, when, which fields, on what ground; theirs to know, and whoever answers them."""
TRANSFERS: Fields = {
    "Query": "transfer transfers",
    "Transfer": (
        f"{TOLD_TRANSFERS['Transfer']} acquirerKey keyFingerprint keyConfirmedAt sources partnerSources reviews"
        " documents inactiveDays bounce counts frozenSha256 createdById reason errorCode version"
        " classifiedAt approvedAt cohorts approvals"
    ),
    "TransferCohort": f"{TOLD_TRANSFERS['TransferCohort']} rule purposeCode",
    "TransferApproval": "id staffId sha256 approvedAt",
}
PEOPLES_WORK: Fields = {
    "Query": "manualTasks paperRecords",
    "ManualTask": (
        "id system request step status isOverdue outcome records code note fileName sha256 reportedById createdAt"
        " dueAt reportedAt settledAt"
    ),
    "PaperRecord": "office location isOverdue method fileName destroyedById dueAt reportedAt customer",
}
HOLDS: Fields = {
    "Customer": "holds paperRecords",
    "PaperRecord": "id reference category description status retainUntil filedAt destroyedAt",
    "LegalHold": "id category status isEffective notice placedAt until endedAt",
}
"""What customers see of holds on their records: that something is kept and since when, and why unless it is secret."""
MERGES: Fields = {
    "Customer": "merges",
    "CustomerMerge": "id status mergedId reason caseRef undoReason counts version proposedAt mergedAt undoneAt",
}
MERGE_CASES: Fields = {
    "CustomerMerge": "proposedById mergedById undoneById",
}
MERGED_ASIDE: Fields = {
    "CustomerMerge": "putAside",
    "MergedRecord": "id kind values",
}
"""What was put aside is clear text of every kind: for the person themselves, and for who sees nothing masked."""
HOLD_CASES: Fields = {
    "Query": "legalHolds",
    "LegalHold": (
        "reason isSecret caseRef releaseReason fileName placedById releaseAskedById approvedAt reviewAt customer"
    ),
}
WORK: Fields = {
    "RequestTask": "evidence",
    "PrivacyRequest": "openedById assigneeId residual",
    "ResidualCheck": "id status checkedAt findings",
    "ResidualFinding": "id tableName columnName identifierType rows",
}
SYSTEMS: Fields = {
    "Query": "systems canaryRuns",
    "CanaryRun": "id status code startedAt finishedAt",
    "System": "id name title kind position enabled createdAt lastOkAt",
}
SELF: Fields = {"Query": "node nodes", "Viewer": "customer", "Customer": "id maskedFields"}
CUSTOMERS: Fields = {"Query": "customer customers", "Customer": "id maskedFields"}
MASKED: Mapping[str, Mapping[str, Mask]] = {
    "Account": {"username": Mask(masks.email, Category.ACCOUNT)},
    "EmailAddress": {"address": Mask(masks.email, Category.CONTACT)},
    "PhoneNumber": {
        "number": Mask(masks.phone, Category.CONTACT),
        "e164": Mask(masks.phone, Category.CONTACT),
    },
    "PostalAddress": {
        "recipient": Mask(masks.text, Category.CONTACT),
        "line1": Mask(masks.text, Category.CONTACT),
        "line2": Mask(masks.text, Category.CONTACT),
        "postalCode": Mask(masks.text, Category.CONTACT),
    },
    "Identity": {"value": Mask(masks.text, Category.IDENTITY)},
    "Order": {
        "billingName": Mask(masks.text, Category.ORDER),
        "billingLine1": Mask(masks.text, Category.ORDER),
        "billingPostalCode": Mask(masks.text, Category.ORDER),
    },
    "Message": {"recipient": Mask(masks.email, Category.MESSAGE)},
}
"""What agents see veiled. The fields of one type share one category, so that a reveal lifts all of them or none."""
REVEALABLE = frozenset(
    mask.category for fields in MASKED.values() for mask in fields.values() if mask.category is not None
)
PLATFORMS = (
    "AuditEvent",
    "BulkExport",
    "BulkPart",
    "CanaryRun",
    "Certificate",
    "CertificateAddendum",
    "Partner",
    "PartnerGrant",
    "PartnerOffer",
    "PartnerRecall",
    "ResidualCheck",
    "ResidualFinding",
    "System",
    "Transfer",
    "TransferApproval",
    "TransferCohort",
)
NOBODYS = ("Application", "Brand", "PolicyVersion", "Purpose")
SUBJECT: Mapping[str, str] = {
    "Customer": "id",
    "Account": "customer_id",
    "EmailAddress": "customer_id",
    "PhoneNumber": "customer_id",
    "PostalAddress": "customer_id",
    "Identity": "customer_id",
    "Preference": "customer_id",
    "Consent": "customer_id",
    "Order": "customer_id",
    "OrderItem": "customer_id",
    "Inquiry": "customer_id",
    "Quotation": "customer_id",
    "SurveyResponse": "customer_id",
    "Device": "customer_id",
    "Event": "customer_id",
    "Session": "customer_id",
    "Passkey": "customer_id",
    "ExternalIdentity": "customer_id",
    "Authenticator": "customer_id",
    "RecoveryCode": "customer_id",
    "Authorization": "customer_id",
    "AuthorizationToken": "customer_id",
    "Message": "customer_id",
    "PolicyAcceptance": "customer_id",
    "Collection": "customer_id",
    "PrivacyRequest": "customer_id",
    "RequestTask": "customer_id",
    "Evidence": "customer_id",
    "Correction": "customer_id",
    "Objection": "customer_id",
    "Export": "customer_id",
    "LegalHold": "customer_id",
    "CustomerMerge": "customer_id",
    "MergedRecord": "customer_id",
    "ManualTask": "customer_id",
    "PaperRecord": "customer_id",
    "Disclosure": "customer_id",
    "SharedLink": "customer_id",
    "LegalOrder": "customer_id",
    "CustomerTransfer": "customer_id",
}
BULK: Fields = {
    "Query": "bulkExport bulkExports",
    "BulkExport": (
        "id reference status errorCode purpose query requestedById format compression personal incremental version"
        " partCount partsDone selectedCount objectCount excluded fileSize checksum url snapshotAt createdAt approvedAt"
        " completedAt expiresAt parts"
    ),
    "BulkPart": "id ordinal kind status attempt objectCount fileSize checksum errorCode startedAt completedAt",
}
OWN_AUDIT: Fields = {
    "Customer": "auditEvents",
    "CustomerMerge": "log",
    "AuditEvent": "id occurredAt action outcome code actorKind objectType fields purpose note",
}
"""What customers see of the log: what was done with their data and why, not which colleague of ours did it."""
AUDIT: Fields = {
    "Query": "auditEvents",
    "Customer": "auditEvents",
    "CustomerMerge": "log",
    "AuditEvent": (
        "id occurredAt action outcome code actorKind actorRef actorName client subjectRef objectType objectId fields"
        " purpose note details request position leafHash"
    ),
}
# What agents see of a customer who restricted processing: what the customer asks of us, and nothing else.
CASEWORK = frozenset({"PrivacyRequest", "RequestTask", "Evidence", "Correction", "Objection", "Export"})
VEILED = frozenset({"agent", "supervisor"})
UNVEILED = frozenset({"privacy_officer"})
WORKERS = VEILED | UNVEILED
ADMINISTRATORS = UNVEILED | {"administrator"}


@dataclass(frozen=True)
class OwnRequests:
    """Rows that belong to a request of the viewer's own."""

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool]:
        """Look the request up."""
        own = select(privacy_request.c.id).where(privacy_request.c.customer_id == subject)
        return row["request_id"].in_(own)


@dataclass(frozen=True)
class OwnEvents:
    """Entries of the audit log that are about the viewer, or about a record that was merged into theirs."""

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool]:
        """Compare the pseudonyms."""
        standing: ColumnElement[bool] = literal_column(f"customer_merge.status = '{MergeStatus.MERGED.value}'", Boolean)
        own = select(customer.c.audit_ref).where(customer.c.id == subject)
        merged = select(customer_merge.c.merged_ref).where(customer_merge.c.customer_id == subject, standing)
        return row["subject_ref"].in_(own.union_all(merged))


@dataclass(frozen=True)
class OwnDeals:
    """Asset transfers, or their cohorts, that the viewer is part of."""

    column: str
    names: str

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool]:
        """Look the viewer's part up."""
        named = transfer_customer.c[self.names]
        return row[self.column].in_(select(named).where(transfer_customer.c.customer_id == subject))


@dataclass(frozen=True)
class Unrestricted:
    """Rows of customers who did not restrict processing (GDPR art. 18), by the column that names the customer.

    Whoever works on an open request of a restricted customer sees them for that.
    """

    column: str

    def __call__(self, row: Columns, viewer_id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Look the mark up, and the request that the viewer was assigned to."""
        whose = row[self.column]
        restricted = select(customer.c.id).where(customer.c.id == whose, customer.c.restricted_at.is_not(None))
        working = select(privacy_request.c.id).where(
            privacy_request.c.customer_id == whose,
            privacy_request.c.assignee_id == viewer_id,
            privacy_request.c.settled_at.is_(None),
        )
        return or_(~restricted.exists(), working.exists())


@dataclass(frozen=True)
class OfPeople:
    """Requests of people; those of the canary only where somebody has to look at them."""

    def __call__(self, row: Columns, viewer_id: ColumnElement[Any]) -> ColumnElement[bool]:  # noqa: ARG002 - one form
        """Compare the channel."""
        stuck = literal_column(f"'{RequestStatus.NEEDS_ATTENTION.value}'", Text)
        return or_(row["channel"] != literal_column(f"'{CHANNEL}'", Text), row["status"] == stuck)


def _rules(who: Who, *catalogues: Fields) -> Iterator[Rule]:
    for fields in catalogues:
        for type_name, names in fields.items():
            yield Rule(who, type_name, frozenset(names.split()))


def _masked(who: Who) -> Iterator[Rule]:
    for type_name, fields in MASKED.items():
        for name, mask in fields.items():
            yield Rule(who, type_name, frozenset({name}), mask)


def _fields() -> Iterator[Rule]:
    for actor in Actor:
        yield from _rules(Who(actor), OPEN)
    yield from _rules(Who(Actor.CUSTOMER), SELF)
    # Customers have no roles: this is for staff who act for one, and see no more of them than they do otherwise.
    yield from _masked(Who(Actor.CUSTOMER, VEILED, "profile:read"))
    yield from _rules(Who(Actor.CUSTOMER, scope="profile:read"), PROFILE)
    yield from _rules(Who(Actor.CUSTOMER, scope="privacy:read"), PRIVACY, HOLDS, SHARED, TOLD_TRANSFERS, OWN_AUDIT)
    yield from _rules(Who(Actor.CUSTOMER, scope="privacy:read"), MERGES)
    yield from _rules(Who(Actor.CUSTOMER, scope="privacy:export"), OWN_ACCESS, MERGED_ASIDE)
    yield from _rules(Who(Actor.STAFF), {"Query": "node nodes"})
    yield from _masked(Who(Actor.STAFF, VEILED, "customers:read"))
    yield from _rules(Who(Actor.STAFF, WORKERS, "customers:read"), CUSTOMERS, PROFILE)
    yield from _rules(Who(Actor.STAFF, WORKERS, "customers:read"), MERGES, MERGE_CASES)
    yield from _rules(Who(Actor.STAFF, UNVEILED, "customers:read"), MERGED_ASIDE)
    cases = (PRIVACY, WORK, HOLDS, SHARED, TOLD_TRANSFERS, PEOPLES_WORK)
    yield from _rules(Who(Actor.STAFF, WORKERS, "requests:work"), *cases)
    yield from _rules(Who(Actor.STAFF, MANAGERS, MANAGE_SCOPE), PARTNERS)
    yield from _rules(Who(Actor.STAFF, READERS, READ_SCOPE), TRANSFERS)
    yield from _rules(Who(Actor.STAFF, WORKERS, "holds:manage"), HOLD_CASES)
    yield from _rules(Who(Actor.STAFF, ADMINISTRATORS, "systems:read"), SYSTEMS)
    yield from _rules(Who(Actor.STAFF, ADMINISTRATORS, "audit:read"), AUDIT)
    yield from _rules(Who(Actor.STAFF, frozenset({"analyst"}), "bulk:export"), BULK)
    yield from _rules(Who(Actor.STAFF, UNVEILED, "bulk:approve"), BULK)
    work = (WORK, HOLDS, HOLD_CASES, PEOPLES_WORK, SHARED, TOLD_TRANSFERS, TRANSFERS, PARTNERS)
    merges = (MERGES, MERGE_CASES, MERGED_ASIDE)
    everything = (CUSTOMERS, PROFILE, PRIVACY, *work, *merges, SYSTEMS, AUDIT, BULK)
    yield from _rules(Who(Actor.SYSTEM), {"Query": "node nodes"}, *everything)


def _rows() -> Iterator[RowRule]:
    everything: Rows = Everything()
    for actor in Actor:
        for type_name in NOBODYS:
            yield RowRule(actor, type_name, everything)
    for type_name, column in SUBJECT.items():
        yield RowRule(Actor.CUSTOMER, type_name, Own(column))
    yield RowRule(Actor.CUSTOMER, "Certificate", OwnRequests())
    yield RowRule(Actor.CUSTOMER, "CertificateAddendum", OwnRequests())
    yield RowRule(Actor.CUSTOMER, "AuditEvent", OwnEvents())
    yield RowRule(Actor.CUSTOMER, "Transfer", OwnDeals("id", "transfer_id"))
    yield RowRule(Actor.CUSTOMER, "TransferCohort", OwnDeals("id", "cohort_id"))
    yield RowRule(Actor.CUSTOMER, "System", everything)
    for type_name, column in SUBJECT.items():
        if type_name == "PrivacyRequest":
            yield RowRule(Actor.STAFF, type_name, OfPeople())
        else:
            yield RowRule(Actor.STAFF, type_name, everything if type_name in CASEWORK else Unrestricted(column))
        yield RowRule(Actor.SYSTEM, type_name, everything)
    for actor in (Actor.STAFF, Actor.SYSTEM):
        for type_name in PLATFORMS:
            yield RowRule(actor, type_name, everything)


RULES = Rules(_fields(), _rows())
