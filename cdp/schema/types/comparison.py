"""Inputs that filter and order lists. Everything given must hold; ``eq: null`` asks for a missing value."""

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Generic, TypeVar

import strawberry
from strawberry import UNSET

C = TypeVar("C")


@strawberry.enum(description="Direction of an order.")
class OrderDirection(Enum):
    """Up or down."""

    ASC = "asc"
    DESC = "desc"


@strawberry.input(description="Compares with members of a closed set.")
class Choice(Generic[C]):
    """Comparisons of enums."""

    eq: C | None = strawberry.field(default=UNSET, description="Equals.")
    in_: list[C] | None = strawberry.field(name="in", default=UNSET, description="Is one of these.")


@strawberry.input(description="Compares a text exactly.")
class ExactFilter:
    """Comparisons of identifiers."""

    eq: str | None = strawberry.field(default=UNSET, description="Equals.")
    in_: list[str] | None = strawberry.field(name="in", default=UNSET, description="Is one of these.")


@strawberry.input(description="Compares a text.")
class TextFilter:
    """Comparisons of text."""

    eq: str | None = strawberry.field(default=UNSET, description="Equals.")
    in_: list[str] | None = strawberry.field(name="in", default=UNSET, description="Is one of these.")
    starts_with: str | None = strawberry.field(default=UNSET, description="Starts with.")
    contains: str | None = strawberry.field(default=UNSET, description="Contains.")


@strawberry.input(description="Searches a text.")
class SearchFilter:
    """Comparisons of searched text."""

    contains: str | None = strawberry.field(default=UNSET, description="Contains, whatever the case.")


@strawberry.input(description="Compares a moment.")
class DateTimeFilter:
    """Comparisons of moments."""

    eq: datetime | None = strawberry.field(default=UNSET, description="Equals.")
    gt: datetime | None = strawberry.field(default=UNSET, description="Later than.")
    gte: datetime | None = strawberry.field(default=UNSET, description="At or later than.")
    lt: datetime | None = strawberry.field(default=UNSET, description="Earlier than.")
    lte: datetime | None = strawberry.field(default=UNSET, description="At or earlier than.")


@strawberry.input(description="Compares an amount.")
class DecimalFilter:
    """Comparisons of amounts."""

    eq: Decimal | None = strawberry.field(default=UNSET, description="Equals.")
    gt: Decimal | None = strawberry.field(default=UNSET, description="More than.")
    gte: Decimal | None = strawberry.field(default=UNSET, description="At least.")
    lt: Decimal | None = strawberry.field(default=UNSET, description="Less than.")
    lte: Decimal | None = strawberry.field(default=UNSET, description="At most.")


@strawberry.input(description="Compares a yes or no.")
class BooleanFilter:
    """Comparisons of booleans."""

    eq: bool | None = strawberry.field(default=UNSET, description="Equals.")


@strawberry.input(description="Compares a global id.")
class IdFilter:
    """Comparisons of ids."""

    eq: strawberry.ID | None = strawberry.field(default=UNSET, description="Equals.")
    in_: list[strawberry.ID] | None = strawberry.field(name="in", default=UNSET, description="Is one of these.")
