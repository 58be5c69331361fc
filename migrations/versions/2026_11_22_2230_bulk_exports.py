"""Bulk exports: the exports, their parts, and a key for each recipient's pseudonyms."""

from alembic import op

revision = "c0d1a5e0f501"
down_revision = "c0d1a5e0c301"
branch_labels = None
depends_on = None

RECIPIENT = """
CREATE TABLE bulk_recipient (
    id UUID NOT NULL,
    name VARCHAR(200) NOT NULL,
    key_sealed BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT bulk_recipient_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_recipient_name_key UNIQUE (name)
)
"""
EXPORT = """
CREATE TABLE bulk_export (
    id UUID NOT NULL,
    reference VARCHAR(20) NOT NULL,
    status VARCHAR(40) NOT NULL,
    version INTEGER DEFAULT '1' NOT NULL,
    owner VARCHAR(120) NOT NULL,
    staff_id UUID,
    viewer JSONB NOT NULL,
    document TEXT NOT NULL,
    operation_name VARCHAR(200),
    variables JSONB,
    query_hash BYTEA NOT NULL,
    purpose VARCHAR(60) NOT NULL,
    needs_consent BOOLEAN NOT NULL,
    recipient_id UUID NOT NULL,
    format VARCHAR(40) NOT NULL,
    compression VARCHAR(40) NOT NULL,
    personal BOOLEAN DEFAULT 'false' NOT NULL,
    since_xid BIGINT,
    idempotency_key VARCHAR(200),
    input_hash BYTEA NOT NULL,
    approver_id UUID,
    epoch INTEGER DEFAULT '0' NOT NULL,
    snapshot_name VARCHAR(100),
    watermark TEXT,
    fence BIGINT DEFAULT '0' NOT NULL,
    lease_owner VARCHAR(100),
    attempt INTEGER DEFAULT '0' NOT NULL,
    part_count INTEGER DEFAULT '0' NOT NULL,
    selected BIGINT,
    record_count BIGINT,
    size_bytes BIGINT,
    excluded JSONB,
    code VARCHAR(60),
    manifest TEXT,
    manifest_sha256 BYTEA,
    revision INTEGER DEFAULT '0' NOT NULL,
    notify_url TEXT,
    notify_attempt INTEGER DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    approved_at TIMESTAMP WITH TIME ZONE,
    next_run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    snapshot_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    swept_at TIMESTAMP WITH TIME ZONE,
    notify_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT bulk_export_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_export_reference_key UNIQUE (reference),
    CONSTRAINT bulk_export_bulk_status_check CHECK (status IN ('awaiting_approval', 'queued', 'running', 'cancelling', 'completed', 'failed', 'cancelled', 'expired', 'destroyed')),
    CONSTRAINT bulk_export_staff_id_fkey FOREIGN KEY(staff_id) REFERENCES staff (id),
    CONSTRAINT bulk_export_purpose_fkey FOREIGN KEY(purpose) REFERENCES purpose (code),
    CONSTRAINT bulk_export_recipient_id_fkey FOREIGN KEY(recipient_id) REFERENCES bulk_recipient (id),
    CONSTRAINT bulk_export_bulk_format_check CHECK (format IN ('ndjson', 'csv', 'parquet')),
    CONSTRAINT bulk_export_bulk_compression_check CHECK (compression IN ('none', 'gzip', 'zstd')),
    CONSTRAINT bulk_export_approver_id_fkey FOREIGN KEY(approver_id) REFERENCES staff (id)
)
"""
PART = """
CREATE TABLE bulk_part (
    id UUID NOT NULL,
    bulk_export_id UUID NOT NULL,
    epoch INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    kind VARCHAR(40) NOT NULL,
    lower_id UUID,
    upper_id UUID,
    status VARCHAR(40) DEFAULT 'pending' NOT NULL,
    attempt INTEGER DEFAULT '0' NOT NULL,
    fence BIGINT DEFAULT '0' NOT NULL,
    lease_owner VARCHAR(100),
    object_key VARCHAR(300),
    record_count BIGINT,
    size_bytes BIGINT,
    sha256 BYTEA,
    excluded JSONB,
    code VARCHAR(60),
    next_run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT bulk_part_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_part_bulk_export_id_fkey FOREIGN KEY(bulk_export_id) REFERENCES bulk_export (id),
    CONSTRAINT bulk_part_part_kind_check CHECK (kind IN ('output', 'deleted')),
    CONSTRAINT bulk_part_part_status_check CHECK (status IN ('pending', 'running', 'done', 'failed'))
)
"""
INDEXES = (
    "CREATE INDEX bulk_export_approver_id_idx ON bulk_export (approver_id)",
    "CREATE INDEX bulk_export_completed_expires_at_idx ON bulk_export (expires_at) WHERE status = 'completed'",
    "CREATE INDEX bulk_export_created_at_id_idx ON bulk_export (created_at DESC, id DESC)",
    "CREATE INDEX bulk_export_notify_at_idx ON bulk_export (notify_at) WHERE notify_at IS NOT NULL",
    "CREATE INDEX bulk_export_open_idx ON bulk_export (next_run_at) WHERE status IN ('queued', 'running', 'cancelling')",
    "CREATE UNIQUE INDEX bulk_export_owner_idempotency_key_key ON bulk_export (owner, idempotency_key)",
    "CREATE INDEX bulk_export_purpose_idx ON bulk_export (purpose)",
    "CREATE INDEX bulk_export_recipient_id_idx ON bulk_export (recipient_id)",
    "CREATE INDEX bulk_export_staff_id_idx ON bulk_export (staff_id)",
    "CREATE INDEX bulk_export_unswept_idx ON bulk_export (id) WHERE status IN ('failed', 'cancelled', 'expired', 'destroyed') AND swept_at IS NULL",
    "CREATE UNIQUE INDEX bulk_part_bulk_export_id_epoch_kind_ordinal_key ON bulk_part (bulk_export_id, epoch, kind, ordinal)",
    "CREATE INDEX bulk_part_open_idx ON bulk_part (next_run_at) WHERE status IN ('pending', 'running')",
)
# What only the worker may read: values of callers, and whose lease it is.
STAFF_HIDDEN = "'variables', 'document', 'viewer', 'input_hash', 'notify_url', 'manifest'"


def upgrade() -> None:
    """Add the tables; staff read what the API shows of them, the worker's role does the rest."""
    for statement in (RECIPIENT, EXPORT, PART, *INDEXES):
        op.execute(statement)
    for table in ("bulk_recipient", "bulk_export", "bulk_part"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON bulk_part TO cdp_staff")
    op.execute(
        f"""DO $$ DECLARE names text; BEGIN
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
         WHERE attrelid = 'bulk_export'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ({STAFF_HIDDEN});
        EXECUTE format('GRANT SELECT (%s) ON bulk_export TO cdp_staff', names); END $$"""
    )


def downgrade() -> None:
    """Drop them; the files in the object store stay and belong to nobody."""
    for table in ("bulk_part", "bulk_export", "bulk_recipient"):
        op.drop_table(table)
