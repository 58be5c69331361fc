"""Execution when things go wrong: nothing about a person, a statement or a stack ever comes out, and it is coded."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import strawberry
from graphql import build_client_schema, get_introspection_query, print_type
from structlog.testing import capture_logs

from cdp.access.viewer import ANONYMOUS, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Database
from cdp.core.platform import Platform
from cdp.schema.execution import Execution
from cdp.schema.graph import build_graph
from cdp.schema.query import Query
from cdp.schema.request import GraphQLRequest
from cdp.schema.scalars import schema_config
from cdp.schema.schema import build_schema, open_reader
from tests.population import Person, make_person

SECRET = "ada@example.com"
STANDARD = get_introspection_query(
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    one_of=True,
)


@strawberry.type
class Broken:
    """Mutations with the mistakes a programmer makes."""

    @strawberry.mutation
    async def forgets(self) -> int | None:
        raise KeyError(SECRET)

    @strawberry.mutation
    async def returns_nonsense(self) -> int | None:
        return SECRET  # type: ignore[return-value]

    @strawberry.mutation
    async def breaks_a_promise(self) -> int:
        raise RuntimeError(SECRET)


@pytest.fixture(scope="module")
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture
async def broken(platform: Platform) -> AsyncIterator[Execution]:
    schema = strawberry.Schema(query=Query, mutation=Broken, config=schema_config())
    reader = Reader(build_graph(schema), platform.db, platform.settings, b"k" * 32)
    yield Execution(platform, reader, None)  # type: ignore[arg-type]  # nothing is watched here
    await reader.close()


@pytest.fixture
async def without_database(platform: Platform) -> AsyncIterator[Execution]:
    """A process whose database is not there."""
    gone = replace(platform, db=Database("postgresql://nobody@/nothing?host=/nonexistent"))
    reader = open_reader(gone)
    yield Execution(gone, reader, None)  # type: ignore[arg-type]  # nothing is watched here
    await reader.close()


async def run(execution: Execution, viewer: Viewer, document: str) -> dict[str, Any]:
    return json.loads((await execution.execute(GraphQLRequest(document), viewer)).body)


@pytest.mark.parametrize("name", ["forgets", "returnsNonsense", "breaksAPromise"])
async def test_a_bug_is_internal_and_its_text_stays_inside(broken: Execution, person: Person, name: str):
    with capture_logs() as logs:
        result = await broken.execute(GraphQLRequest(f"mutation {{ alias: {name} }}"), person.viewer())
    assert SECRET not in result.body.decode()
    found = json.loads(result.body)
    assert [(error["path"], error["extensions"]["code"]) for error in found["errors"]] == [(["alias"], "INTERNAL")]
    assert found["data"] == (None if name == "breaksAPromise" else {"alias": None})
    [entry] = [entry for entry in logs if entry["event"] == "graphql.failed"]
    assert entry["field"] == name


async def test_a_missing_database_is_said_to_be_unavailable(without_database: Execution, person: Person):
    for document, data in [
        ("{ viewer { kind } a: purposes { code } }", {"viewer": None, "a": None}),
        (
            "{ viewer { kind } __schema { queryType { name } } }",
            {"viewer": None, "__schema": {"queryType": {"name": "Query"}}},
        ),
        ('mutation { updateAccount(input: {givenName: "A"}) { customer { id } } }', {"updateAccount": None}),
    ]:
        found = await run(without_database, person.viewer(), document)
        assert {error["extensions"]["code"] for error in found["errors"]} == {"UNAVAILABLE"}
        assert found["data"] == data


async def test_the_standard_introspection_query_describes_a_part_of_the_schema_that_is_checked_in(
    execution: Execution, person: Person
):
    found = await run(execution, person.viewer(), STANDARD)
    assert "errors" not in found
    described = build_client_schema(found["data"])
    whole = build_schema()._schema
    for name, kind in described.type_map.items():
        assert kind.description == whole.type_map[name].description
    assert print_type(described.type_map["Customer"]) == print_type(whole.type_map["Customer"])


@pytest.mark.parametrize(
    "query", ["{ __schema { queryType { name } } }", '{ viewer { kind } __type(name: "Node") { name } }']
)
async def test_who_has_not_signed_in_may_not_ask_for_the_schema(execution: Execution, query: str):
    found = await run(execution, ANONYMOUS, query)
    assert {error["extensions"]["code"] for error in found["errors"]} == {"INTROSPECTION_REFUSED"}


async def test_the_name_of_the_root_type_is_no_introspection(execution: Execution):
    assert await run(execution, ANONYMOUS, "{ __typename }") == {"data": {"__typename": "Query"}}
