"""Look once a statement whether the people of a deal belong to a deal and cohort that are there.

A foreign key looks row by row, and locks the same deal a million times for a million people of it. Nobody deletes a
deal or a cohort, which a trigger now makes sure of; so it is enough to look at what a statement wrote, and that also
finds a cohort of another deal. Two indexes go that nothing reads in their order.
"""

from alembic import op

revision = "c0d1a5e0ea07"
down_revision = "c0d1a5e0ea06"
branch_labels = None
depends_on = None

MEMBERS = "transfer_customer"
PARENTS = {"transfer_id": "transfer", "cohort_id": "transfer_cohort"}
REFUSED = "USING ERRCODE = 'foreign_key_violation', TABLE = TG_TABLE_NAME"
# Written rows as a transition table, or the one row of a row trigger.
LOST = """
SELECT FROM (SELECT DISTINCT transfer_id, cohort_id FROM {written}) w
  LEFT JOIN transfer t ON t.id = w.transfer_id
  LEFT JOIN transfer_cohort k ON k.id = w.cohort_id AND k.transfer_id = w.transfer_id
 WHERE t.id IS NULL OR (w.cohort_id IS NOT NULL AND k.id IS NULL)"""


def _function(name: str, written: str) -> None:
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF EXISTS ({LOST.format(written=written)}) THEN"
        f" RAISE 'somebody is of no deal, or of a cohort that is not of their deal' {REFUSED}; END IF;"
        " RETURN NULL; END $$"
    )


def upgrade() -> None:
    """Look at what was written as a whole."""
    _function("cdp_transfer_members_belong", "written")
    _function("cdp_transfer_member_belongs", "(SELECT NEW.transfer_id, NEW.cohort_id) written")
    op.execute(
        f"CREATE TRIGGER {MEMBERS}_belong AFTER INSERT ON {MEMBERS} REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION cdp_transfer_members_belong()"
    )
    op.execute(
        f"CREATE TRIGGER {MEMBERS}_belongs AFTER UPDATE OF transfer_id, cohort_id ON {MEMBERS} FOR EACH ROW"
        " WHEN (NEW.transfer_id IS DISTINCT FROM OLD.transfer_id"
        " OR (NEW.cohort_id IS NOT NULL AND NEW.cohort_id IS DISTINCT FROM OLD.cohort_id))"
        " EXECUTE FUNCTION cdp_transfer_member_belongs()"
    )
    op.execute(
        "CREATE FUNCTION cdp_transfer_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE 'deals and cohorts stay: the people in them name them' {REFUSED}; END $$"
    )
    for column, parent in PARENTS.items():
        op.execute(
            f"CREATE TRIGGER {parent}_stays BEFORE DELETE OR UPDATE OF id ON {parent} FOR EACH ROW"
            " EXECUTE FUNCTION cdp_transfer_stays()"
        )
        op.drop_constraint(f"{MEMBERS}_{column}_fkey", MEMBERS)
    with op.get_context().autocommit_block():
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {MEMBERS}_transfer_id_idx ON {MEMBERS} (transfer_id)")
        for column in PARENTS:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {MEMBERS}_{column}_id_idx")


def downgrade() -> None:
    """Bring the foreign keys and the indexes back."""
    with op.get_context().autocommit_block():
        for column in PARENTS:
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {MEMBERS}_{column}_id_idx ON {MEMBERS} ({column}, id)")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {MEMBERS}_transfer_id_idx")
    for column, parent in PARENTS.items():
        name = f"{MEMBERS}_{column}_fkey"
        op.execute(
            f"ALTER TABLE {MEMBERS} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {parent} (id) NOT VALID"
        )
        op.execute(f"ALTER TABLE {MEMBERS} VALIDATE CONSTRAINT {name}")
        op.execute(f"DROP TRIGGER {parent}_stays ON {parent}")
    op.execute(f"DROP TRIGGER {MEMBERS}_belongs ON {MEMBERS}")
    op.execute(f"DROP TRIGGER {MEMBERS}_belong ON {MEMBERS}")
    for name in ("cdp_transfer_stays", "cdp_transfer_member_belongs", "cdp_transfer_members_belong"):
        op.execute(f"DROP FUNCTION {name}()")
