"""The schema as one object, its SDL, and the reader over it."""

from functools import cache

import strawberry
from graphql import GraphQLInputObjectType

from cdp.compiler.reader import Reader
from cdp.core.platform import Platform
from cdp.schema.graph import build_graph
from cdp.schema.mutation import Mutation
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config
from cdp.schema.subscription import Subscription


@cache
def build_schema() -> strawberry.Schema:
    """The schema of this version; it never changes while a process runs."""
    made = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription, config=schema_config())
    for kind in made._schema.type_map.values():  # noqa: SLF001 - Strawberry has no other door to it
        # Strawberry checks @oneOf by itself, when a value is coerced; graphql-core does it while it validates.
        definition = kind.extensions.get("strawberry-definition")
        if isinstance(kind, GraphQLInputObjectType) and definition is not None and definition.is_one_of:
            kind.is_one_of = True
    return made


def open_reader(platform: Platform) -> Reader:
    """The reader of a process; its cursors are sealed under a key that all processes share."""
    cursor_key = platform.keys.create("cursors")
    return Reader(build_graph(build_schema()), platform.db, platform.settings, cursor_key)


def sdl() -> str:
    """The schema in the schema definition language, as it is checked in."""
    return build_schema().as_str() + "\n"
