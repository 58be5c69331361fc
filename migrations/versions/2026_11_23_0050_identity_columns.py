"""Index every column that holds identifiers, so that an erasure can look them up at once."""

from alembic import op

revision = "c0d1a5e0a402"
down_revision = "c0d1a5e0f304"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes that were missing."""
    op.create_index("mail_link_address_idx", "mail_link", ["address"])
    op.create_index("device_cookie_id_idx", "device", ["cookie_id"])
    op.execute("CREATE INDEX message_lower_recipient_idx ON message (lower(recipient))")


def downgrade() -> None:
    """Drop them."""
    op.drop_index("message_lower_recipient_idx", "message")
    op.drop_index("device_cookie_id_idx", "device")
    op.drop_index("mail_link_address_idx", "mail_link")
