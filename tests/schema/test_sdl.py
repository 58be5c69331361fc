"""The schema as text: checked in, described throughout, and with the names the contract promises."""

from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    is_specified_scalar_type,
)

import cdp.schema.schema
from cdp.schema.schema import build_schema, sdl

CHECKED_IN = Path(cdp.schema.schema.__file__).with_name("schema.graphql")
MUTATIONS = {
    "updateAccount",
    "addContact",
    "setPreferences",
    "giveConsent",
    "withdrawConsent",
    "requestExport",
    "previewErasure",
    "requestErasure",
    "cancelRequest",
}


def schema() -> GraphQLSchema:
    return build_schema()._schema


def undescribed(found: GraphQLSchema) -> Iterator[str]:
    """Coordinates of what nobody explained."""
    for kind in found.type_map.values():
        if kind.name.startswith("__") or is_specified_scalar_type(kind):
            continue
        if not kind.description:
            yield kind.name
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in kind.fields.items():
                if not field.description:
                    yield f"{kind.name}.{name}"
                for argument, definition in getattr(field, "args", {}).items():
                    if not definition.description:
                        yield f"{kind.name}.{name}({argument})"


def test_the_schema_is_the_one_checked_in():
    """After a change on purpose: ``cdp print-schema > cdp/schema/schema.graphql``."""
    assert sdl() == CHECKED_IN.read_text(encoding="utf-8")


def test_everything_is_described():
    assert list(undescribed(schema())) == []


def test_a_mutation_takes_one_input_and_may_fail_alone():
    for name, field in schema().mutation_type.fields.items():
        kind = name[0].upper() + name[1:]
        assert list(field.args) == ["input"]
        assert str(field.args["input"].type) == f"{kind}Input!"
        assert str(field.type) == f"{kind}Payload"
        assert "clientMutationId" in field.type.fields
        assert "clientMutationId" in field.args["input"].type.of_type.fields


def test_the_names_of_the_contract_are_there():
    found = schema()
    assert found.mutation_type.fields.keys() >= MUTATIONS
    assert "privacyRequestProgress" in found.subscription_type.fields
    assert found.query_type.fields.keys() >= {"viewer", "node", "nodes", "customer", "customers", "privacyRequest"}
