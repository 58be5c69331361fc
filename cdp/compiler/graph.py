"""The graph that the compiler reads: GraphQL types mapped to tables, as plain frozen dataclasses.

``schema/graph.py`` builds it from the Strawberry types, so that nothing here knows Strawberry. A field says where its
value comes from: a column, an object on the same row, one related row, a bounded list, a page. Whatever a field
discloses through filters and orderings is named by its coordinate ``Type.field``, so that access rules cover it too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from graphql import GraphQLSchema
from sqlalchemy import ColumnElement, Table

from cdp.access.viewer import Viewer


class Row(Protocol):
    """One row of a statement: its columns by name."""

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        """The column of this row."""


Expression: TypeAlias = Callable[[Row], ColumnElement[Any]]
Coordinate: TypeAlias = tuple[str, str]
Join: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs ``(column of the parent's row, column of the related row)``."""


class Kind(StrEnum):
    """How a column becomes JSON; the same formats as resolved fields (Decimal and BigInt are strings)."""

    ID = "id"
    TEXT = "text"
    INT = "int"
    BIGINT = "bigint"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    DATETIME = "datetime"
    DATE = "date"
    JSON = "json"
    ENUM = "enum"
    BYTES = "bytes"


@dataclass(frozen=True)
class Scalar:
    """A value of the row. An id says whose id it is."""

    name: str
    kind: Kind
    sql: Expression
    nullable: bool
    id_type: str | None = None


@dataclass(frozen=True)
class Constant:
    """A value that depends on the kind of viewer alone, never on a row and never on who it is."""

    name: str
    value: Callable[[Viewer], object]
    nullable: bool = False


@dataclass(frozen=True)
class MaskedFields:
    """``maskedFields``: names of the fields of this object that this viewer sees masked."""

    name: str
    nullable: bool = False


@dataclass(frozen=True)
class Embedded:
    """An object made of the same row; ``Viewer`` and ``contacts`` for example."""

    name: str
    target: str
    nullable: bool


@dataclass(frozen=True)
class One:
    """One related row. Without a join the row is the viewer's own (``subject_column``) or named by an id argument."""

    name: str
    target: str
    join: Join = ()
    where: Expression | None = None
    subject_column: str | None = None
    id_argument: str | None = None
    nullable: bool = True


@dataclass(frozen=True)
class Order:
    """One sort key of an ordering; never null, because keyset pages compare it."""

    sql: Expression
    kind: Kind
    descending: bool = False


@dataclass(frozen=True)
class Many:
    """A plain list that is short by nature: complete, never cut. ``typical`` is what it counts for as cost."""

    name: str
    target: str
    order: tuple[Order, ...]
    join: Join = ()
    where: Expression | None = None
    typical: int = 10
    nullable: bool = True


class Operator(StrEnum):
    """What a filter may ask of a value."""

    EQ = "eq"
    IN = "in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    STARTS_WITH = "startsWith"
    CONTAINS = "contains"


@dataclass(frozen=True)
class Filter:
    """One member of a filter input: the expression it compares and the fields it thereby discloses.

    ``within`` compares inside related rows: some row of that table must match.
    """

    name: str
    sql: Expression
    kind: Kind
    discloses: tuple[Coordinate, ...]
    within: tuple[Table, Join] | None = None
    id_type: str | None = None
    fold: bool = False


@dataclass(frozen=True)
class Ordering:
    """One value of an ``orderBy`` enum; the row's id breaks ties in the same direction."""

    name: str
    key: Order
    discloses: tuple[Coordinate, ...]


@dataclass(frozen=True)
class Connection:
    """A Relay connection with keyset pages (https://relay.dev/graphql/connections.htm)."""

    name: str
    target: str
    orderings: Mapping[str, Ordering]
    default: str
    default_descending: bool
    join: Join = ()
    where: Expression | None = None
    filters: Mapping[str, Filter] = field(default_factory=dict)
    nullable: bool = True


@dataclass(frozen=True)
class NodeById:
    """``node(id)``: one object of any type that has a global id."""

    name: str
    nullable: bool = True


@dataclass(frozen=True)
class NodesById:
    """``nodes(ids)``: objects by global id, in the order asked, null where there is none."""

    name: str
    nullable: bool = True


Field: TypeAlias = Scalar | Constant | MaskedFields | Embedded | One | Many | Connection | NodeById | NodesById


@dataclass(frozen=True)
class ObjectType:
    """A GraphQL object. ``table`` is None when it stands on its parent's row (embedded) or on none."""

    name: str
    fields: Mapping[str, Field]
    table: Table | None = None
    is_node: bool = False
    subject_column: str | None = None
    """The column that says whose row this is; row predicates and the shortcut for pinned joins read it."""
    is_recorded: bool = False
    """Whether reading it leaves a trace although it is nobody's."""


@dataclass(frozen=True)
class Graph:
    """Everything the compiler knows. ``schema`` validates documents and coerces variables."""

    schema: GraphQLSchema
    types: Mapping[str, ObjectType]

    @property
    def query(self) -> ObjectType:
        """The root type of compiled reads."""
        return self.types["Query"]

    def node_types(self) -> Iterator[ObjectType]:
        """Types that ``node(id)`` can answer with."""
        return (kind for kind in self.types.values() if kind.is_node)
