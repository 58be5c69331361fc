"""SQLAlchemy Core tables, one module per aggregate, with a data map on every personal column."""

from cdp.tables import (
    account,
    audit,
    certificate,
    consent,
    contact,
    customer,
    event,
    export,
    inquiry,
    message,
    oauth,
    order,
    policy,
    request,
    second_factor,
    staff,
    system,
)
from cdp.tables.base import metadata

__all__ = [
    "account",
    "audit",
    "certificate",
    "consent",
    "contact",
    "customer",
    "event",
    "export",
    "inquiry",
    "message",
    "metadata",
    "oauth",
    "order",
    "policy",
    "request",
    "second_factor",
    "staff",
    "system",
]
