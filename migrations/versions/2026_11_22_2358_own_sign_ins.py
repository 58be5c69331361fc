"""Let customers read by what they sign in and what they let in, never a secret."""

from alembic import op

revision = "c0d1a5e0d501"
down_revision = "c0d1a5e0a401"
branch_labels = None
depends_on = None

OWN = "id, customer_id, origin_identity_id, collection_id"
READ = {
    "oauth_client": "id, name",
    "oauth_token": f"{OWN}, client_id, family_id, scope, authenticated_at, issued_at, expires_at",
    "recovery_code": f"{OWN}, created_at, used_at",
    "totp": f"{OWN}, created_at, used_at",
}


def upgrade() -> None:
    """Grant reading of the columns that say nothing secret; row policies stand already."""
    for table, columns in READ.items():
        op.execute(f"GRANT SELECT ({columns}) ON {table} TO cdp_customer")


def downgrade() -> None:
    """Take it back."""
    for table, columns in READ.items():
        op.execute(f"REVOKE SELECT ({columns}) ON {table} FROM cdp_customer")
