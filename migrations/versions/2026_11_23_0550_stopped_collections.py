"""Mark what is used no more where it was collected: a read asks one row by its key, and transfers need not be seen."""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f3a2"
down_revision = "c0d1a5e0f3a1"
branch_labels = None
depends_on = None

ROLE = "cdp_partner"
IS_NAMED = "nullif(current_setting('cdp.grant', true), '') IS NOT NULL"
# What partners' statements looked into before.
READ = {"transfer": "id, brand_id", "transfer_customer": "customer_id, transfer_id, stopped_at"}
NOTE = """
CREATE FUNCTION cdp_note_departure() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$ BEGIN
    IF NEW.customer_id IS NOT NULL THEN
        INSERT INTO customer_change (xid, customer_key, area, recorded_at)
        VALUES (pg_current_xact_id()::text::bigint, NEW.customer_id, TG_TABLE_NAME, clock_timestamp())
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Add the mark, copy what is marked; changes of a collection are noted already."""
    op.add_column("collection", sa.Column("stopped_at", sa.DateTime(timezone=True)))
    op.create_index("collection_stopped_idx", "collection", ["customer_id"], postgresql_where="stopped_at IS NOT NULL")
    op.execute(
        "UPDATE collection c SET stopped_at = m.stopped_at FROM transfer_customer m JOIN transfer d ON d.id ="
        " m.transfer_id WHERE m.stopped_at IS NOT NULL AND c.customer_id = m.customer_id AND c.brand_id = d.brand_id"
    )
    op.execute(f"GRANT SELECT (stopped_at) ON collection TO {ROLE}")
    op.execute("GRANT UPDATE (stopped_at) ON collection TO cdp_customer")
    for table, columns in READ.items():
        op.execute(f"DROP POLICY {table}_partner ON {table}")
        op.execute(f"REVOKE SELECT ({columns}) ON {table} FROM {ROLE}")
    op.execute("DROP TRIGGER transfer_customer_note_departure ON transfer_customer")
    op.execute("DROP FUNCTION cdp_note_departure()")
    op.drop_index("transfer_customer_stopped_idx", "transfer_customer")


def downgrade() -> None:
    """Let reads look into transfers again."""
    op.create_index(
        "transfer_customer_stopped_idx",
        "transfer_customer",
        ["customer_id", "transfer_id"],
        postgresql_where="stopped_at IS NOT NULL",
    )
    op.execute(NOTE)
    op.execute(
        "CREATE TRIGGER transfer_customer_note_departure AFTER UPDATE OF stopped_at ON transfer_customer FOR EACH ROW"
        " WHEN (OLD.stopped_at IS DISTINCT FROM NEW.stopped_at) EXECUTE FUNCTION cdp_note_departure()"
    )
    for table, columns in READ.items():
        op.execute(f"GRANT SELECT ({columns}) ON {table} TO {ROLE}")
        op.execute(f"CREATE POLICY {table}_partner ON {table} FOR SELECT TO {ROLE} USING ({IS_NAMED})")
    op.execute("REVOKE UPDATE (stopped_at) ON collection FROM cdp_customer")
    op.drop_index("collection_stopped_idx", "collection")
    op.drop_column("collection", "stopped_at")
