"""Say since when what was sold is used for nothing here, and when it went; partners' reads ask.

The days to keep it belong to a deal's terms, and so to the hash of what is frozen: a deal that was frozen and not packed
yet is frozen and approved once more.
"""

import sqlalchemy as sa
from alembic import op

revision = "c0d1a5e0f300"
down_revision = "c0d1a5e0e901"
branch_labels = None
depends_on = None

ROLE = "cdp_partner"
IS_NAMED = "nullif(current_setting('cdp.grant', true), '') IS NOT NULL"
# What a partner's statement needs to see that something was sold.
READ = {
    "transfer": "id, brand_id",
    "transfer_customer": "customer_id, transfer_id, stopped_at",
    "collection": "id, customer_id, brand_id",
}
# A row that was not classified again says nothing new: only this one column lets somebody into exports, or out.
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
    """Add the columns, what looks them up, and who may."""
    op.add_column("transfer", sa.Column("retain_days", sa.Integer(), server_default="180", nullable=False))
    op.add_column("transfer_customer", sa.Column("stopped_at", sa.DateTime(timezone=True)))
    op.add_column("transfer_customer", sa.Column("removed_at", sa.DateTime(timezone=True)))
    op.add_column("transfer_customer", sa.Column("removal_id", sa.Uuid()))
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
    op.execute("GRANT SELECT (stopped_at, removed_at) ON transfer_customer TO cdp_customer")
    op.execute("GRANT UPDATE (stopped_at) ON transfer_customer TO cdp_customer")
    op.execute("GRANT SELECT (retain_days) ON transfer TO cdp_customer, cdp_staff")
    for table, columns in READ.items():
        op.execute(f"GRANT SELECT ({columns}) ON {table} TO {ROLE}")
        op.execute(f"CREATE POLICY {table}_partner ON {table} FOR SELECT TO {ROLE} USING ({IS_NAMED})")


def downgrade() -> None:
    """Drop them."""
    for table, columns in READ.items():
        op.execute(f"DROP POLICY {table}_partner ON {table}")
        op.execute(f"REVOKE SELECT ({columns}) ON {table} FROM {ROLE}")
    op.execute("DROP TRIGGER transfer_customer_note_departure ON transfer_customer")
    op.execute("DROP FUNCTION cdp_note_departure()")
    op.drop_index("transfer_customer_stopped_idx", "transfer_customer")
    for column in ("removal_id", "removed_at", "stopped_at"):
        op.drop_column("transfer_customer", column)
    op.drop_column("transfer", "retain_days")
