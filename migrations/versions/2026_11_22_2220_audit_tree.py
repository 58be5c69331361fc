"""The tree over the audit log: events wait, become leaves, and heads are signed; all of it only ever grows."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0e701"
down_revision = "c0d1a5e0a704"
branch_labels = None
depends_on = None

SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"
FOREVER = ("audit_leaf", "audit_node", "audit_head")
STAFF_READS = ("audit_leaf", "audit_node", "audit_head", "audit_note")


def upgrade() -> None:
    """Add columns, tables, the trigger that lets no event be forgotten, and rights."""
    op.add_column("audit_event", sa.Column("client", sa.String(length=100), nullable=True))
    op.add_column("audit_event", sa.Column("request", sa.String(length=40), nullable=True))
    op.add_column("audit_event", sa.Column("note_hash", sa.LargeBinary(length=32), nullable=True))
    op.create_index("audit_event_occurred_at_id_idx", "audit_event", ["occurred_at", "id"])
    _notes()
    _tree()
    op.execute("REVOKE UPDATE, DELETE ON audit_event, certificate FROM cdp_worker")
    for table in FOREVER:
        op.execute(f"GRANT SELECT, INSERT ON {table} TO cdp_worker")
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cdp_append_only()"
        )
    op.execute("GRANT SELECT, DELETE ON audit_pending TO cdp_worker")
    op.execute("GRANT SELECT, INSERT, UPDATE ON audit_witness TO cdp_worker")
    for table in STAFF_READS:
        op.execute(f"GRANT SELECT ON {table} TO cdp_staff")
    _waiting()


def _notes() -> None:
    op.create_table(
        "audit_note",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("origin_identity_id", sa.Uuid(), nullable=True),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="audit_note_customer_id_fkey"),
        sa.ForeignKeyConstraint(["origin_identity_id"], ["identity.id"], name="audit_note_origin_identity_id_fkey"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name="audit_note_collection_id_fkey"),
        sa.ForeignKeyConstraint(["event_id"], ["audit_event.id"], name="audit_note_event_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="audit_note_pkey"),
        sa.UniqueConstraint("event_id", name="audit_note_event_id_key"),
    )
    for column in ("customer_id", "origin_identity_id", "collection_id", "event_id"):
        op.create_index(f"audit_note_{column}_idx", "audit_note", [column])
    op.execute("ALTER TABLE audit_note ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE audit_note FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY audit_note_customer ON audit_note TO cdp_customer USING (customer_id = {SUBJECT}) "
        f"WITH CHECK (customer_id = {SUBJECT})"
    )
    op.execute("CREATE POLICY audit_note_staff ON audit_note TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY audit_note_worker ON audit_note TO cdp_worker USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON audit_note TO cdp_worker")
    op.execute("GRANT INSERT ON audit_note TO cdp_staff")
    op.execute("GRANT SELECT ON audit_note TO cdp_customer")


def _tree() -> None:
    op.create_table(
        "audit_pending",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_event.id"], name="audit_pending_event_id_fkey"),
        sa.PrimaryKeyConstraint("event_id", name="audit_pending_pkey"),
    )
    op.create_table(
        "audit_leaf",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["audit_event.id"], name="audit_leaf_event_id_fkey"),
        sa.PrimaryKeyConstraint("position", name="audit_leaf_pkey"),
        sa.UniqueConstraint("event_id", name="audit_leaf_event_id_key"),
    )
    op.create_index("audit_leaf_hash_idx", "audit_leaf", ["hash"])
    op.create_table(
        "audit_node",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name="audit_node_pkey"),
    )
    op.create_table(
        "audit_head",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=60), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name="audit_head_pkey"),
    )
    op.create_table(
        "audit_witness",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kind", name="audit_witness_pkey"),
    )


def _waiting() -> None:
    """Whoever writes an event has it wait too: the function runs as the owner, the writer needs no right of its own."""
    op.execute(
        "CREATE FUNCTION cdp_audit_waits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        "SET search_path = pg_catalog, public AS $$ BEGIN "
        "INSERT INTO public.audit_pending (event_id) SELECT id FROM arrived; RETURN NULL; END $$"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION cdp_audit_waits() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER audit_event_waits AFTER INSERT ON audit_event REFERENCING NEW TABLE AS arrived "
        "FOR EACH STATEMENT EXECUTE FUNCTION cdp_audit_waits()"
    )
    op.execute("ALTER TABLE audit_event NO FORCE ROW LEVEL SECURITY")  # or its owner would see no row here
    op.execute("INSERT INTO audit_pending (event_id) SELECT id FROM audit_event")
    op.execute("ALTER TABLE audit_event FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    """Drop the tree; the events stay."""
    op.execute("DROP TRIGGER audit_event_waits ON audit_event")
    op.execute("DROP FUNCTION cdp_audit_waits()")
    op.execute("GRANT UPDATE, DELETE ON audit_event, certificate TO cdp_worker")
    for table in ("audit_witness", "audit_head", "audit_node", "audit_leaf", "audit_pending", "audit_note"):
        op.drop_table(table)
    op.drop_index("audit_event_occurred_at_id_idx", "audit_event")
    for column in ("note_hash", "request", "client"):
        op.drop_column("audit_event", column)
