"""Passkeys are part of a profile that is exported, so that a change of one is a change of the customer."""

from alembic import op

revision = "c0d1a5e0f504"
down_revision = "c0d1a5e0f301"
branch_labels = None
depends_on = None

EVENTS = {
    "INSERT": "NEW TABLE AS fresh",
    "UPDATE": "OLD TABLE AS stale NEW TABLE AS fresh",
    "DELETE": "OLD TABLE AS stale",
}


def upgrade() -> None:
    """Watch the table."""
    for event, tables in EVENTS.items():
        op.execute(
            f"CREATE TRIGGER passkey_note_{event.lower()} AFTER {event} ON passkey REFERENCING {tables} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cdp_note_change()"
        )


def downgrade() -> None:
    """Watch it no longer."""
    for event in EVENTS:
        op.execute(f"DROP TRIGGER passkey_note_{event.lower()} ON passkey")
