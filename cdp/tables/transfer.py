"""Asset transfers: the deal, its cohorts, who approved it, and what became of every customer in its scope.

    draft -> classified -> notifying -> window -> frozen -> approved -> packaging -> delivering -> completed
    classified -> draft       (its terms change)
    frozen, approved -> window (what was frozen is no longer so: it is frozen and approved again)
    delivering, completed -> recalled (the deal broke: the acquirer destroys what they have)
    up to packaging -> cancelled

Every customer in scope has one row in ``transfer_customer``: in a cohort, or excluded for one reason, so that selected
is included plus excluded to the last person. Its id is the name under which the acquirer knows the person: derived from
the deal's salt and ``subject_ref``, the same however often the deal is classified, another one in every deal, and it
outlives the person, who may be erased here and has to be erased there too (GDPR art. 19).
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cdp.tables.base import (
    Category,
    Erase,
    enum_type,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    structural,
    timestamp,
)

PROOF_LAW = "Accountability and telling recipients of erasures: GDPR art. 5(2), art. 19"
_KEPT = personal(Category.REQUEST, erase=Erase.KEEP, basis=PROOF_LAW)
# Why somebody does not go can be a secret, as a hold can be.
_SECRET = personal(Category.REQUEST, erase=Erase.KEEP, export=False, basis=PROOF_LAW)


class TransferStatus(StrEnum):
    """Where a deal stands; see TRANSFER_TRANSITIONS."""

    DRAFT = "draft"
    CLASSIFIED = "classified"
    NOTIFYING = "notifying"
    WINDOW = "window"
    FROZEN = "frozen"
    APPROVED = "approved"
    PACKAGING = "packaging"
    DELIVERING = "delivering"
    COMPLETED = "completed"
    RECALLED = "recalled"
    CANCELLED = "cancelled"


S = TransferStatus
TRANSFER_TRANSITIONS: Mapping[TransferStatus, frozenset[TransferStatus]] = {
    S.DRAFT: frozenset({S.CLASSIFIED, S.CANCELLED}),
    S.CLASSIFIED: frozenset({S.CLASSIFIED, S.DRAFT, S.NOTIFYING, S.CANCELLED}),
    S.NOTIFYING: frozenset({S.WINDOW, S.CANCELLED}),
    S.WINDOW: frozenset({S.FROZEN, S.CANCELLED}),
    S.FROZEN: frozenset({S.APPROVED, S.WINDOW, S.CANCELLED}),
    S.APPROVED: frozenset({S.PACKAGING, S.WINDOW, S.CANCELLED}),
    S.PACKAGING: frozenset({S.DELIVERING, S.CANCELLED}),
    S.DELIVERING: frozenset({S.COMPLETED, S.RECALLED}),
    S.COMPLETED: frozenset({S.RECALLED}),
    S.RECALLED: frozenset(),
    S.CANCELLED: frozenset(),
}
# Nothing has reached the acquirer: whoever objects, bounces or is erased leaves the deal without a trace there.
BEFORE_FREEZE = frozenset({S.DRAFT, S.CLASSIFIED, S.NOTIFYING, S.WINDOW})
# What customers are told of, as database policies say it too.
TOLD = frozenset(S) - {S.DRAFT, S.CLASSIFIED}


class CohortBasis(StrEnum):
    """On what ground a cohort's customers go to the acquirer."""

    CONTRACT_ASSUMPTION = "contract_assumption"  # the acquirer takes over a running contract
    OPT_OUT = "opt_out"  # legitimate interest: told, and free to object
    OPT_IN = "opt_in"  # only who consented
    ARCHIVE_ONLY = "archive_only"  # kept for the law's sake, used for nothing


class CohortRule(StrEnum):
    """Which customers a cohort is for; the first cohort that fits takes them."""

    RUNNING_CONTRACT = "running_contract"
    PROSPECT = "prospect"
    ENDED_CONTRACT = "ended_contract"
    EVERYBODY = "everybody"


