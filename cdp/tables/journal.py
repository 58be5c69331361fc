"""The erasure journal as the database knows it: what it has written or replayed, each entry chained to the one before.

The original lies in the object store; this is the marker by which a restored database sees how far behind it is.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text, Uuid

from cdp.tables.base import metadata, timestamp

# No foreign keys: an entry outlives whatever it speaks of, and comes back before it after a restore.
journal_entry = Table(
    "journal_entry",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(20), nullable=False),
    Column("request_id", Uuid, index=True),
    Column("erased_id", Uuid, index=True),
    Column("document", Text, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    timestamp("appended_at", now=True),
    timestamp("published_at", nullable=True),
)

Index("journal_entry_unpublished_idx", journal_entry.c.sequence, postgresql_where="published_at IS NULL")
