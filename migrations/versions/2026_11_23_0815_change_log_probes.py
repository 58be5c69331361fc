"""Ask the change log key by key, so that one long transaction costs the same for its last row as for its first."""

from alembic import op

revision = "c0d1a5e0ea05"
down_revision = "c0d1a5e0ea04"
branch_labels = None
depends_on = None

SOURCES = {"INSERT": ("fresh",), "UPDATE": ("stale", "fresh"), "DELETE": ("stale",)}
SEARCH_PATH = "SET search_path = pg_catalog, public, pg_temp"


def _function(*, last: str, settings: str) -> str:
    """``last`` is what ends the question whether a row of the customer itself says it all already."""
    branches = []
    for event, sources in SOURCES.items():
        keys = " UNION ".join(f"SELECT customer_id AS key FROM {source}" for source in sources)
        branches.append(
            f"IF TG_OP = '{event}' THEN INSERT INTO customer_change (xid, customer_key, area, recorded_at) "
            f"SELECT pg_current_xact_id()::text::bigint, changed.key, TG_TABLE_NAME, clock_timestamp() "
            f"FROM ({keys}) changed WHERE changed.key IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM customer_change known WHERE known.xid = pg_current_xact_id()::text::bigint"
            f" AND known.customer_key = changed.key AND known.area = 'customer'{last}) ON CONFLICT DO NOTHING;"
            " RETURN NULL; END IF;"
        )
    return (
        "CREATE OR REPLACE FUNCTION cdp_note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"{settings} AS $$ BEGIN {' '.join(branches)} RETURN NULL; END $$"
    )


def upgrade() -> None:
    """Keep the question from becoming a join, which read all that the transaction had noted with every statement.

    The plan of a trigger is made once in a session, when the log may be empty: neither its size nor statistics may
    decide. OFFSET 0 keeps a sub-select apart
    (https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/optimizer/plan/subselect.c,
    simplify_EXISTS_query), and without sequential scans it is one probe of the primary key.
    """
    op.execute(_function(last=" OFFSET 0", settings=f"{SEARCH_PATH} SET enable_seqscan = off"))


def downgrade() -> None:
    """Leave it to the planner again."""
    op.execute(_function(last="", settings=SEARCH_PATH))