class ExclusionReason(StrEnum):
    """Why somebody in scope does not go, in this order: the first that applies is the one."""

    NOT_IN_BRAND = "not_in_brand"
    ERASURE = "erasure"
    SUPPRESSED = "suppressed"
    RESTRICTED = "restricted"
    HELD = "held"
    MINOR = "minor"
    PARTNER_OWNED = "partner_owned"
    ALREADY_SOLD = "already_sold"
    UNRESOLVED_MERGE = "unresolved_merge"
    OBJECTED = "objected"
    POLICY_FORBIDS = "policy_forbids"
    NO_BASIS = "no_basis"
    NO_CONSENT = "no_consent"
    INACTIVE = "inactive"
    UNDELIVERABLE_NOTICE = "undeliverable_notice"


class BouncePolicy(StrEnum):
    """What becomes of somebody whose notice can not be delivered."""

    EXCLUDE = "exclude"
    KEEP = "keep"  # their window runs from the day the notice came back


class NoticeState(StrEnum):
    """What is known of a person's notice."""

    NONE = "none"
    QUEUED = "queued"
    DELIVERED = "delivered"
    BOUNCED = "bounced"


class ObjectionChannel(StrEnum):
    """How somebody objected."""

    ACCOUNT_PAGE = "account_page"
    AGENT = "agent"


class ReceiptState(StrEnum):
    """What the acquirer said about a person's records."""

    NONE = "none"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DESTROYED = "destroyed"


