"""Tables of the platform, and trigram search for names."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0d1a5e00001"
down_revision = None
branch_labels = None
depends_on = None

# A customer, its first identity and its first collection point at each other: checked at commit.
DEFERRED = (
    ("customer", "origin_identity_id", "identity"),
    ("customer", "collection_id", "collection"),
    ("collection", "origin_identity_id", "identity"),
)


def upgrade() -> None:
    """Create every table."""
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("actor_kind", sa.String(length=20), nullable=False),
        sa.Column("actor_ref", sa.Uuid(), nullable=True),
        sa.Column("subject_ref", sa.Uuid(), nullable=True),
        sa.Column("object_type", sa.String(length=40), nullable=True),
        sa.Column("object_id", sa.Uuid(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_event_pkey")),
    )
    op.create_index(op.f("audit_event_object_id_idx"), "audit_event", ["object_id"], unique=False)
    op.create_index(
        op.f("audit_event_subject_ref_occurred_at_idx"),
        "audit_event",
        ["subject_ref", "occurred_at"],
        unique=False,
    )
    op.create_table(
        "brand",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("brand_pkey")),
        sa.UniqueConstraint("code", name=op.f("brand_code_key")),
    )
    op.create_table(
        "oauth_client",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("redirect_uris", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("post_logout_redirect_uris", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("grant_types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("first_party", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("oauth_client_pkey")),
        sa.UniqueConstraint("client_id", name=op.f("oauth_client_client_id_key")),
    )
    op.create_table(
        "policy_version",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("policy_version_pkey")),
        sa.UniqueConstraint("version", name=op.f("policy_version_version_key")),
    )
    op.create_table(
        "purpose",
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column(
            "legal_basis",
            sa.Enum(
                "consent",
                "contract",
                "legal_obligation",
                "legitimate_interest",
                name="legal_basis",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("needs_consent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("purpose_pkey")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("staff_pkey")),
        sa.UniqueConstraint("username", name=op.f("staff_username_key")),
    )
    op.create_table(
        "system",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("secrets_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("position", sa.Integer(), server_default="100", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_ok_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("system_pkey")),
        sa.UniqueConstraint("name", name=op.f("system_name_key")),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "person",
                "organisation",
                name="customer_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("given_name", sa.String(length=100), nullable=True),
        sa.Column("family_name", sa.String(length=100), nullable=True),
        sa.Column("organisation_name", sa.String(length=200), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("locale", sa.String(length=20), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "frozen",
                name="customer_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="active",
            nullable=False,
        ),
        sa.Column("brand_id", sa.Uuid(), nullable=False),
        sa.Column("audit_ref", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("customer_brand_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_pkey")),
        sa.UniqueConstraint("audit_ref", name=op.f("customer_audit_ref_key")),
    )
    op.create_index(op.f("customer_brand_id_idx"), "customer", ["brand_id"], unique=False)
    op.create_index(op.f("customer_collection_id_idx"), "customer", ["collection_id"], unique=False)
    op.create_index("customer_created_at_id_idx", "customer", ["created_at", "id"], unique=False)
    op.create_index("customer_family_name_id_idx", "customer", ["family_name", "id"], unique=False)
    op.execute(
        "CREATE INDEX customer_search_name_idx ON customer USING gin (lower(coalesce(given_name, '') || ' ' || "
        "coalesce(family_name, '') || ' ' || coalesce(organisation_name, '')) gin_trgm_ops)"
    )
    op.create_index(op.f("customer_origin_identity_id_idx"), "customer", ["origin_identity_id"], unique=False)
    op.create_table(
        "collection",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column(
            "point",
            sa.Enum(
                "registration",
                "inquiry",
                "survey",
                "order",
                "account_page",
                "agent",
                "import",
                "ingest",
                name="collection_point",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("collected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy_version_id", sa.Uuid(), nullable=False),
        sa.Column("brand_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("collection_brand_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("collection_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["policy_version_id"], ["policy_version.id"], name=op.f("collection_policy_version_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("collection_pkey")),
    )
    op.create_index(op.f("collection_brand_id_idx"), "collection", ["brand_id"], unique=False)
    op.create_index(op.f("collection_customer_id_idx"), "collection", ["customer_id"], unique=False)
    op.create_index(op.f("collection_origin_identity_id_idx"), "collection", ["origin_identity_id"], unique=False)
    op.create_index(op.f("collection_policy_version_id_idx"), "collection", ["policy_version_id"], unique=False)
    op.create_table(
        "privacy_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("reference", sa.String(length=20), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "access",
                "portability",
                "erasure",
                "rectification",
                "restriction",
                "objection",
                name="request_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "received",
                "checking",
                "cooling_off",
                "erasing",
                "verifying",
                "collecting",
                "packing",
                "needs_attention",
                "completed",
                "cancelled",
                "refused",
                "failed",
                name="request_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("subject_ref", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(length=30), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("refusal_reason", sa.Text(), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("identifiers_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.String(length=60), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cooling_off_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("privacy_request_customer_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("privacy_request_pkey")),
        sa.UniqueConstraint("reference", name=op.f("privacy_request_reference_key")),
    )
    op.create_index(
        "privacy_request_customer_id_requested_at_idx",
        "privacy_request",
        ["customer_id", sa.literal_column("requested_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "privacy_request_one_open_erasure_key",
        "privacy_request",
        ["customer_id"],
        unique=True,
        postgresql_where="type = 'erasure' AND status NOT IN ('completed', 'cancelled', 'refused', 'failed')",
    )
    op.create_index("privacy_request_secret_hash_key", "privacy_request", ["secret_hash"], unique=True)
    op.create_index(
        "privacy_request_status_cooling_off_until_idx",
        "privacy_request",
        ["status", "cooling_off_until"],
        unique=False,
    )
    op.create_index("privacy_request_updated_at_idx", "privacy_request", ["updated_at"], unique=False)
    op.create_table(
        "certificate",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.String(length=20), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=60), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name=op.f("certificate_request_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("certificate_pkey")),
        sa.UniqueConstraint("reference", name=op.f("certificate_reference_key")),
        sa.UniqueConstraint("request_id", name=op.f("certificate_request_id_key")),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.String(length=20), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "preparing",
                "ready",
                "failed",
                "revoked",
                "expired",
                name="export_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="preparing",
            nullable=False,
        ),
        sa.Column("object_key", sa.String(length=300), nullable=True),
        sa.Column("key_id", sa.String(length=60), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("missing", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("download_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("export_customer_id_fkey")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name=op.f("export_request_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("export_pkey")),
        sa.UniqueConstraint("reference", name=op.f("export_reference_key")),
        sa.UniqueConstraint("request_id", name=op.f("export_request_id_key")),
    )
    op.create_index(
        op.f("export_customer_id_created_at_id_idx"),
        "export",
        ["customer_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "export_ready_expires_at_idx",
        "export",
        ["expires_at"],
        unique=False,
        postgresql_where="status = 'ready'",
    )
    op.create_index(op.f("export_request_id_idx"), "export", ["request_id"], unique=False)
    op.create_table(
        "identity",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "email",
                "phone",
                "username",
                "customer_number",
                "cookie",
                name="identity_type",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("issuer", sa.String(length=100), server_default="", nullable=False),
        sa.Column("value", sa.String(length=320), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("identity_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("identity_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("identity_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("identity_pkey")),
    )
    op.create_index(op.f("identity_collection_id_idx"), "identity", ["collection_id"], unique=False)
    op.create_index(op.f("identity_customer_id_idx"), "identity", ["customer_id"], unique=False)
    op.create_index(op.f("identity_origin_identity_id_idx"), "identity", ["origin_identity_id"], unique=False)
    op.create_index("identity_type_issuer_value_key", "identity", ["type", "issuer", "value"], unique=True)
    op.create_table(
        "request_task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("system_id", sa.Uuid(), nullable=False),
        sa.Column(
            "step",
            sa.Enum(
                "read",
                "check",
                "erase",
                "verify",
                name="task_step",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "running",
                "retrying",
                "waiting",
                "done",
                "refused",
                "held",
                "unsupported",
                "failed",
                "needs_attention",
                name="task_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="pending",
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(length=100), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("request_task_customer_id_fkey")),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name=op.f("request_task_request_id_fkey")),
        sa.ForeignKeyConstraint(["system_id"], ["system.id"], name=op.f("request_task_system_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("request_task_pkey")),
    )
    op.create_index(op.f("request_task_customer_id_idx"), "request_task", ["customer_id"], unique=False)
    op.create_index(
        "request_task_due_idx",
        "request_task",
        ["next_run_at"],
        unique=False,
        postgresql_where="status IN ('pending', 'running', 'retrying', 'waiting')",
    )
    op.create_index(
        "request_task_request_id_system_id_step_key",
        "request_task",
        ["request_id", "system_id", "step"],
        unique=True,
    )
    op.create_index(op.f("request_task_system_id_idx"), "request_task", ["system_id"], unique=False)
    op.create_table(
        "suppression",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("identity_type", sa.String(length=40), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["privacy_request.id"], name=op.f("suppression_request_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("suppression_pkey")),
    )
    op.create_index(op.f("suppression_request_id_idx"), "suppression", ["request_id"], unique=False)
    op.create_index("suppression_value_hash_idx", "suppression", ["value_hash"], unique=False)
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.String(length=320), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "frozen",
                name="account_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="active",
            nullable=False,
        ),
        sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("account_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("account_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("account_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("account_pkey")),
        sa.UniqueConstraint("username", name=op.f("account_username_key")),
    )
    op.create_index(op.f("account_collection_id_idx"), "account", ["collection_id"], unique=False)
    op.create_index("account_customer_id_key", "account", ["customer_id"], unique=True)
    op.create_index(op.f("account_origin_identity_id_idx"), "account", ["origin_identity_id"], unique=False)
    op.create_table(
        "consent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=60), nullable=False),
        sa.Column(
            "channel",
            sa.Enum(
                "any",
                "email",
                "phone",
                "sms",
                "post",
                name="consent_channel",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "action",
            sa.Enum(
                "given",
                "withdrawn",
                name="consent_action",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("consent_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("consent_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("consent_origin_identity_id_fkey")),
        sa.ForeignKeyConstraint(["purpose"], ["purpose.code"], name=op.f("consent_purpose_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("consent_pkey")),
    )
    op.create_index(op.f("consent_collection_id_idx"), "consent", ["collection_id"], unique=False)
    op.create_index(
        "consent_latest_idx",
        "consent",
        [
            "customer_id",
            "purpose",
            "channel",
            sa.literal_column("recorded_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
    )
    op.create_index(op.f("consent_origin_identity_id_idx"), "consent", ["origin_identity_id"], unique=False)
    op.create_index(op.f("consent_purpose_idx"), "consent", ["purpose"], unique=False)
    op.create_table(
        "device",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "laptop",
                "mobile",
                "tablet",
                "other",
                name="device_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("operating_system", sa.String(length=100), nullable=True),
        sa.Column("browser", sa.String(length=100), nullable=True),
        sa.Column("language", sa.String(length=20), nullable=True),
        sa.Column("cookie_id", sa.String(length=100), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("device_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("device_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("device_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("device_pkey")),
    )
    op.create_index(op.f("device_collection_id_idx"), "device", ["collection_id"], unique=False)
    op.create_index(
        op.f("device_customer_id_last_seen_at_id_idx"),
        "device",
        ["customer_id", sa.literal_column("last_seen_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("device_origin_identity_id_idx"), "device", ["origin_identity_id"], unique=False)
    op.create_table(
        "email_address",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("normalized", sa.String(length=320), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_primary", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("email_address_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("email_address_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("email_address_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("email_address_pkey")),
    )
    op.create_index(op.f("email_address_collection_id_idx"), "email_address", ["collection_id"], unique=False)
    op.create_index(
        op.f("email_address_customer_id_created_at_idx"),
        "email_address",
        ["customer_id", "created_at"],
        unique=False,
    )
    op.create_index(op.f("email_address_normalized_idx"), "email_address", ["normalized"], unique=False)
    op.create_index(op.f("email_address_origin_identity_id_idx"), "email_address", ["origin_identity_id"], unique=False)
    op.create_index(
        "email_address_primary_key",
        "email_address",
        ["customer_id"],
        unique=True,
        postgresql_where="is_primary",
    )
    op.create_table(
        "inquiry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "product",
                "service",
                "information",
                "contact",
                name="inquiry_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "open",
                "answered",
                "closed",
                name="inquiry_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="open",
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("inquiry_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("inquiry_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("inquiry_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("inquiry_pkey")),
    )
    op.create_index(op.f("inquiry_collection_id_idx"), "inquiry", ["collection_id"], unique=False)
    op.create_index(
        op.f("inquiry_customer_id_received_at_id_idx"),
        "inquiry",
        ["customer_id", sa.literal_column("received_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("inquiry_origin_identity_id_idx"), "inquiry", ["origin_identity_id"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(length=60), nullable=False),
        sa.Column("template", sa.String(length=60), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "sending",
                "sent",
                "failed",
                "cancelled",
                name="message_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="queued",
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("message_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("message_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("message_origin_identity_id_fkey")),
        sa.ForeignKeyConstraint(["purpose"], ["purpose.code"], name=op.f("message_purpose_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("message_pkey")),
    )
    op.create_index(op.f("message_collection_id_idx"), "message", ["collection_id"], unique=False)
    op.create_index(
        op.f("message_customer_id_created_at_id_idx"),
        "message",
        ["customer_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "message_due_idx",
        "message",
        ["next_run_at"],
        unique=False,
        postgresql_where="status IN ('queued', 'sending')",
    )
    op.create_index(op.f("message_origin_identity_id_idx"), "message", ["origin_identity_id"], unique=False)
    op.create_index(op.f("message_purpose_idx"), "message", ["purpose"], unique=False)
    op.create_table(
        "oauth_code",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("code_challenge", sa.Text(), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name=op.f("oauth_code_client_id_fkey")),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("oauth_code_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("oauth_code_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("oauth_code_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("oauth_code_pkey")),
        sa.UniqueConstraint("code_hash", name=op.f("oauth_code_code_hash_key")),
    )
    op.create_index(op.f("oauth_code_client_id_idx"), "oauth_code", ["client_id"], unique=False)
    op.create_index(op.f("oauth_code_collection_id_idx"), "oauth_code", ["collection_id"], unique=False)
    op.create_index(op.f("oauth_code_customer_id_idx"), "oauth_code", ["customer_id"], unique=False)
    op.create_index(op.f("oauth_code_family_id_idx"), "oauth_code", ["family_id"], unique=False)
    op.create_index(op.f("oauth_code_origin_identity_id_idx"), "oauth_code", ["origin_identity_id"], unique=False)
    op.create_table(
        "oauth_token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("refresh_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["oauth_client.id"], name=op.f("oauth_token_client_id_fkey")),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("oauth_token_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("oauth_token_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("oauth_token_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("oauth_token_pkey")),
        sa.UniqueConstraint("refresh_hash", name=op.f("oauth_token_refresh_hash_key")),
    )
    op.create_index(op.f("oauth_token_client_id_idx"), "oauth_token", ["client_id"], unique=False)
    op.create_index(op.f("oauth_token_collection_id_idx"), "oauth_token", ["collection_id"], unique=False)
    op.create_index(op.f("oauth_token_customer_id_idx"), "oauth_token", ["customer_id"], unique=False)
    op.create_index(op.f("oauth_token_family_id_idx"), "oauth_token", ["family_id"], unique=False)
    op.create_index(op.f("oauth_token_origin_identity_id_idx"), "oauth_token", ["origin_identity_id"], unique=False)
    op.create_table(
        "phone_number",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=40), nullable=False),
        sa.Column("e164", sa.String(length=20), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "mobile",
                "landline",
                "fax",
                "unknown",
                name="phone_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="unknown",
            nullable=False,
        ),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_primary", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("phone_number_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("phone_number_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("phone_number_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("phone_number_pkey")),
    )
    op.create_index(op.f("phone_number_collection_id_idx"), "phone_number", ["collection_id"], unique=False)
    op.create_index(
        op.f("phone_number_customer_id_created_at_idx"),
        "phone_number",
        ["customer_id", "created_at"],
        unique=False,
    )
    op.create_index(op.f("phone_number_e164_idx"), "phone_number", ["e164"], unique=False)
    op.create_index(op.f("phone_number_origin_identity_id_idx"), "phone_number", ["origin_identity_id"], unique=False)
    op.create_index(
        "phone_number_primary_key",
        "phone_number",
        ["customer_id"],
        unique=True,
        postgresql_where="is_primary",
    )
    op.create_table(
        "policy_acceptance",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("policy_version_id", sa.Uuid(), nullable=False),
        sa.Column(
            "decision",
            sa.Enum(
                "accepted",
                "declined",
                name="acceptance_decision",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("policy_acceptance_collection_id_fkey")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("policy_acceptance_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("policy_acceptance_origin_identity_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["policy_version_id"],
            ["policy_version.id"],
            name=op.f("policy_acceptance_policy_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("policy_acceptance_pkey")),
    )
    op.create_index(op.f("policy_acceptance_collection_id_idx"), "policy_acceptance", ["collection_id"], unique=False)
    op.create_index(
        "policy_acceptance_customer_id_decided_at_idx",
        "policy_acceptance",
        ["customer_id", "decided_at"],
        unique=False,
    )
    op.create_index(
        op.f("policy_acceptance_origin_identity_id_idx"),
        "policy_acceptance",
        ["origin_identity_id"],
        unique=False,
    )
    op.create_index(
        op.f("policy_acceptance_policy_version_id_idx"),
        "policy_acceptance",
        ["policy_version_id"],
        unique=False,
    )
    op.create_table(
        "postal_address",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "home",
                "work",
                "billing",
                "shipping",
                name="address_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("recipient", sa.String(length=200), nullable=True),
        sa.Column("line1", sa.String(length=200), nullable=False),
        sa.Column("line2", sa.String(length=200), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("region", sa.String(length=100), nullable=True),
        sa.Column("postal_code", sa.String(length=20), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_primary", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("postal_address_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("postal_address_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("postal_address_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("postal_address_pkey")),
    )
    op.create_index(op.f("postal_address_collection_id_idx"), "postal_address", ["collection_id"], unique=False)
    op.create_index(
        op.f("postal_address_customer_id_created_at_idx"),
        "postal_address",
        ["customer_id", "created_at"],
        unique=False,
    )
    op.create_index(
        op.f("postal_address_origin_identity_id_idx"), "postal_address", ["origin_identity_id"], unique=False
    )
    op.create_index(
        "postal_address_primary_key",
        "postal_address",
        ["customer_id"],
        unique=True,
        postgresql_where="is_primary",
    )
    op.create_table(
        "preference",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("preference_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("preference_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("preference_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("preference_pkey")),
    )
    op.create_index(op.f("preference_collection_id_idx"), "preference", ["collection_id"], unique=False)
    op.create_index("preference_customer_id_key_key", "preference", ["customer_id", "key"], unique=True)
    op.create_index(op.f("preference_origin_identity_id_idx"), "preference", ["origin_identity_id"], unique=False)
    op.create_table(
        "sales_order",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.String(length=60), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "retail",
                "purchase_order",
                name="order_kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default="retail",
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "open",
                "confirmed",
                "shipped",
                "completed",
                "cancelled",
                name="order_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("total", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("purchase_order_number", sa.String(length=60), nullable=True),
        sa.Column("billing_name", sa.String(length=200), nullable=True),
        sa.Column("billing_line1", sa.String(length=200), nullable=True),
        sa.Column("billing_city", sa.String(length=100), nullable=True),
        sa.Column("billing_region", sa.String(length=100), nullable=True),
        sa.Column("billing_postal_code", sa.String(length=20), nullable=True),
        sa.Column("billing_country", sa.String(length=2), nullable=True),
        sa.Column("retained_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "customer_id IS NOT NULL OR retained_until IS NOT NULL",
            name=op.f("sales_order_owner_or_retention_check"),
        ),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("sales_order_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("sales_order_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("sales_order_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sales_order_pkey")),
        sa.UniqueConstraint("number", name=op.f("sales_order_number_key")),
    )
    op.create_index(op.f("sales_order_collection_id_idx"), "sales_order", ["collection_id"], unique=False)
    op.create_index(
        "sales_order_customer_id_placed_at_idx",
        "sales_order",
        ["customer_id", sa.literal_column("placed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("sales_order_origin_identity_id_idx"), "sales_order", ["origin_identity_id"], unique=False)
    op.create_index(
        "sales_order_retained_until_idx",
        "sales_order",
        ["retained_until"],
        unique=False,
        postgresql_where=sa.text("retained_until IS NOT NULL"),
    )
    op.create_table(
        "survey_response",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("survey", sa.String(length=100), nullable=False),
        sa.Column("answers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("survey_response_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("survey_response_customer_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("survey_response_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("survey_response_pkey")),
    )
    op.create_index(op.f("survey_response_collection_id_idx"), "survey_response", ["collection_id"], unique=False)
    op.create_index(
        op.f("survey_response_customer_id_submitted_at_id_idx"),
        "survey_response",
        ["customer_id", sa.literal_column("submitted_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        op.f("survey_response_origin_identity_id_idx"),
        "survey_response",
        ["origin_identity_id"],
        unique=False,
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("page", sa.String(length=500), nullable=True),
        sa.Column("exit_url", sa.String(length=500), nullable=True),
        sa.Column("time_on_page_ms", sa.Integer(), nullable=True),
        sa.Column("ip_address", sa.String(length=45), nullable=True),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("event_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("event_customer_id_fkey")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("event_device_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("event_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("event_pkey")),
    )
    op.create_index(op.f("event_collection_id_idx"), "event", ["collection_id"], unique=False)
    op.create_index(
        op.f("event_customer_id_occurred_at_id_idx"),
        "event",
        ["customer_id", sa.literal_column("occurred_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("event_device_id_idx"), "event", ["device_id"], unique=False)
    op.create_index(op.f("event_origin_identity_id_idx"), "event", ["origin_identity_id"], unique=False)
    op.create_table(
        "quotation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("inquiry_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.String(length=60), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "requested",
                "sent",
                "accepted",
                "declined",
                "expired",
                name="quotation_status",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("total", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("lead_time_days", sa.Integer(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("respond_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("quotation_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("quotation_customer_id_fkey")),
        sa.ForeignKeyConstraint(["inquiry_id"], ["inquiry.id"], name=op.f("quotation_inquiry_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("quotation_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("quotation_pkey")),
        sa.UniqueConstraint("number", name=op.f("quotation_number_key")),
    )
    op.create_index(op.f("quotation_collection_id_idx"), "quotation", ["collection_id"], unique=False)
    op.create_index(
        op.f("quotation_customer_id_requested_at_id_idx"),
        "quotation",
        ["customer_id", sa.literal_column("requested_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("quotation_inquiry_id_idx"), "quotation", ["inquiry_id"], unique=False)
    op.create_index(op.f("quotation_origin_identity_id_idx"), "quotation", ["origin_identity_id"], unique=False)
    op.create_table(
        "sales_order_item",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("sku", sa.String(length=60), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("sales_order_item_quantity_positive_check")),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("sales_order_item_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("sales_order_item_customer_id_fkey")),
        sa.ForeignKeyConstraint(["order_id"], ["sales_order.id"], name=op.f("sales_order_item_order_id_fkey")),
        sa.ForeignKeyConstraint(
            ["origin_identity_id"], ["identity.id"], name=op.f("sales_order_item_origin_identity_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("sales_order_item_pkey")),
    )
    op.create_index(op.f("sales_order_item_collection_id_idx"), "sales_order_item", ["collection_id"], unique=False)
    op.create_index(op.f("sales_order_item_customer_id_idx"), "sales_order_item", ["customer_id"], unique=False)
    op.create_index("sales_order_item_order_id_position_key", "sales_order_item", ["order_id", "position"], unique=True)
    op.create_index(
        op.f("sales_order_item_origin_identity_id_idx"),
        "sales_order_item",
        ["origin_identity_id"],
        unique=False,
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ip_address", sa.String(length=45), nullable=True),
        sa.Column("user_agent", sa.String(length=400), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("session_account_id_fkey")),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("session_collection_id_fkey")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("session_customer_id_fkey")),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name=op.f("session_origin_identity_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("session_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("session_token_hash_key")),
    )
    op.create_index(op.f("session_account_id_idx"), "session", ["account_id"], unique=False)
    op.create_index(op.f("session_collection_id_idx"), "session", ["collection_id"], unique=False)
    op.create_index("session_customer_id_created_at_idx", "session", ["customer_id", "created_at"], unique=False)
    op.create_index(op.f("session_origin_identity_id_idx"), "session", ["origin_identity_id"], unique=False)
    for table, column, target in DEFERRED:
        op.create_foreign_key(
            f"{table}_{column}_fkey", table, target, [column], ["id"], initially="DEFERRED", deferrable=True
        )


def downgrade() -> None:
    """Drop every table."""
    for table, column, _ in DEFERRED:
        op.drop_constraint(f"{table}_{column}_fkey", table, type_="foreignkey")
    op.drop_index(op.f("session_origin_identity_id_idx"), table_name="session")
    op.drop_index("session_customer_id_created_at_idx", table_name="session")
    op.drop_index(op.f("session_collection_id_idx"), table_name="session")
    op.drop_index(op.f("session_account_id_idx"), table_name="session")
    op.drop_table("session")
    op.drop_index(op.f("sales_order_item_origin_identity_id_idx"), table_name="sales_order_item")
    op.drop_index("sales_order_item_order_id_position_key", table_name="sales_order_item")
    op.drop_index(op.f("sales_order_item_customer_id_idx"), table_name="sales_order_item")
    op.drop_index(op.f("sales_order_item_collection_id_idx"), table_name="sales_order_item")
    op.drop_table("sales_order_item")
    op.drop_index(op.f("quotation_origin_identity_id_idx"), table_name="quotation")
    op.drop_index(op.f("quotation_inquiry_id_idx"), table_name="quotation")
    op.drop_index(op.f("quotation_customer_id_requested_at_id_idx"), table_name="quotation")
    op.drop_index(op.f("quotation_collection_id_idx"), table_name="quotation")
    op.drop_table("quotation")
    op.drop_index(op.f("event_origin_identity_id_idx"), table_name="event")
    op.drop_index(op.f("event_device_id_idx"), table_name="event")
    op.drop_index(op.f("event_customer_id_occurred_at_id_idx"), table_name="event")
    op.drop_index(op.f("event_collection_id_idx"), table_name="event")
    op.drop_table("event")
    op.drop_index(op.f("survey_response_origin_identity_id_idx"), table_name="survey_response")
    op.drop_index(op.f("survey_response_customer_id_submitted_at_id_idx"), table_name="survey_response")
    op.drop_index(op.f("survey_response_collection_id_idx"), table_name="survey_response")
    op.drop_table("survey_response")
    op.drop_index(
        "sales_order_retained_until_idx",
        table_name="sales_order",
        postgresql_where=sa.text("retained_until IS NOT NULL"),
    )
    op.drop_index(op.f("sales_order_origin_identity_id_idx"), table_name="sales_order")
    op.drop_index("sales_order_customer_id_placed_at_idx", table_name="sales_order")
    op.drop_index(op.f("sales_order_collection_id_idx"), table_name="sales_order")
    op.drop_table("sales_order")
    op.drop_index(op.f("preference_origin_identity_id_idx"), table_name="preference")
    op.drop_index("preference_customer_id_key_key", table_name="preference")
    op.drop_index(op.f("preference_collection_id_idx"), table_name="preference")
    op.drop_table("preference")
    op.drop_index("postal_address_primary_key", table_name="postal_address", postgresql_where="is_primary")
    op.drop_index(op.f("postal_address_origin_identity_id_idx"), table_name="postal_address")
    op.drop_index(op.f("postal_address_customer_id_created_at_idx"), table_name="postal_address")
    op.drop_index(op.f("postal_address_collection_id_idx"), table_name="postal_address")
    op.drop_table("postal_address")
    op.drop_index(op.f("policy_acceptance_policy_version_id_idx"), table_name="policy_acceptance")
    op.drop_index(op.f("policy_acceptance_origin_identity_id_idx"), table_name="policy_acceptance")
    op.drop_index("policy_acceptance_customer_id_decided_at_idx", table_name="policy_acceptance")
    op.drop_index(op.f("policy_acceptance_collection_id_idx"), table_name="policy_acceptance")
    op.drop_table("policy_acceptance")
    op.drop_index("phone_number_primary_key", table_name="phone_number", postgresql_where="is_primary")
    op.drop_index(op.f("phone_number_origin_identity_id_idx"), table_name="phone_number")
    op.drop_index(op.f("phone_number_e164_idx"), table_name="phone_number")
    op.drop_index(op.f("phone_number_customer_id_created_at_idx"), table_name="phone_number")
    op.drop_index(op.f("phone_number_collection_id_idx"), table_name="phone_number")
    op.drop_table("phone_number")
    op.drop_index(op.f("oauth_token_origin_identity_id_idx"), table_name="oauth_token")
    op.drop_index(op.f("oauth_token_family_id_idx"), table_name="oauth_token")
    op.drop_index(op.f("oauth_token_customer_id_idx"), table_name="oauth_token")
    op.drop_index(op.f("oauth_token_collection_id_idx"), table_name="oauth_token")
    op.drop_index(op.f("oauth_token_client_id_idx"), table_name="oauth_token")
    op.drop_table("oauth_token")
    op.drop_index(op.f("oauth_code_origin_identity_id_idx"), table_name="oauth_code")
    op.drop_index(op.f("oauth_code_family_id_idx"), table_name="oauth_code")
    op.drop_index(op.f("oauth_code_customer_id_idx"), table_name="oauth_code")
    op.drop_index(op.f("oauth_code_collection_id_idx"), table_name="oauth_code")
    op.drop_index(op.f("oauth_code_client_id_idx"), table_name="oauth_code")
    op.drop_table("oauth_code")
    op.drop_index(op.f("message_purpose_idx"), table_name="message")
    op.drop_index(op.f("message_origin_identity_id_idx"), table_name="message")
    op.drop_index("message_due_idx", table_name="message", postgresql_where="status IN ('queued', 'sending')")
    op.drop_index(op.f("message_customer_id_created_at_id_idx"), table_name="message")
    op.drop_index(op.f("message_collection_id_idx"), table_name="message")
    op.drop_table("message")
    op.drop_index(op.f("inquiry_origin_identity_id_idx"), table_name="inquiry")
    op.drop_index(op.f("inquiry_customer_id_received_at_id_idx"), table_name="inquiry")
    op.drop_index(op.f("inquiry_collection_id_idx"), table_name="inquiry")
    op.drop_table("inquiry")
    op.drop_index("email_address_primary_key", table_name="email_address", postgresql_where="is_primary")
    op.drop_index(op.f("email_address_origin_identity_id_idx"), table_name="email_address")
    op.drop_index(op.f("email_address_normalized_idx"), table_name="email_address")
    op.drop_index(op.f("email_address_customer_id_created_at_idx"), table_name="email_address")
    op.drop_index(op.f("email_address_collection_id_idx"), table_name="email_address")
    op.drop_table("email_address")
    op.drop_index(op.f("device_origin_identity_id_idx"), table_name="device")
    op.drop_index(op.f("device_customer_id_last_seen_at_id_idx"), table_name="device")
    op.drop_index(op.f("device_collection_id_idx"), table_name="device")
    op.drop_table("device")
    op.drop_index(op.f("consent_purpose_idx"), table_name="consent")
    op.drop_index(op.f("consent_origin_identity_id_idx"), table_name="consent")
    op.drop_index("consent_latest_idx", table_name="consent")
    op.drop_index(op.f("consent_collection_id_idx"), table_name="consent")
    op.drop_table("consent")
    op.drop_index(op.f("account_origin_identity_id_idx"), table_name="account")
    op.drop_index("account_customer_id_key", table_name="account")
    op.drop_index(op.f("account_collection_id_idx"), table_name="account")
    op.drop_table("account")
    op.drop_index("suppression_value_hash_idx", table_name="suppression")
    op.drop_index(op.f("suppression_request_id_idx"), table_name="suppression")
    op.drop_table("suppression")
    op.drop_index(op.f("request_task_system_id_idx"), table_name="request_task")
    op.drop_index("request_task_request_id_system_id_step_key", table_name="request_task")
    op.drop_index(
        "request_task_due_idx",
        table_name="request_task",
        postgresql_where="status IN ('pending', 'running', 'retrying', 'waiting')",
    )
    op.drop_index(op.f("request_task_customer_id_idx"), table_name="request_task")
    op.drop_table("request_task")
    op.drop_index("identity_type_issuer_value_key", table_name="identity")
    op.drop_index(op.f("identity_origin_identity_id_idx"), table_name="identity")
    op.drop_index(op.f("identity_customer_id_idx"), table_name="identity")
    op.drop_index(op.f("identity_collection_id_idx"), table_name="identity")
    op.drop_table("identity")
    op.drop_index(op.f("export_request_id_idx"), table_name="export")
    op.drop_index("export_ready_expires_at_idx", table_name="export", postgresql_where="status = 'ready'")
    op.drop_index(op.f("export_customer_id_created_at_id_idx"), table_name="export")
    op.drop_table("export")
    op.drop_table("certificate")
    op.drop_index("privacy_request_updated_at_idx", table_name="privacy_request")
    op.drop_index("privacy_request_status_cooling_off_until_idx", table_name="privacy_request")
    op.drop_index("privacy_request_secret_hash_key", table_name="privacy_request")
    op.drop_index(
        "privacy_request_one_open_erasure_key",
        table_name="privacy_request",
        postgresql_where="type = 'erasure' AND status NOT IN ('completed', 'cancelled', 'refused', 'failed')",
    )
    op.drop_index("privacy_request_customer_id_requested_at_idx", table_name="privacy_request")
    op.drop_table("privacy_request")
    op.drop_index(op.f("collection_policy_version_id_idx"), table_name="collection")
    op.drop_index(op.f("collection_origin_identity_id_idx"), table_name="collection")
    op.drop_index(op.f("collection_customer_id_idx"), table_name="collection")
    op.drop_index(op.f("collection_brand_id_idx"), table_name="collection")
    op.drop_table("collection")
    op.drop_index(op.f("customer_origin_identity_id_idx"), table_name="customer")
    op.drop_index("customer_search_name_idx", table_name="customer", postgresql_using="gin")
    op.drop_index("customer_family_name_id_idx", table_name="customer")
    op.drop_index("customer_created_at_id_idx", table_name="customer")
    op.drop_index(op.f("customer_collection_id_idx"), table_name="customer")
    op.drop_index(op.f("customer_brand_id_idx"), table_name="customer")
    op.drop_table("customer")
    op.drop_table("system")
    op.drop_table("staff")
    op.drop_table("purpose")
    op.drop_table("policy_version")
    op.drop_table("oauth_client")
    op.drop_table("brand")
    op.drop_index(op.f("audit_event_subject_ref_occurred_at_idx"), table_name="audit_event")
    op.drop_index(op.f("audit_event_object_id_idx"), table_name="audit_event")
    op.drop_table("audit_event")
