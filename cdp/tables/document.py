"""Stored GraphQL documents: what clients may ask for by its SHA-256, and all they may ask for where that is set."""

from sqlalchemy import Column, String, Table, Text

from cdp.tables.base import metadata, timestamp

graphql_document = Table(
    "graphql_document",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("text", Text, nullable=False),
    timestamp("added_at", now=True),
)