transfer = Table(
    "transfer",
    metadata,
    id_column(),
    Column("reference", String(20), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("status", enum_type(TransferStatus, "transfer_status"), nullable=False, server_default="draft"),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("seller", String(200), nullable=False),
    Column("acquirer_name", String(200), nullable=False),
    Column("acquirer_jurisdiction", String(100), nullable=False),
    Column("acquirer_contact", String(320), nullable=False),
    # Who pulls the files and signs the receipts.
    Column("acquirer_client_id", Uuid, ForeignKey("oauth_client.id")),
    Column("acquirer_key", Text, nullable=False),
    Column("key_fingerprint", LargeBinary(32), nullable=False),
    Column("key_confirmed_by_id", Uuid, ForeignKey("staff.id")),
    timestamp("key_confirmed_at", nullable=True),
    Column("brand_id", Uuid, ForeignKey("brand.id"), nullable=False),
    # Collection sources in scope, all where empty; and those that belong to a partner and are not ours to sell.
    Column("sources", ARRAY(Text), nullable=False, server_default="{}"),
    Column("partner_sources", ARRAY(Text), nullable=False, server_default="{}"),
    # Version of the policy -> whether it permits this transfer; one that nobody reviewed forbids it.
    Column("reviews", JSONB, nullable=False, server_default="{}"),
    # Contracts and assessments behind the deal: [{"title", "reference", "sha256"}].
    Column("documents", JSONB, nullable=False, server_default="[]"),
    Column("inactive_days", Integer),
    Column("window_days", Integer, nullable=False),
    # How long the seller keeps what it may no longer use, from the day the acquirer signed for everything.
    Column("retain_days", Integer, nullable=False, server_default="180"),
    Column("bounce", enum_type(BouncePolicy, "bounce_policy"), nullable=False, server_default="exclude"),
    # Language -> {"subject", "body"}, and the hash over all of it.
    Column("notice_version", String(40), nullable=False),
    Column("notice", JSONB, nullable=False),
    Column("notice_sha256", LargeBinary(32), nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("created_by_id", Uuid, ForeignKey("staff.id"), nullable=False),
    # {"selected": n, "included": {cohort: n}, "excluded": {reason: n}}, as last classified or frozen.
    Column("counts", JSONB, nullable=False, server_default="{}"),
    Column("frozen_by_id", Uuid, ForeignKey("staff.id")),
    Column("frozen_sha256", LargeBinary(32)),
    Column("reason", Text),
    Column("code", String(60)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(100)),
    timestamp("next_run_at", now=True),
    timestamp("created_at", now=True),
    timestamp("updated_at", now=True),
    timestamp("classified_at", nullable=True),
    timestamp("notified_at", nullable=True),
    timestamp("frozen_at", nullable=True),
    timestamp("approved_at", nullable=True),
    timestamp("packaged_at", nullable=True),
    timestamp("completed_at", nullable=True),
    timestamp("ended_at", nullable=True),
)

transfer_cohort = Table(
    "transfer_cohort",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("ordinal", SmallInteger, nullable=False),
    Column("name", String(60), nullable=False),
    Column("basis", enum_type(CohortBasis, "cohort_basis"), nullable=False),
    Column("rule", enum_type(CohortRule, "cohort_rule"), nullable=False),
    # What customers of an opt-in cohort have consented to.
    Column("purpose", String(60), ForeignKey("purpose.code")),
    # Paths of the API below Customer: the only fields that go.
    Column("fields", ARRAY(Text), nullable=False),
    Column("window_days", Integer, nullable=False),
)

transfer_approval = Table(
    "transfer_approval",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("staff_id", Uuid, ForeignKey("staff.id"), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    timestamp("approved_at", now=True),
)

transfer_customer = Table(
    "transfer_customer",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("customer_id", Uuid, ForeignKey("customer.id"), info=structural()),
    Column("subject_ref", Uuid, nullable=False, info=structural()),
    # No foreign keys: each would lock the same deal for each of a million people. Triggers look at what a statement has
    # written as a whole, and let nobody delete a deal or a cohort.
    Column("transfer_id", Uuid, nullable=False, info=structural()),
    Column("cohort_id", Uuid, info=structural()),
    Column("reason", enum_type(ExclusionReason, "exclusion_reason"), info=_SECRET),
    # Other brands hold records of theirs too: only those of the sold brand go.
    Column("is_shared", Boolean, nullable=False, server_default="false", info=structural()),
    Column("notice", enum_type(NoticeState, "notice_state"), nullable=False, server_default="none", info=_KEPT),
    # No foreign key: the letter is purged long before the proof that it was sent.
    Column("message_id", Uuid, info=structural()),
    timestamp("notified_at", nullable=True, info=_KEPT),
    timestamp("bounced_at", nullable=True, info=_SECRET),
    timestamp("deadline", nullable=True, info=_KEPT),
    timestamp("objected_at", nullable=True, info=_KEPT),
    Column("objection_channel", enum_type(ObjectionChannel, "objection_channel"), info=_KEPT),
    # The agent who recorded an objection. No foreign key, so no index: a million rows, and few of them name one.
    Column("recorded_by_id", Uuid, info=structural()),
    timestamp("transferred_at", nullable=True, info=_KEPT),
    Column("receipt", enum_type(ReceiptState, "receipt_state"), nullable=False, server_default="none", info=_KEPT),
    timestamp("received_at", nullable=True, info=_KEPT),
    # Since when the seller uses what the sold brand collected of them for nothing.
    timestamp("stopped_at", nullable=True, info=_KEPT),
    # When their rows of the sold brand went here, or the erasure of everything was opened, which is ``removal_id``. No
    # foreign key: what became of a request is purged long before the proof of a transfer.
    timestamp("removed_at", nullable=True, info=_KEPT),
    Column("removal_id", Uuid, info=structural()),
    CheckConstraint("(cohort_id IS NULL) <> (reason IS NULL)", name="cohort_or_reason"),
)

Index("transfer_status_next_run_at_idx", transfer.c.status, transfer.c.next_run_at)
Index(None, transfer.c.created_at.desc(), transfer.c.id.desc())
Index("transfer_cohort_transfer_id_name_key", transfer_cohort.c.transfer_id, transfer_cohort.c.name, unique=True)
Index("transfer_cohort_transfer_id_ordinal_key", transfer_cohort.c.transfer_id, transfer_cohort.c.ordinal, unique=True)
Index(
    "transfer_approval_transfer_id_staff_id_sha256_key",
    transfer_approval.c.transfer_id,
    transfer_approval.c.staff_id,
    transfer_approval.c.sha256,
    unique=True,
)
Index(None, transfer_customer.c.transfer_id)
Index(
    "transfer_customer_cohort_id_customer_id_idx",
    transfer_customer.c.cohort_id,
    transfer_customer.c.customer_id,
    postgresql_where="cohort_id IS NOT NULL",
)
Index(
    "transfer_customer_gone_idx",
    transfer_customer.c.transfer_id,
    postgresql_where="cohort_id IS NOT NULL AND (customer_id IS NULL OR objected_at IS NOT NULL)",
)
Index(
    "transfer_customer_queued_idx",
    transfer_customer.c.transfer_id,
    transfer_customer.c.message_id,
    postgresql_where="notice = 'queued'",
)
foreign_key_indexes(transfer)
foreign_key_indexes(transfer_cohort)
foreign_key_indexes(transfer_approval)
foreign_key_indexes(transfer_customer)
