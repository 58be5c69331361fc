"""What went to an acquirer with a sold brand and is used here no more: SQL over a customer's row, or one of theirs.

Once the acquirer has signed for a person, ``transfer_customer.stopped_at`` says since when what the sold brand
collected of them is used for nothing; a recall and a late objection clear it. Partners, offers and bulk exports ask
here. Whom other brands know too stays a customer of theirs. Where no deal was ever carried out, the first test of each
predicate answers for the whole statement.
Source: GDPR art. 5(1)(b) (purpose limitation).
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, literal_column, or_

from cdp.access.decision import Columns
from cdp.tables.policy import collection
from cdp.tables.transfer import transfer, transfer_customer

_ONE: ColumnElement[int] = literal_column("1")


def kept(row: Columns) -> ColumnElement[bool]:
    """Whether a row with a ``collection_id`` was collected by a brand that is still ours to use it for."""
    source, gone, deal = collection.alias("source"), transfer_customer.alias("gone"), transfer.alias("deal")
    joined = source.join(gone, gone.c.customer_id == source.c.customer_id).join(deal, _of(deal, gone))
    went = (gone.c.stopped_at.is_not(None), deal.c.brand_id == source.c.brand_id)
    sold = exists(_ONE).select_from(joined).where(source.c.id == row["collection_id"], *went)
    return or_(~_ever(), ~sold)


def has_left(row: Columns, *, of_brand: bool = False) -> ColumnElement[bool]:
    """Whether all that was collected of a customer went with sold brands; or, ``of_brand``, their own brand is sold."""
    key = row["id"]
    if of_brand:
        return and_(_ever(), _sold(key, row["brand_id"]))
    gone, left = transfer_customer.alias("gone"), collection.alias("remaining")
    went = exists(_ONE).select_from(gone).where(gone.c.customer_id == key, gone.c.stopped_at.is_not(None))
    stays = exists(_ONE).select_from(left).where(left.c.customer_id == key, ~_sold(key, left.c.brand_id))
    return and_(_ever(), went, ~stays)


def _sold(key: ColumnElement[Any], brand: ColumnElement[Any]) -> ColumnElement[bool]:
    gone, deal = transfer_customer.alias("sold"), transfer.alias("sale")
    joined = gone.join(deal, _of(deal, gone))
    mine = (gone.c.customer_id == key, gone.c.stopped_at.is_not(None), deal.c.brand_id == brand)
    return exists(_ONE).select_from(joined).where(*mine)


def _of(deal: Any, gone: Any) -> ColumnElement[bool]:  # noqa: ANN401  # aliases of tables
    found: ColumnElement[bool] = deal.c.id == gone.c.transfer_id
    return found


def _ever() -> ColumnElement[bool]:
    """Whether anybody went at all: asked once a statement, since it depends on no row."""
    gone = transfer_customer.alias("ever")
    return exists(_ONE).select_from(gone).where(gone.c.stopped_at.is_not(None))
