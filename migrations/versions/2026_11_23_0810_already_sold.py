"""Exclude from a deal whoever another one has sold already."""

from alembic import op

revision = "c0d1a5e0ea04"
down_revision = "c0d1a5e0ea03"
branch_labels = None
depends_on = None

NAME = "transfer_customer_exclusion_reason_check"
BEFORE = (
    "not_in_brand",
    "erasure",
    "suppressed",
    "restricted",
    "held",
    "minor",
    "partner_owned",
    "unresolved_merge",
    "objected",
    "policy_forbids",
    "no_basis",
    "no_consent",
    "inactive",
    "undeliverable_notice",
)


def _allow(values: tuple[str, ...]) -> None:
    op.drop_constraint(NAME, "transfer_customer")
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute(f"ALTER TABLE transfer_customer ADD CONSTRAINT {NAME} CHECK (reason IN ({listed})) NOT VALID")
    op.execute(f"ALTER TABLE transfer_customer VALIDATE CONSTRAINT {NAME}")


def upgrade() -> None:
    """One reason more."""
    _allow((*BEFORE, "already_sold"))


def downgrade() -> None:
    """One less; rows that give it have to be classified anew first."""
    _allow(BEFORE)
