"""Connected systems that hold copies of the same customers; ``own`` is our own tables and always goes last."""

from sqlalchemy import Boolean, Column, Integer, LargeBinary, String, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cdp.tables.base import id_column, metadata, sealed, timestamp

system = Table(
    "system",
    metadata,
    id_column(),
    Column("name", String(60), nullable=False, unique=True),
    Column("title", String(200), nullable=False),
    Column("kind", String(30), nullable=False),
    Column("configuration", JSONB, nullable=False, server_default="{}"),
    Column("secrets_sealed", LargeBinary, info=sealed("system:{id}")),
    # What a legal hold on one of these categories keeps here (``tables.base.Category``).
    Column("categories", ARRAY(Text), nullable=False, server_default="{}"),
    Column("position", Integer, nullable=False, server_default="100"),
    Column("enabled", Boolean, nullable=False, server_default="true"),
    timestamp("created_at", now=True),
    timestamp("last_ok_at", nullable=True),
)
