"""A log of which customer changed where and in which transaction, for bulk exports that continue from an earlier one."""

from alembic import op

revision = "c0d1a5e0f502"
down_revision = "c0d1a5e0f501"
branch_labels = None
depends_on = None

BY_CUSTOMER = (
    *("account", "collection", "consent", "device", "email_address", "event", "identity", "inquiry", "message"),
    *("phone_number", "policy_acceptance", "postal_address", "preference", "privacy_request", "quotation"),
    *("sales_order", "sales_order_item", "session", "survey_response"),
)
# A change of these shows in everybody's profile: logged under the nil id.
REFERENCE = ("brand", "policy_version", "purpose")
TABLE = """
CREATE TABLE customer_change (
    xid BIGINT NOT NULL,
    customer_key UUID NOT NULL,
    area VARCHAR(40) NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT customer_change_pkey PRIMARY KEY (xid, customer_key, area)
)
"""
NIL = "'00000000-0000-0000-0000-000000000000'::uuid"
EVENTS = {
    "INSERT": ("NEW TABLE AS fresh", ("fresh",)),
    "UPDATE": ("OLD TABLE AS stale NEW TABLE AS fresh", ("stale", "fresh")),
    "DELETE": ("OLD TABLE AS stale", ("stale",)),
}


def _function(name: str, column: str, *, skips: bool) -> str:
    """One statement a written statement. A row of the customer itself in the same transaction says it all already."""
    branches = []
    for event, (_, sources) in EVENTS.items():
        keys = " UNION ".join(f"SELECT {column} AS key FROM {source}" for source in sources)
        known = (
            " AND NOT EXISTS (SELECT 1 FROM customer_change known WHERE known.xid = pg_current_xact_id()::text::bigint"
            " AND known.customer_key = changed.key AND known.area = 'customer')"
            if skips
            else ""
        )
        branches.append(
            f"IF TG_OP = '{event}' THEN INSERT INTO customer_change (xid, customer_key, area, recorded_at) "
            f"SELECT pg_current_xact_id()::text::bigint, changed.key, TG_TABLE_NAME, clock_timestamp() "
            f"FROM ({keys}) changed WHERE changed.key IS NOT NULL{known} ON CONFLICT DO NOTHING; RETURN NULL; END IF;"
        )
    # The definer is the owner: nobody who writes a profile may write, read or empty the log.
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = pg_catalog, public, pg_temp AS $$ BEGIN {' '.join(branches)} RETURN NULL; END $$"
    )


def _watch(table: str, function: str, events: tuple[str, ...]) -> None:
    for event in events:
        referencing = EVENTS[event][0]
        op.execute(
            f"CREATE TRIGGER {table}_note_{event.lower()} AFTER {event} ON {table} REFERENCING {referencing} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def upgrade() -> None:
    """Add the log and the triggers that fill it: one statement each, whatever the number of rows."""
    op.execute(TABLE)
    op.execute("CREATE INDEX customer_change_recorded_at_idx ON customer_change USING brin (recorded_at)")
    op.execute("GRANT SELECT, DELETE ON customer_change TO cdp_worker")
    op.execute(_function("cdp_note_customer", "id", skips=False))
    op.execute(_function("cdp_note_change", "customer_id", skips=True))
    op.execute(_function("cdp_note_reference", NIL, skips=False))
    _watch("customer", "cdp_note_customer", tuple(EVENTS))
    for table in BY_CUSTOMER:
        _watch(table, "cdp_note_change", tuple(EVENTS))
    for table in REFERENCE:
        _watch(table, "cdp_note_reference", ("UPDATE", "DELETE"))


def downgrade() -> None:
    """Drop triggers, functions and log: whoever continues later starts from a full export."""
    for table in ("customer", *BY_CUSTOMER):
        for event in EVENTS:
            op.execute(f"DROP TRIGGER {table}_note_{event.lower()} ON {table}")
    for table in REFERENCE:
        for event in ("UPDATE", "DELETE"):
            op.execute(f"DROP TRIGGER {table}_note_{event.lower()} ON {table}")
    for name in ("cdp_note_customer", "cdp_note_change", "cdp_note_reference"):
        op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("customer_change")
