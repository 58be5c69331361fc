"""Asset transfers: deals, their cohorts, their approvals, and what became of every customer in scope."""

from alembic import op

revision = "c0d1a5e0d101"
down_revision = "c0d1a5e0b501"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
DEAL = """
CREATE TABLE transfer (
    id UUID NOT NULL,
    reference VARCHAR(20) NOT NULL,
    name VARCHAR(200) NOT NULL,
    status VARCHAR(40) DEFAULT 'draft' NOT NULL,
    version INTEGER DEFAULT '1' NOT NULL,
    seller VARCHAR(200) NOT NULL,
    acquirer_name VARCHAR(200) NOT NULL,
    acquirer_jurisdiction VARCHAR(100) NOT NULL,
    acquirer_contact VARCHAR(320) NOT NULL,
    acquirer_client_id UUID,
    acquirer_key TEXT NOT NULL,
    key_fingerprint BYTEA NOT NULL,
    key_confirmed_by_id UUID,
    key_confirmed_at TIMESTAMP WITH TIME ZONE,
    brand_id UUID NOT NULL,
    sources TEXT[] DEFAULT '{}' NOT NULL,
    partner_sources TEXT[] DEFAULT '{}' NOT NULL,
    reviews JSONB DEFAULT '{}' NOT NULL,
    documents JSONB DEFAULT '[]' NOT NULL,
    inactive_days INTEGER,
    window_days INTEGER NOT NULL,
    bounce VARCHAR(40) DEFAULT 'exclude' NOT NULL,
    notice_version VARCHAR(40) NOT NULL,
    notice JSONB NOT NULL,
    notice_sha256 BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    created_by_id UUID NOT NULL,
    counts JSONB DEFAULT '{}' NOT NULL,
    frozen_by_id UUID,
    frozen_sha256 BYTEA,
    reason TEXT,
    code VARCHAR(60),
    attempt INTEGER DEFAULT '0' NOT NULL,
    fence BIGINT DEFAULT '0' NOT NULL,
    lease_owner VARCHAR(100),
    next_run_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    classified_at TIMESTAMP WITH TIME ZONE,
    notified_at TIMESTAMP WITH TIME ZONE,
    frozen_at TIMESTAMP WITH TIME ZONE,
    approved_at TIMESTAMP WITH TIME ZONE,
    packaged_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT transfer_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_reference_key UNIQUE (reference),
    CONSTRAINT transfer_transfer_status_check CHECK (status IN ('draft', 'classified', 'notifying', 'window', 'frozen', 'approved', 'packaging', 'delivering', 'completed', 'recalled', 'cancelled')),
    CONSTRAINT transfer_acquirer_client_id_fkey FOREIGN KEY(acquirer_client_id) REFERENCES oauth_client (id),
    CONSTRAINT transfer_key_confirmed_by_id_fkey FOREIGN KEY(key_confirmed_by_id) REFERENCES staff (id),
    CONSTRAINT transfer_brand_id_fkey FOREIGN KEY(brand_id) REFERENCES brand (id),
    CONSTRAINT transfer_bounce_policy_check CHECK (bounce IN ('exclude', 'keep')),
    CONSTRAINT transfer_created_by_id_fkey FOREIGN KEY(created_by_id) REFERENCES staff (id),
    CONSTRAINT transfer_frozen_by_id_fkey FOREIGN KEY(frozen_by_id) REFERENCES staff (id)
)
"""
COHORT = """
CREATE TABLE transfer_cohort (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    ordinal SMALLINT NOT NULL,
    name VARCHAR(60) NOT NULL,
    basis VARCHAR(40) NOT NULL,
    rule VARCHAR(40) NOT NULL,
    purpose VARCHAR(60),
    fields TEXT[] NOT NULL,
    window_days INTEGER NOT NULL,
    CONSTRAINT transfer_cohort_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_cohort_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_cohort_cohort_basis_check CHECK (basis IN ('contract_assumption', 'opt_out', 'opt_in', 'archive_only')),
    CONSTRAINT transfer_cohort_cohort_rule_check CHECK (rule IN ('running_contract', 'prospect', 'ended_contract', 'everybody')),
    CONSTRAINT transfer_cohort_purpose_fkey FOREIGN KEY(purpose) REFERENCES purpose (code)
)
"""
APPROVAL = """
CREATE TABLE transfer_approval (
    id UUID NOT NULL,
    transfer_id UUID NOT NULL,
    staff_id UUID NOT NULL,
    sha256 BYTEA NOT NULL,
    approved_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transfer_approval_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_approval_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_approval_staff_id_fkey FOREIGN KEY(staff_id) REFERENCES staff (id)
)
"""
CUSTOMER = """
CREATE TABLE transfer_customer (
    id UUID NOT NULL,
    customer_id UUID,
    subject_ref UUID NOT NULL,
    transfer_id UUID NOT NULL,
    cohort_id UUID,
    reason VARCHAR(40),
    is_shared BOOLEAN DEFAULT 'false' NOT NULL,
    notice VARCHAR(40) DEFAULT 'none' NOT NULL,
    message_id UUID,
    notified_at TIMESTAMP WITH TIME ZONE,
    bounced_at TIMESTAMP WITH TIME ZONE,
    deadline TIMESTAMP WITH TIME ZONE,
    objected_at TIMESTAMP WITH TIME ZONE,
    objection_channel VARCHAR(40),
    recorded_by_id UUID,
    transferred_at TIMESTAMP WITH TIME ZONE,
    receipt VARCHAR(40) DEFAULT 'none' NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT transfer_customer_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_customer_cohort_or_reason_check CHECK ((cohort_id IS NULL) <> (reason IS NULL)),
    CONSTRAINT transfer_customer_customer_id_fkey FOREIGN KEY(customer_id) REFERENCES customer (id),
    CONSTRAINT transfer_customer_transfer_id_fkey FOREIGN KEY(transfer_id) REFERENCES transfer (id),
    CONSTRAINT transfer_customer_cohort_id_fkey FOREIGN KEY(cohort_id) REFERENCES transfer_cohort (id),
    CONSTRAINT transfer_customer_exclusion_reason_check CHECK (reason IN ('not_in_brand', 'erasure', 'suppressed', 'restricted', 'held', 'minor', 'partner_owned', 'unresolved_merge', 'objected', 'policy_forbids', 'no_basis', 'no_consent', 'inactive', 'undeliverable_notice')),
    CONSTRAINT transfer_customer_notice_state_check CHECK (notice IN ('none', 'queued', 'delivered', 'bounced')),
    CONSTRAINT transfer_customer_objection_channel_check CHECK (objection_channel IN ('account_page', 'agent')),
    CONSTRAINT transfer_customer_receipt_state_check CHECK (receipt IN ('none', 'accepted', 'rejected', 'destroyed'))
)
"""
INDEXES = (
    "CREATE INDEX transfer_acquirer_client_id_idx ON transfer (acquirer_client_id)",
    "CREATE INDEX transfer_brand_id_idx ON transfer (brand_id)",
    "CREATE INDEX transfer_created_at_id_idx ON transfer (created_at DESC, id DESC)",
    "CREATE INDEX transfer_created_by_id_idx ON transfer (created_by_id)",
    "CREATE INDEX transfer_frozen_by_id_idx ON transfer (frozen_by_id)",
    "CREATE INDEX transfer_key_confirmed_by_id_idx ON transfer (key_confirmed_by_id)",
    "CREATE INDEX transfer_status_next_run_at_idx ON transfer (status, next_run_at)",
    "CREATE INDEX transfer_cohort_purpose_idx ON transfer_cohort (purpose)",
    "CREATE UNIQUE INDEX transfer_cohort_transfer_id_name_key ON transfer_cohort (transfer_id, name)",
    "CREATE UNIQUE INDEX transfer_cohort_transfer_id_ordinal_key ON transfer_cohort (transfer_id, ordinal)",
    "CREATE INDEX transfer_approval_staff_id_idx ON transfer_approval (staff_id)",
    "CREATE UNIQUE INDEX transfer_approval_transfer_id_staff_id_sha256_key ON transfer_approval (transfer_id, staff_id, sha256)",
    "CREATE INDEX transfer_customer_cohort_id_id_idx ON transfer_customer (cohort_id, id)",
    "CREATE INDEX transfer_customer_customer_id_idx ON transfer_customer (customer_id)",
    "CREATE INDEX transfer_customer_queued_idx ON transfer_customer (transfer_id, message_id) WHERE notice = 'queued'",
    "CREATE INDEX transfer_customer_transfer_id_id_idx ON transfer_customer (transfer_id, id)",
)
TABLES = ("transfer", "transfer_cohort", "transfer_approval", "transfer_customer")
# What only the worker reads: by the salt the acquirer's names could be computed.
STAFF_HIDDEN = "'salt'"
# What customers may read of a deal they are part of. Why somebody does not go may be a secret, as a hold can be.
TOLD = {
    "transfer": (
        "id, reference, name, status, seller, acquirer_name, acquirer_jurisdiction, acquirer_contact, brand_id,"
        " notice_version, created_at, notified_at, frozen_at, completed_at, ended_at"
    ),
    "transfer_cohort": "id, transfer_id, name, basis, fields, window_days",
    "transfer_customer": (
        "id, customer_id, transfer_id, cohort_id, notice, notified_at, deadline, objected_at, objection_channel,"
        " transferred_at, receipt, received_at"
    ),
}
MINE = {
    "transfer": (
        "status NOT IN ('draft', 'classified') AND id IN"
        f" (SELECT t.transfer_id FROM transfer_customer t WHERE t.customer_id = {SUBJECT})"
    ),
    "transfer_cohort": f"id IN (SELECT t.cohort_id FROM transfer_customer t WHERE t.customer_id = {SUBJECT})",
    "transfer_customer": f"customer_id = {SUBJECT}",
}


def upgrade() -> None:
    """Add the tables: staff read all but the salt, customers what concerns them, the worker's role does the rest."""
    for statement in (DEAL, COHORT, APPROVAL, CUSTOMER, *INDEXES):
        op.execute(statement)
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO cdp_worker")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")
    for table in TABLES[1:]:
        op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
    op.execute(
        f"""DO $$ DECLARE names text; BEGIN
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
         WHERE attrelid = 'transfer'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ({STAFF_HIDDEN});
        EXECUTE format('GRANT SELECT (%s) ON transfer TO cdp_staff', names); END $$"""
    )
    for table, columns in TOLD.items():
        op.execute(f"GRANT SELECT ({columns}) ON {table} TO cdp_customer")
        op.execute(f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING ({MINE[table]})")


def downgrade() -> None:
    """Drop them, after the policies that look from one into another."""
    for table in TOLD:
        op.execute(f"DROP POLICY {table}_customer ON {table}")
    for table in reversed(TABLES):
        op.drop_table(table)
