"""What every table shares: metadata, naming, the three columns of a personal row, and the data map's vocabulary.

A personal table holds facts about one customer: it carries ``customer_id``, ``origin_identity_id`` (which identity
brought the row, so that a merge can be undone) and ``collection_id`` (where, when and under which policy version it was
collected). Each of its other columns says what it is: ``personal(...)`` or ``structural()``; ``datamap`` derives the
rest from that, and a test fails on any silent column.
Source: GDPR art. 30 (records of processing), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Column, DateTime, Enum, ForeignKey, Index, MetaData, Table, Uuid, func

from cdp.core.ids import new_id

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

E = TypeVar("E", bound=StrEnum)


class Category(StrEnum):
    """Data category of a column, as shown to people and used by access rules."""

    IDENTITY = "identity"
    ACCOUNT = "account"
    CONTACT = "contact"
    PREFERENCE = "preference"
    CONSENT = "consent"
    ORDER = "order"
    SUPPORT = "support"
    SURVEY = "survey"
    DEVICE = "device"
    ACTIVITY = "activity"
    REQUEST = "request"
    MESSAGE = "message"


class Erase(StrEnum):
    """What an erasure does to a column."""

    DELETE = "delete"  # the row goes
    NULL = "null"  # the row stays under a law, this value goes
    HASH = "hash"  # the row stays, the value becomes a keyed hash
    KEEP = "keep"  # kept under the law that ``basis`` names


@dataclass(frozen=True)
class Personal:
    """The data map's entry of one column."""

    category: Category
    erase: Erase
    export: bool
    basis: str | None = None


@dataclass(frozen=True)
class Structural:
    """A column that joins or orders rows and says nothing about a person by itself."""


@dataclass(frozen=True)
class Sealed:
    """A sealed column; ``context`` names the place of a value, columns in braces.

    Without a context each row has a key of its own in the key store, which rotation seals anew instead of the value.
    """

    context: str | None


@dataclass(frozen=True)
class Identifies:
    """A column that holds identifiers of these types, and whether their case counts."""

    types: frozenset[str]
    lower: bool


@dataclass(frozen=True)
class Retention:
    """Why rows of a table outlive an erasure, and for how long after the fact they record."""

    basis: str
    years: int
    since: str


def personal(
    category: Category, *, erase: Erase = Erase.DELETE, export: bool = True, basis: str | None = None
) -> dict[str, Any]:
    """Declare a personal column: ``Column(..., info=personal(Category.CONTACT))``. KEEP needs a basis."""
    if erase is Erase.KEEP and not basis:
        raise ValueError("a column that is kept names the law that demands it")
    return {"datamap": Personal(category, erase, export, basis)}


def structural() -> dict[str, Any]:
    """Declare a column of a personal table that is not personal by itself."""
    return {"datamap": Structural()}


def identifies(*types: str, lower: bool = False) -> dict[str, Any]:
    """Declare which types of identifiers a column holds: ``info={**personal(…), **identifies("email")}``.

    After an erasure each is looked up in it at once, so it leads an index; ``lower`` where the index is on the lower
    case of what people typed.
    """
    return {"identifies": Identifies(frozenset(types), lower)}


def sealed(context: str) -> dict[str, Any]:
    """Declare a column sealed under the master keys: ``info={**structural(), **sealed("totp:{id}")}``.

    ``context`` is what the sealer authenticates, with the row's columns in braces. ``cdp keys rotate`` finds every such
    column by this and seals it anew.
    """
    return {"sealed": Sealed(context)}


def sealed_apart() -> dict[str, Any]:
    """Declare a column whose rows are sealed under keys of their own, each in the key store."""
    return {"sealed": Sealed(None)}


def id_column() -> Column[Any]:
    """Primary key: UUIDv7 made in Python."""
    return Column("id", Uuid, primary_key=True, default=new_id)


def enum_type(kind: type[E], name: str) -> Enum:
    """A closed set as checked text: adding a value is one cheap migration, unlike a Postgres enum."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=40,
        values_callable=lambda e: [m.value for m in e],
    )


def timestamp(
    name: str, *, nullable: bool = False, now: bool = False, info: dict[str, Any] | None = None
) -> Column[Any]:
    """A moment with time zone; ``now`` lets the database's clock fill it."""
    return Column(
        name,
        DateTime(timezone=True),
        nullable=nullable,
        server_default=func.now() if now else None,
        info=info if info is not None else structural(),
    )


def subject_columns(*, nullable: bool = False, collected: bool = True) -> tuple[Column[Any], ...]:
    """The three columns every personal row carries.

    ``nullable`` where rows outlive the person under a law; ``collected=False`` where the platform itself made the row
    (a session, a token, a message), so that no collection point stands behind it.
    """
    return (
        Column("customer_id", Uuid, ForeignKey("customer.id"), nullable=nullable, info=structural()),
        Column("origin_identity_id", Uuid, ForeignKey("identity.id"), nullable=True, info=structural()),
        Column(
            "collection_id",
            Uuid,
            ForeignKey("collection.id"),
            nullable=nullable or not collected,
            info=structural(),
        ),
    )


def foreign_key_indexes(table: Table, *, skip: tuple[str, ...] = ()) -> None:
    """Index every foreign key that no other index already leads with."""
    leading = {index.expressions[0].name for index in table.indexes if hasattr(index.expressions[0], "name")}
    for column in table.columns:
        if column.foreign_keys and column.name not in leading and column.name not in skip and not column.primary_key:
            Index(None, column)
