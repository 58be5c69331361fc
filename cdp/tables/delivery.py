"""What goes to the acquirer of a deal: parts that make files, packages, pulls, receipts, and what is told afterwards.

    part    pending -> running -> done | failed        (done -> pending: the acquirer rejected a file of it)
    pull    offered -> opened -> closed                (one a package, for a time)

A part is a range of a cohort's customers, or what belongs to the deal as a whole; it makes several files from one
snapshot. A file that was made again names the one in its place; a package is one signed list of files, and a new one
follows whenever a file is replaced. None of this holds a customer's id: people have the names of ``transfer_customer``.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from cdp.tables.base import enum_type, foreign_key_indexes, id_column, metadata, timestamp
from cdp.tables.bulk import PartStatus

P = PartStatus
DELIVERY_TRANSITIONS: Mapping[PartStatus, frozenset[PartStatus]] = {
    P.PENDING: frozenset({P.RUNNING}),
    P.RUNNING: frozenset({P.RUNNING, P.PENDING, P.DONE, P.FAILED}),
    P.DONE: frozenset({P.PENDING}),
    P.FAILED: frozenset({P.PENDING}),
}


class FileKind(StrEnum):
    """What a file holds."""

    CUSTOMERS = "customers"  # lines of JSON
    CUSTOMERS_TABLE = "customers_table"  # the same as Parquet
    CHOICES = "choices"  # preferences, and consents with their history
    PROVENANCE = "provenance"  # where each record came from, and how its person was told
    OPT_OUT = "opt_out"  # keyed hashes of living customers' identifiers, whoever they went to
    SCHEMA = "schema"
    README = "readme"


class ReceiptKind(StrEnum):
    """What the acquirer has signed."""

    RECEIPT = "receipt"
    ACKNOWLEDGEMENT = "acknowledgement"
    DESTRUCTION = "destruction"


class DeltaKind(StrEnum):
    """What we tell the acquirer after the package."""

    CHANGES = "changes"  # late objections, erasures
    RECALL = "recall"  # the deal broke: destroy everything


class ChangeReason(StrEnum):
    """Why somebody who went to the acquirer has to be let go there."""

    OBJECTED = "objected"
    ERASED = "erased"


transfer_part = Table(
    "transfer_part",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    # None for what belongs to the deal as a whole.
    Column("cohort_id", Uuid, ForeignKey("transfer_cohort.id")),
    Column("ordinal", Integer, nullable=False),
    # Rounded to a moment: never anybody's id.
    Column("lower_id", Uuid),
    Column("upper_id", Uuid),
    Column("status", enum_type(PartStatus, "transfer_part_status"), nullable=False, server_default="pending"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(100)),
    Column("row_count", BigInteger),
    Column("left_out", JSONB),
    Column("code", String(60)),
    timestamp("next_run_at", now=True),
    timestamp("snapshot_at", nullable=True),
    timestamp("settled_at", nullable=True),
)

transfer_file = Table(
    "transfer_file",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("part_id", Uuid, ForeignKey("transfer_part.id"), nullable=False),
    Column("kind", enum_type(FileKind, "transfer_file_kind"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("object_key", String(300), nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("plain_bytes", BigInteger, nullable=False),
    Column("plain_sha256", LargeBinary(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    # Hash of the leaves of those who are in it, which ``transfer_roll`` has; of files with a record a person.
    Column("people_sha256", LargeBinary(32)),
    Column("replaced_by_id", Uuid, ForeignKey("transfer_file.id", deferrable=True, initially="DEFERRED")),
    timestamp("created_at", now=True),
)

# Whom a file of customers holds, as leaves in order: hashes that name nobody, and outlive both file and people.
transfer_roll = Table(
    "transfer_roll",
    metadata,
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    PrimaryKeyConstraint("transfer_id", "sha256"),
)

# Who was in a cohort when it was frozen and is not in its files, because of what came in between.
transfer_omission = Table(
    "transfer_omission",
    metadata,
    Column("record_id", Uuid, ForeignKey("transfer_customer.id"), primary_key=True),
    Column("part_id", Uuid, ForeignKey("transfer_part.id"), nullable=False),
    Column("reason", String(40), nullable=False),
)

transfer_package = Table(
    "transfer_package",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    # The files of the bag beside its payload, by name: package.json is the signed one.
    Column("tags", JSONB, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    timestamp("issued_at", now=True),
)

transfer_pull = Table(
    "transfer_pull",
    metadata,
    id_column(),
    Column("package_id", Uuid, ForeignKey("transfer_package.id"), nullable=False),
    timestamp("offered_at", now=True),
    timestamp("expires_at"),
    timestamp("opened_at", nullable=True),
    timestamp("closed_at", nullable=True),
)

transfer_pull_read = Table(
    "transfer_pull_read",
    metadata,
    id_column(),
    Column("pull_id", Uuid, ForeignKey("transfer_pull.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("start_byte", BigInteger, nullable=False),
    Column("end_byte", BigInteger, nullable=False),
    timestamp("read_at", now=True),
)

transfer_delta = Table(
    "transfer_delta",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("kind", enum_type(DeltaKind, "transfer_delta_kind"), nullable=False),
    # Signed; whom it concerns is encrypted to the acquirer inside.
    Column("document", Text, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("entries", Integer, nullable=False),
    timestamp("issued_at", now=True),
    timestamp("acknowledged_at", nullable=True),
)

# What each delta told, so that nothing is told twice or never.
transfer_delta_entry = Table(
    "transfer_delta_entry",
    metadata,
    Column("record_id", Uuid, ForeignKey("transfer_customer.id"), nullable=False),
    Column("reason", enum_type(ChangeReason, "transfer_change_reason"), nullable=False),
    Column("delta_id", Uuid, ForeignKey("transfer_delta.id"), nullable=False),
    PrimaryKeyConstraint("record_id", "reason"),
)

transfer_receipt = Table(
    "transfer_receipt",
    metadata,
    id_column(),
    Column("transfer_id", Uuid, ForeignKey("transfer.id"), nullable=False),
    Column("kind", enum_type(ReceiptKind, "transfer_receipt_kind"), nullable=False),
    Column("package_id", Uuid, ForeignKey("transfer_package.id")),
    Column("delta_id", Uuid, ForeignKey("transfer_delta.id")),
    # A JSON Web Signature by a key of the acquirer's client (RFC 7515), and the key that fits it.
    Column("statement", Text, nullable=False),
    Column("signer", JSONB, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("accepted", Integer, nullable=False, server_default="0"),
    Column("rejected", Integer, nullable=False, server_default="0"),
    timestamp("received_at", now=True),
)

Index("transfer_part_open_idx", transfer_part.c.next_run_at, postgresql_where="status IN ('pending', 'running')")
Index(
    "transfer_part_transfer_id_ordinal_key",
    transfer_part.c.transfer_id,
    transfer_part.c.ordinal,
    unique=True,
)
Index(
    "transfer_file_transfer_id_name_key",
    transfer_file.c.transfer_id,
    transfer_file.c.name,
    unique=True,
    postgresql_where="replaced_by_id IS NULL",
)
Index(None, transfer_file.c.transfer_id, transfer_file.c.created_at)
Index(
    "transfer_package_transfer_id_revision_key",
    transfer_package.c.transfer_id,
    transfer_package.c.revision,
    unique=True,
)
Index("transfer_pull_package_id_key", transfer_pull.c.package_id, unique=True)
Index("transfer_delta_transfer_id_ordinal_key", transfer_delta.c.transfer_id, transfer_delta.c.ordinal, unique=True)
Index("transfer_receipt_transfer_id_sha256_key", transfer_receipt.c.transfer_id, transfer_receipt.c.sha256, unique=True)
foreign_key_indexes(transfer_part)
foreign_key_indexes(transfer_file)
foreign_key_indexes(transfer_omission)
foreign_key_indexes(transfer_package)
foreign_key_indexes(transfer_pull)
foreign_key_indexes(transfer_pull_read)
foreign_key_indexes(transfer_delta)
foreign_key_indexes(transfer_delta_entry)
foreign_key_indexes(transfer_receipt)
