"""What goes to the acquirer of a deal: parts, files, packages, pulls, receipts, deltas."""

from alembic import op

revision = "c0d1a5e0d201"
down_revision = "c0d1a5e0e801"
branch_labels = None
depends_on = None

CREATE = (
    """
CREATE TABLE transfer_part (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    cohort_id UUID,
    ordinal INTEGER NOT NULL,
    lower_id UUID,
    upper_id UUID,
    status VARCHAR(40) DEFAULT 'pending' NOT NULL,
    attempt INTEGER DEFAULT '0' NOT NULL,
    fence BIGINT DEFAULT '0' NOT NULL,
    lease_owner VARCHAR(100),
    row_count BIGINT,
    left_out JSONB,
    code VARCHAR(60),
    next_run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    snapshot_at TIMESTAMP WITH TIME ZONE,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT transfer_part_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_part_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_part_cohort_id_fkey FOREIGN KEY(cohort_id) REFERENCES transfer_cohort (id),
    CONSTRAINT transfer_part_transfer_part_status_check CHECK (status IN ('pending', 'running', 'done', 'failed'))
)
""",
    """
CREATE TABLE transfer_file (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    part_id UUID NOT NULL,
    kind VARCHAR(40) NOT NULL,
    name VARCHAR(200) NOT NULL,
    object_key VARCHAR(300) NOT NULL,
    row_count BIGINT NOT NULL,
    plain_bytes BIGINT NOT NULL,
    plain_sha256 BYTEA NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 BYTEA NOT NULL,
    replaced_by_id UUID,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transfer_file_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_file_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_file_part_id_fkey FOREIGN KEY(part_id) REFERENCES transfer_part (id),
    CONSTRAINT transfer_file_transfer_file_kind_check CHECK (kind IN ('customers', 'customers_table', 'choices', 'provenance', 'opt_out', 'schema', 'readme')),
    CONSTRAINT transfer_file_replaced_by_id_fkey FOREIGN KEY(replaced_by_id) REFERENCES transfer_file (id) DEFERRABLE INITIALLY DEFERRED
)
""",
    """
CREATE TABLE transfer_omission (
    record_id UUID NOT NULL,
    part_id UUID NOT NULL,
    reason VARCHAR(40) NOT NULL,
    CONSTRAINT transfer_omission_pkey PRIMARY KEY (record_id),
    CONSTRAINT transfer_omission_record_id_fkey FOREIGN KEY(record_id) REFERENCES transfer_customer (id),
    CONSTRAINT transfer_omission_part_id_fkey FOREIGN KEY(part_id) REFERENCES transfer_part (id)
)
""",
    """
CREATE TABLE transfer_package (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    revision INTEGER NOT NULL,
    tags JSONB NOT NULL,
    sha256 BYTEA NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transfer_package_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_package_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id)
)
""",
    """
CREATE TABLE transfer_pull (
    id UUID NOT NULL,
    package_id UUID NOT NULL,
    offered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT transfer_pull_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_pull_package_id_fkey FOREIGN KEY(package_id) REFERENCES transfer_package (id)
)
""",
    """
CREATE TABLE transfer_pull_read (
    id UUID NOT NULL,
    pull_id UUID NOT NULL,
    name VARCHAR(200) NOT NULL,
    start_byte BIGINT NOT NULL,
    end_byte BIGINT NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transfer_pull_read_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_pull_read_pull_id_fkey FOREIGN KEY(pull_id) REFERENCES transfer_pull (id)
)
""",
    """
CREATE TABLE transfer_delta (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    ordinal INTEGER NOT NULL,
    kind VARCHAR(40) NOT NULL,
    document TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    entries INTEGER NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    acknowledged_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT transfer_delta_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_delta_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_delta_transfer_delta_kind_check CHECK (kind IN ('changes', 'recall'))
)
""",
    """
CREATE TABLE transfer_delta_entry (
    record_id UUID NOT NULL,
    reason VARCHAR(40) NOT NULL,
    delta_id UUID NOT NULL,
    CONSTRAINT transfer_delta_entry_pkey PRIMARY KEY (record_id, reason),
    CONSTRAINT transfer_delta_entry_record_id_fkey FOREIGN KEY(record_id) REFERENCES transfer_customer (id),
    CONSTRAINT transfer_delta_entry_transfer_change_reason_check CHECK (reason IN ('objected', 'erased')),
    CONSTRAINT transfer_delta_entry_delta_id_fkey FOREIGN KEY(delta_id) REFERENCES transfer_delta (id)
)
""",
    """
CREATE TABLE transfer_receipt (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    kind VARCHAR(40) NOT NULL,
    package_id UUID,
    delta_id UUID,
    statement TEXT NOT NULL,
    signer JSONB NOT NULL,
    sha256 BYTEA NOT NULL,
    accepted INTEGER DEFAULT '0' NOT NULL,
    rejected INTEGER DEFAULT '0' NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transfer_receipt_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_receipt_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_receipt_transfer_receipt_kind_check CHECK (kind IN ('receipt', 'acknowledgement', 'destruction')),
    CONSTRAINT transfer_receipt_package_id_fkey FOREIGN KEY(package_id) REFERENCES transfer_package (id),
    CONSTRAINT transfer_receipt_delta_id_fkey FOREIGN KEY(delta_id) REFERENCES transfer_delta (id)
)
""",
)
INDEXES = (
    "CREATE INDEX transfer_part_cohort_id_idx ON transfer_part (cohort_id)",
    "CREATE INDEX transfer_part_open_idx ON transfer_part (next_run_at) WHERE status IN ('pending', 'running')",
    "CREATE UNIQUE INDEX transfer_part_transfer_id_ordinal_key ON transfer_part (transfer_id, ordinal)",
    "CREATE INDEX transfer_file_part_id_idx ON transfer_file (part_id)",
    "CREATE INDEX transfer_file_replaced_by_id_idx ON transfer_file (replaced_by_id)",
    "CREATE INDEX transfer_file_transfer_id_created_at_idx ON transfer_file (transfer_id, created_at)",
    "CREATE UNIQUE INDEX transfer_file_transfer_id_name_key ON transfer_file (transfer_id, name) WHERE replaced_by_id IS NULL",
    "CREATE INDEX transfer_omission_part_id_idx ON transfer_omission (part_id)",
    "CREATE UNIQUE INDEX transfer_package_transfer_id_revision_key ON transfer_package (transfer_id, revision)",
    "CREATE UNIQUE INDEX transfer_pull_package_id_key ON transfer_pull (package_id)",
    "CREATE INDEX transfer_pull_read_pull_id_idx ON transfer_pull_read (pull_id)",
    "CREATE UNIQUE INDEX transfer_delta_transfer_id_ordinal_key ON transfer_delta (transfer_id, ordinal)",
    "CREATE INDEX transfer_delta_entry_delta_id_idx ON transfer_delta_entry (delta_id)",
    "CREATE INDEX transfer_receipt_delta_id_idx ON transfer_receipt (delta_id)",
    "CREATE INDEX transfer_receipt_package_id_idx ON transfer_receipt (package_id)",
    "CREATE UNIQUE INDEX transfer_receipt_transfer_id_sha256_key ON transfer_receipt (transfer_id, sha256)",
)
TABLES = (
    "transfer_part",
    "transfer_file",
    "transfer_omission",
    "transfer_package",
    "transfer_pull",
    "transfer_pull_read",
    "transfer_delta",
    "transfer_delta_entry",
    "transfer_receipt",
)


def upgrade() -> None:
    """Add the tables: staff read them, the worker's role does the rest; customers have no business there."""
    for statement in (*CREATE, *INDEXES):
        op.execute(statement)
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
        op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Drop them."""
    for table in reversed(TABLES):
        op.drop_table(table)
