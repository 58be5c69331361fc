"""Every root field that takes an id, tried with the ids of somebody else; every list, with somebody else's cursors.

Roots, their inputs and the ids are all read from the schema: what is added tomorrow is tried tomorrow.
"""

import json
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from cdp.access.decision import Allow
from cdp.access.rules import RULES
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.graph import Connection
from cdp.core.db import Database
from cdp.core.ids import global_id
from cdp.schema.execution import Execution
from cdp.schema.graph import build_graph
from cdp.schema.request import GraphQLRequest
from cdp.schema.schema import build_schema
from tests.population import Person, picture
from tests.schema.conftest import Ask
from tests.schema.test_ownership import owner, rows_of, stranger

__all__ = ["owner", "stranger"]

GRAPH = build_graph(build_schema())
SOME = {"String": "x", "Int": 1, "Float": 1.5, "Boolean": True, "Decimal": "1", "BigInt": "1", "JSON": {}}
NAMED = {"address": "new@example.org", "number": "+4930123456", "field": "billingName", "newValue": "B"}
"""Values of members that are looked at before it is asked whose the id is."""
SOME |= {"DateTime": "2026-01-01T00:00:00.000000Z", "Date": "2026-01-01"}
A_CUSTOMER = Viewer(Actor.CUSTOMER, scopes=CUSTOMER_SCOPES)
REFUSALS = {"NOT_FOUND", "FORBIDDEN", "INSUFFICIENT_SCOPE", "STEP_UP_REQUIRED", "UNAUTHENTICATED"}
CONNECTIONS = [
    (kind.name, field.name)
    for kind in GRAPH.types.values()
    for field in kind.fields.values()
    if isinstance(field, Connection) and kind.name in {"Query", "Customer"}
]
WALKED = [one for one in CONNECTIONS if isinstance(RULES.decide(A_CUSTOMER, *one), Allow)]


def takes_id(kind: GraphQLInputType, seen: tuple[str, ...] = ()) -> bool:
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType) and named.name not in seen:
        return any(takes_id(one.type, (*seen, named.name)) for one in named.fields.values())
    return named.name == "ID"


def values(kind: GraphQLInputType, given: str, name: str = "", *, required: bool = False) -> Iterator[Any]:
    """Inputs with this id wherever an id may stand, or only where one must; as little as possible otherwise."""
    named, nullable = get_named_type(kind), get_nullable_type(kind)
    if is_list_type(nullable):
        for one in values(named, given, name, required=required):
            yield [one]
    elif isinstance(named, GraphQLInputObjectType):
        wanted = {
            key: list(values(one.type, given, key, required=required))
            for key, one in named.fields.items()
            if named.is_one_of or is_non_null_type(one.type) or (takes_id(one.type) and not required) or key in NAMED
        }
        if named.is_one_of:
            yield from ({key: one} for key, ones in wanted.items() for one in ones)
        else:
            yield from (dict(zip(wanted, chosen, strict=True)) for chosen in product(*wanted.values()))
    elif isinstance(named, GraphQLEnumType):
        yield next(iter(named.values))
    else:
        yield given if named.name == "ID" else NAMED.get(name, SOME[named.name])


def selection(field: GraphQLField) -> str:
    """What shows most of an answer: its leaves, and the ids of the objects in it."""
    kind = get_named_type(field.type)
    if not isinstance(kind, GraphQLObjectType):
        return "" if is_leaf_type(kind) else "{ __typename id }"
    parts = ["__typename"]
    for name, one in kind.fields.items():
        inner = get_named_type(one.type)
        if any(is_non_null_type(argument.type) for argument in one.args.values()):
            continue
        if is_leaf_type(inner):
            parts.append(name)
        elif "id" in getattr(inner, "fields", {}):
            parts.append(f"{name} {{ id }}")
    return "{ " + " ".join(parts) + " }"


def roots() -> Iterator[tuple[str, str]]:
    schema = GRAPH.schema
    for word, kind in (
        ("query", schema.query_type),
        ("mutation", schema.mutation_type),
        ("subscription", schema.subscription_type),
    ):
        assert kind is not None
        for name, field in kind.fields.items():
            if any(takes_id(argument.type) for argument in field.args.values()):
                yield word, name


ROOTS = list(roots())


def documents(word: str, name: str, given: str) -> Iterator[tuple[str, dict[str, Any]]]:
    schema = GRAPH.schema
    kinds = {"query": schema.query_type, "mutation": schema.mutation_type, "subscription": schema.subscription_type}
    field = kinds[word].fields[name]
    wanted = {key: one for key, one in field.args.items() if is_non_null_type(one.type) or takes_id(one.type)}
    declared = ", ".join(f"${key}: {one.type}" for key, one in wanted.items())
    passed = ", ".join(f"{key}: ${key}" for key in wanted)
    text = f"{word}({declared}) {{ {name}({passed}) {selection(field)} }}"
    for required in (False, True):
        for chosen in product(*(list(values(one.type, given, required=required)) for one in wanted.values())):
            yield text, dict(zip(wanted, chosen, strict=True))


