"""Which key store the database was filled with: one row, written by whoever starts first."""

from sqlalchemy import CheckConstraint, Column, LargeBinary, SmallInteger, Table

from cdp.tables.base import metadata, timestamp

key_store = Table(
    "key_store",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default="1"),
    Column("fingerprint", LargeBinary(32), nullable=False),
    timestamp("recorded_at", now=True),
    CheckConstraint("id = 1", name="key_store_id_check"),
)
