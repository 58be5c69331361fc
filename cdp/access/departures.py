"""What went to an acquirer with a sold brand and is used here no more: SQL over a customer's row, or one of theirs.

Once the acquirer has signed for a person, ``collection.stopped_at`` says since when what the sold brand collected of
them is used for nothing; a recall and a late objection clear it. Partners, offers and bulk exports ask here. Whom other
brands know too stays a customer of theirs. Statements over many people ask first whether anybody went at all.
Source: GDPR art. 5(1)(b) (purpose limitation).
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, all_, and_, exists, func, literal_column, or_, select, true

from cdp.access.decision import Columns
from cdp.tables.policy import collection

_ONE: ColumnElement[int] = literal_column("1")


def kept(row: Columns, *, of_many: bool = False) -> ColumnElement[bool]:
    """Whether a row with a ``collection_id`` was collected by a brand that is still ours to use it for."""
    source = collection.alias("source")
    gone = (source.c.id == row["collection_id"], source.c.stopped_at.is_not(None))
    ours = ~exists(_ONE).select_from(source).where(*gone)
    return or_(~_ever(), ours) if of_many else ours


def sold_of(row: Columns) -> ColumnElement[list[UUID]]:
    """What was collected of a customer and went with a sold brand, by its id; null where nothing did."""
    source = collection.alias("source")
    sold = select(source.c.id).where(source.c.customer_id == row["id"], source.c.stopped_at.is_not(None))
    nothing: ColumnElement[Any] = literal_column("'{}'::uuid[]")
    return func.nullif(func.array(sold.scalar_subquery()), nothing, type_=ARRAY(Uuid()))


def kept_from(row: Columns, sold: ColumnElement[list[UUID]]) -> ColumnElement[bool]:
    """As ``kept``, of somebody whose ``sold_of`` the statement has asked for once."""
    return or_(sold.is_(None), func.coalesce(row["collection_id"] != all_(sold), true()))


def has_left(row: Columns, *, by_brand: bool = False, of_many: bool = False) -> ColumnElement[bool]:
    """Whether all that was collected of a customer went with sold brands; ``by_brand``, or their own brand was sold."""
    key, source, left = row["id"], collection.alias("went"), collection.alias("remaining")
    went = exists(_ONE).select_from(source).where(source.c.customer_id == key, source.c.stopped_at.is_not(None))
    stays = [left.c.customer_id == key, left.c.stopped_at.is_(None)]
    if by_brand:
        stays.append(left.c.brand_id == row["brand_id"])
    gone = and_(went, ~exists(_ONE).select_from(left).where(*stays))
    return and_(_ever(), gone) if of_many else gone


def _ever() -> ColumnElement[bool]:
    """Whether anybody went at all: asked once a statement, since it depends on no row.

    In the order of the index of those who went: for EXISTS, Postgres reads the whole table until it has statistics.
    """
    source = collection.alias("ever")
    gone = select(_ONE).select_from(source).where(source.c.stopped_at.is_not(None))
    return gone.order_by(source.c.customer_id).limit(_ONE).scalar_subquery().is_not(None)