async def answer_of(execution: Execution, word: str, request: GraphQLRequest, viewer: Any) -> dict[str, Any]:
    if word != "subscription":
        return json.loads((await execution.execute(request, viewer)).body)
    async with aclosing(execution.stream(request, viewer)) as events:
        return json.loads(await anext(events))


@pytest.mark.parametrize(("word", "name"), ROOTS, ids=[name for _, name in ROOTS])
async def test_no_root_opens_for_the_ids_of_somebody_else(
    db: Database, execution: Execution, owner: Person, stranger: Person, word: str, name: str
):
    rows = await rows_of(db, execution, owner)
    kinds = [kind.name for kind in GRAPH.node_types()]
    ids = [global_id(kind, rows[kind][0] if kind in rows else owner.email_id) for kind in kinds]
    before, viewer = await picture(db, owner), stranger.viewer(authenticated_at=datetime.now(UTC))
    codes: set[str] = set()
    for given in ids:
        for text, variables in documents(word, name, given):
            found = await answer_of(execution, word, GraphQLRequest(text, variables), viewer)
            codes |= {error["extensions"]["code"] for error in found.get("errors", [])}
            data = (found.get("data") or {}).get(name)
            assert not data or (name == "nodes" and data == [None]) or not shown(data), (variables, found)
            assert not any(one in json.dumps(found) for one in ids), found
    assert "INTERNAL" not in codes
    assert word == "query" or codes & REFUSALS, f"nothing reached the question whose {name} that is: {codes}"
    assert await picture(db, owner) == before


def shown(data: Any) -> bool:
    """Whether an answer has anything but its shape."""
    if isinstance(data, dict):
        return any(shown(value) for key, value in data.items() if key not in {"__typename", "clientMutationId"})
    return any(map(shown, data)) if isinstance(data, list) else data is not None and data != 0 and data is not False


@pytest.mark.parametrize(("parent", "name"), WALKED, ids=[f"{a}.{b}" for a, b in WALKED])
async def test_no_list_is_walked_by_a_cursor_of_somebody_else(
    ask: Ask, owner: Person, stranger: Person, parent: str, name: str
):
    inner = f"{name}(first: 1, after: $after) {{ edges {{ cursor }} pageInfo {{ hasPreviousPage }} }}"
    inner = inner if parent == "Query" else f"viewer {{ customer {{ {inner} }} }}"
    text = f"query($after: String) {{ {inner} }}"

    def page(answer: dict[str, Any]) -> Any:
        data = answer["data"]
        return (data if parent == "Query" else data["viewer"]["customer"])[name]

    theirs = page(await ask(owner.viewer(), text))["edges"]
    assert theirs or name in EMPTY, f"{name}: nobody of the tests has any"
    for edge in theirs:
        answer = await ask(stranger.viewer(), text, after=edge["cursor"])
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["INVALID_CURSOR"]
        assert page(answer) is None
        again = await ask(owner.viewer(), text, after=edge["cursor"])
        assert "errors" not in again


EMPTY = frozenset({"bulkExports", "auditEvents"})


FILTERS = [
    (parent, name, key)
    for parent, name in CONNECTIONS
    for key, one in GRAPH.types[parent].fields[name].filters.items()  # type: ignore[union-attr]
    if one.id_type is not None
]


@pytest.mark.parametrize(("parent", "name", "key"), FILTERS, ids=[".".join(one) for one in FILTERS])
async def test_no_filter_finds_the_rows_of_somebody_else(
    db: Database, execution: Execution, ask: Ask, owner: Person, stranger: Person, parent: str, name: str, key: str
):
    """Neither by the id itself nor by how the answer differs from that for an id of nobody."""
    kind = GRAPH.types[parent].fields[name].filters[key].id_type  # type: ignore[union-attr]
    found = await rows_of(db, execution, owner)
    theirs = global_id(kind, found[kind][0])
    nobodys = global_id(kind, stranger.email_id)
    inner = f"{name}(first: 5, filter: {{{key}: {{eq: $id}}}}) {{ totalCount edges {{ cursor }} }}"
    inner = inner if parent == "Query" else f"viewer {{ customer {{ {inner} }} }}"
    text = f"query($id: ID!) {{ {inner} }}"
    assert await ask(stranger.viewer(), text, id=theirs) == await ask(stranger.viewer(), text, id=nobodys)
