"""Legal holds: what is kept of somebody although they asked for its deletion."""

from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text
from sqlalchemy import cast as sql_cast

from cdp.compiler.graph import Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, mapped, one
from cdp.schema.types.comparison import Choice, DateTimeFilter
from cdp.schema.types.relay import Node
from cdp.tables import hold
from cdp.tables.base import Category
from cdp.tables.hold import HoldStatus

strawberry.enum(Category, description="What kind of data it is.")
strawberry.enum(HoldStatus, description="Where a legal hold stands.")


def _is_effective(row: Row) -> ColumnElement[Any]:
    return row["status"].in_([quoted(status.value) for status in sorted(hold.EFFECTIVE)])


def _placed_by(row: Row) -> ColumnElement[Any]:
    return sql_cast(row["placed_by_id"], Text)


def _release_asked_by(row: Row) -> ColumnElement[Any]:
    return sql_cast(row["release_asked_by_id"], Text)


@mapped(hold.legal_hold, subject="customer_id", description="A duty to keep one category of somebody's records.")
class LegalHold(Node):
    """A legal hold."""

    category: Category = column(description="What it keeps.")
    status: HoldStatus = column(description="Where it stands.")
    is_effective: bool = column(_is_effective, description="Whether it keeps anything now.")
    notice: str | None = column(description="Why, in words for the customer; null where that is secret.")
    reason: str | None = column(description="Why, for staff.")
    is_secret: bool | None = column(description="Whether the customer may not read why.")
    case_ref: str | None = column(description="The case it belongs to.")
    release_reason: str | None = column(description="Why it is to end, or was refused.")
    file_name: str | None = column(description="Name of the document behind it, which is kept sealed.")
    placed_by_id: str | None = column(_placed_by, description="Who placed it.")
    release_asked_by_id: str | None = column(_release_asked_by, description="Who asked to release it.")
    placed_at: datetime = column(description="Since when it keeps these records.")
    approved_at: datetime | None = column(description="When a second person agreed to it.")
    review_at: datetime | None = column(description="When to look again whether it is still needed.")
    until: datetime | None = column(description="When it ends by itself.")
    ended_at: datetime | None = column(description="When it ended.")
    customer: Annotated["Customer", strawberry.lazy("cdp.schema.types.customer")] | None = one(  # type: ignore[name-defined]  # noqa: F821  # a lazy name
        {"customer_id": "id"}, description="Whose records they are, until these are erased."
    )


@strawberry.input(description="Which legal holds to list.")
class LegalHoldFilter:
    """Conditions on holds."""

    status: Choice[HoldStatus] | None = filtered(description="Where they stand.")
    category: Choice[Category] | None = filtered(description="What they keep.")
    review_at: DateTimeFilter | None = filtered(description="When they are to be looked at again.")


HOLD_ORDERINGS = {"PLACED_AT": OrderingSource()}
