"""People who work here: agents, supervisors, privacy officers, administrators, analysts."""

from enum import StrEnum

from sqlalchemy import Boolean, Column, String, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import id_column, metadata, timestamp


class StaffRole(StrEnum):
    """What a member of staff may be; rules in ``access`` say what that allows."""

    AGENT = "agent"
    SUPERVISOR = "supervisor"
    PRIVACY_OFFICER = "privacy_officer"
    ADMINISTRATOR = "administrator"
    ANALYST = "analyst"


staff = Table(
    "staff",
    metadata,
    id_column(),
    Column("username", String(320), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("password_hash", String(255)),
    Column("roles", ARRAY(Text), nullable=False),
    Column("active", Boolean, nullable=False, server_default="true"),
    timestamp("created_at", now=True),
)
