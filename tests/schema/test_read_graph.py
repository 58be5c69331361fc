"""The schema as the compiler's graph: complete, described, and loud about anything unmapped."""

from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from cdp.schema.fields import OrderingSource, column, connection, filtered, many, mapped, one
from cdp.schema.graph import UnmappedField, build_graph
from cdp.schema.scalars import schema_config
from cdp.schema.types.comparison import TextFilter
from cdp.schema.types.relay import Connection
from cdp.tables import policy
from cdp.tables.datamap import personal_tables
from tests.twin.reading import GRAPH

NOT_SHOWN = frozenset(
    {
        "audit_note",
        "half_sign_in",
        "mail_link",
        "manual_task",
        "oauth_code",
        "oauth_device_code",
        "reveal",
    }
)
"""Secrets of sign-in; a person sees them as sessions. Notes are fields of their audit events, reveals are such events.
A manual task is work on a request, whose task shows it."""


def graph_of(query: type) -> Any:
    return build_graph(strawberry.Schema(query=query, config=schema_config()))


def test_every_table_about_a_person_can_be_read() -> None:
    shown = {kind.table.name for kind in GRAPH.types.values() if kind.table is not None}
    personal = {table.name for table in personal_tables()}
    assert personal - shown <= NOT_SHOWN


def test_everything_is_described() -> None:
    missing: list[str] = []
    for kind in GRAPH.schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if not kind.description:
            missing.append(kind.name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in kind.fields.items():
                arguments = getattr(field, "args", {})
                missing += [f"{kind.name}.{name}({key})" for key, one in arguments.items() if not one.description]
                if not field.description:
                    missing.append(f"{kind.name}.{name}")
    assert missing == []


def test_stored_values_are_the_names_in_capitals() -> None:
    for kind in GRAPH.schema.type_map.values():
        if isinstance(kind, GraphQLEnumType) and not kind.name.startswith("__") and "Order" not in kind.name:
            assert all(name == str(value.value).upper() for name, value in kind.values.items()), kind.name


@mapped(policy.brand, description="A brand.")
class Thing:
    code: str = column(description="Code.")


def test_a_field_that_says_nothing_is_refused() -> None:
    @strawberry.type
    class Query:
        thing: str

    with pytest.raises(UnmappedField, match=r"Query\.thing"):
        graph_of(Query)


def test_a_missing_column_is_refused() -> None:
    @mapped(policy.brand, description="A brand.")
    class Wrong:
        colour: str = column(description="There is none.")

    @strawberry.type
    class Query:
        wrong: list[Wrong] = many(order=("id",), description="Brands.")

    with pytest.raises(UnmappedField, match=r"Wrong\.colour"):
        graph_of(Query)


def test_a_missing_join_column_is_refused() -> None:
    @mapped(policy.brand, description="A brand.")
    class Wrong:
        thing: Thing | None = one({"thing_id": "id"}, description="There is none.")

    @strawberry.type
    class Query:
        wrong: list[Wrong] = many(order=("id",), description="Brands.")

    with pytest.raises(UnmappedField, match=r"Wrong\.thing"):
        graph_of(Query)


def test_a_relation_to_a_type_without_rows_is_refused() -> None:
    @mapped(description="On no row.")
    class Loose:
        code: str = column(description="Of nothing.")

    @strawberry.type
    class Query:
        loose: Loose | None = one(own="id", description="Nothing.")

    with pytest.raises(UnmappedField):
        graph_of(Query)


def test_an_ordering_that_is_no_field_is_refused() -> None:
    @strawberry.enum
    class Keys(Enum):
        SIZE = "size"

    @strawberry.input
    class By:
        field: Keys

    @strawberry.type
    class Query:
        things: Connection[Thing] = connection(
            orderings={"SIZE": OrderingSource()}, default="SIZE", order_by=By, description="Brands."
        )

    with pytest.raises(UnmappedField, match="SIZE"):
        graph_of(Query)


def test_a_filter_that_is_no_field_is_refused() -> None:
    @strawberry.input
    class Which:
        size: TextFilter | None = filtered(description="There is none.")

    @strawberry.type
    class Query:
        things: Connection[Thing] = connection(
            orderings={"CODE": OrderingSource()}, default="CODE", filter_by=Which, description="Brands."
        )

    with pytest.raises(UnmappedField, match=r"Query\.things"):
        graph_of(Query)


def test_an_enum_that_is_not_what_is_stored_is_refused() -> None:
    @strawberry.enum
    class Odd(Enum):
        ONE = "two"

    @mapped(policy.brand, description="A brand.")
    class Wrong:
        code: Odd = column(description="Not so.")

    @strawberry.type
    class Query:
        wrong: list[Wrong] = many(order=("id",), description="Brands.")

    with pytest.raises(UnmappedField, match=r"Odd\.ONE"):
        graph_of(Query)
