"""Whom a cohort of an asset transfer has, how the acquirer knows them, and what the sold brand has collected: SQL."""

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    exists,
    literal_column,
    or_,
    select,
)
from sqlalchemy.types import TypeEngine

from cdp.compiler.render import Json
from cdp.tables.policy import collection
from cdp.tables.transfer import transfer_customer

_ONE = literal_column("1", Integer)


def bound(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """A parameter that the part at hand gives."""
    return bindparam(name, type_=kind)


def members() -> Select[Any]:
    """Customers of the cohort at hand who are still there."""
    member = transfer_customer.c
    return select(member.customer_id).where(
        member.cohort_id == bound("cohort", Uuid()), member.customer_id.is_not(None)
    )


def record_of(value: ColumnElement[Any]) -> Json:
    """The name under which the acquirer knows a customer."""
    member = transfer_customer.alias("record")
    found = select(cast(member.c.id, Text)).where(
        member.c.cohort_id == bound("cohort", Uuid()), member.c.customer_id == value
    )
    return found.scalar_subquery()


def collected(collection_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the brand at hand has collected it; asked row by row only where another brand knows these customers."""
    source = collection.alias("collected")
    mine = exists(_ONE).select_from(source)
    mine = mine.where(source.c.id == collection_id, source.c.brand_id == bound("brand", Uuid()))
    return or_(~bound("mixed", Boolean()), mine)
