"""Documents by hash, the list of those that are let in, and what the door tells and withholds by role."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Documents, Introspection
from cdp.operations.documents import store
from cdp.schema.execution import Execution
from cdp.schema.request import DocumentIdInvalid, GraphQLRequest, read_body
from cdp.tables.audit import audit_event
from cdp.tables.document import graphql_document
from cdp.web.documents import own_documents
from tests.population import Person, make_person

KNOWN = "query Known { viewer { kind } }\n"
WHO = {"data": {"viewer": {"kind": "CUSTOMER"}}}
OFFICER = Viewer(Actor.STAFF, staff_id=new_id(), roles=frozenset({"privacy_officer"}), scopes=STAFF_SCOPES)


@pytest.fixture(scope="module")
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture(scope="module")
async def stored(platform: Platform) -> str:
    async with platform.db.transaction(Role.WORKER) as tx:
        await store.add(tx, SYSTEM, {"known.graphql": KNOWN})
    return store.sha256_of(KNOWN)


@asynccontextmanager
async def execution_with(execution: Execution, **changes: Any) -> AsyncIterator[Execution]:
    """Another execution over the same reader, with other settings."""
    platform = execution.platform
    settings = platform.settings.model_copy(update=changes)
    parts = {name: getattr(platform, name) for name in platform.__dataclass_fields__} | {"settings": settings}
    other = Execution(Platform(**parts), execution.reader, execution.watch, documents=own_documents())
    yield other
    await other.close()


async def ask(execution: Execution, viewer: Viewer, **members: Any) -> dict[str, Any]:
    request = read_body(json.dumps(members).encode())
    result = await execution.execute(request, viewer)
    return json.loads(result.body) | ({"extensions": result.extensions} if result.extensions else {})


def code(answer: dict[str, Any]) -> str:
    assert "data" not in answer
    [error] = answer["errors"]
    return error["extensions"]["code"]


def automatic(sha256: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256}}


async def test_a_stored_document_is_found_by_both_of_its_names(execution: Execution, person: Person, stored: str):
    assert await ask(execution, person.viewer(), documentId=f"sha256:{stored}") == WHO
    assert await ask(execution, person.viewer(), extensions=automatic(stored)) == WHO
    assert await ask(execution, person.viewer(), query=KNOWN, documentId=f"sha256:{stored}") == WHO
    assert await ask(execution, person.viewer(), query="", documentId=f"sha256:{stored}", operationName="Known") == WHO


@pytest.mark.parametrize(
    ("document_id", "expected"),
    [
        ("sha256:" + "0" * 64, "DOCUMENT_NOT_STORED"),
        ("sha256:" + "A" * 64, "DOCUMENT_ID_INVALID"),
        ("sha256:" + "0" * 63, "DOCUMENT_ID_INVALID"),
        ("md5:" + "0" * 32, "DOCUMENT_ID_INVALID"),
        ("0" * 64, "DOCUMENT_ID_INVALID"),
        (7, "DOCUMENT_ID_INVALID"),
        (["sha256:" + "0" * 64], "DOCUMENT_ID_INVALID"),
    ],
)
async def test_other_names_are_refused_by_code(execution: Execution, person: Person, document_id: Any, expected: str):
    if expected == "DOCUMENT_ID_INVALID":
        with pytest.raises(DocumentIdInvalid):
            await ask(execution, person.viewer(), documentId=document_id)
    else:
        assert code(await ask(execution, person.viewer(), documentId=document_id)) == expected


async def test_a_hash_must_be_that_of_the_text(execution: Execution, person: Person, stored: str):
    other = "{ viewer { scopes } }"
    assert code(await ask(execution, person.viewer(), query=other, documentId=f"sha256:{stored}")) == (
        "DOCUMENT_HASH_MISMATCH"
    )
    assert code(await ask(execution, person.viewer(), query=other, extensions=automatic(stored))) == (
        "DOCUMENT_HASH_MISMATCH"
    )


async def test_a_client_may_bring_a_document_once_and_name_it_from_then_on(execution: Execution, person: Person):
    text = "query Brought { viewer { kind } }"
    sha256 = store.sha256_of(text)
    missing = await ask(execution, person.viewer(), extensions=automatic(sha256))
    assert (code(missing), missing["errors"][0]["message"]) == ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
    assert await ask(execution, person.viewer(), query=text, extensions=automatic(sha256)) == WHO
    assert await ask(execution, person.viewer(), extensions=automatic(sha256)) == WHO


async def test_a_list_lets_stored_and_own_documents_in_and_nothing_else(
    execution: Execution, person: Person, stored: str
):
    async with execution_with(execution, graphql_documents=Documents.STORED) as strict:
        assert await ask(strict, person.viewer(), query=KNOWN) == WHO
        assert await ask(strict, person.viewer(), documentId=f"sha256:{stored}") == WHO
        own = next(text for text in own_documents() if "$" not in text and "viewer" in text)
        assert "data" in await ask(strict, person.viewer(), query=own)
        assert "data" in await ask(strict, person.viewer(), documentId=f"sha256:{store.sha256_of(own)}")
        for free in (KNOWN + " ", "{ viewer { kind } }", "{ __schema { queryType { name } } }"):
            assert code(await ask(strict, person.viewer(), query=free)) == "DOCUMENT_NOT_ALLOWED"
            brought = automatic(store.sha256_of(free))
            assert code(await ask(strict, person.viewer(), query=free, extensions=brought)) == "DOCUMENT_NOT_ALLOWED"
            assert code(await ask(strict, person.viewer(), extensions=brought)) == "PERSISTED_QUERY_NOT_FOUND"
        events = [one async for one in strict.stream(GraphQLRequest("{ viewer { kind } }"), person.viewer())]
        assert [code(json.loads(one)) for one in events] == ["DOCUMENT_NOT_ALLOWED"]


async def test_staff_with_the_scope_may_ask_for_anything(execution: Execution, person: Person):
    without = Viewer(Actor.STAFF, staff_id=new_id(), roles=OFFICER.roles, scopes=STAFF_SCOPES - {"graphql:explore"})
    async with execution_with(execution, graphql_documents=Documents.STORED) as strict:
        assert (await ask(strict, OFFICER, query="{ viewer { kind } }"))["data"] == {"viewer": {"kind": "STAFF"}}
        assert code(await ask(strict, without, query="{ viewer { kind } }")) == "DOCUMENT_NOT_ALLOWED"


async def test_documents_are_added_once_and_removed_and_both_is_recorded(platform: Platform):
    texts = {"a.graphql": "query A { viewer { kind } }", "b.graphql": "query B { viewer { kind } }"}
    async with platform.db.transaction(Role.WORKER) as tx:
        new = await store.add(tx, SYSTEM, texts)
        assert (len(new), await store.add(tx, SYSTEM, texts), await store.add(tx, SYSTEM, {})) == (2, [], [])
        await store.remove(tx, SYSTEM, new[0])
        assert await store.find(tx, new[0]) is None
        assert await store.find(tx, new[1]) in texts.values()
        with pytest.raises(store.DocumentNotStored):
            await store.remove(tx, SYSTEM, new[0])
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(audit_event.c.action, audit_event.c.details).order_by(audit_event.c.id))
        mine = [(row.action, row.details["sha256"]) for row in rows if (row.details or {}).get("sha256") in new]
        assert sorted(mine) == sorted([("document.added", one) for one in new] + [("document.removed", new[0])])
        assert await tx.scalar(select(graphql_document.c.name).where(graphql_document.c.sha256 == new[1]))


async def test_the_schema_is_shown_by_role(execution: Execution, person: Person):
    question = "{ __schema { queryType { name } } }"
    agent = Viewer(Actor.STAFF, staff_id=new_id(), roles=frozenset({"agent"}), scopes=frozenset({"customers:read"}))
    assert "errors" not in await ask(execution, person.viewer(), query=question)
    async with execution_with(execution, graphql_introspection=Introspection.EXPLORERS) as closed:
        for viewer in (person.viewer(), agent):
            assert code(await ask(closed, viewer, query=question)) == "INTROSPECTION_REFUSED"
        assert "errors" not in await ask(closed, OFFICER, query=question)


async def test_names_are_suggested_to_explorers_alone(execution: Execution, person: Person):
    answer = await ask(execution, OFFICER, query="{ viewer { kin } }")
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    assert "Did you mean 'kind'?" in answer["errors"][0]["message"]
    answer = await ask(execution, person.viewer(), query="{ viewer { kin } }")
    assert "Did you mean" not in json.dumps(answer)


async def test_the_cost_is_told_to_who_asks(execution: Execution, person: Person):
    query = "query($n: Int) { viewer { customer { orders(first: $n) { nodes { id number } } } } }"

    async def cost(n: int) -> int:
        found = await ask(execution, person.viewer(), query=query, variables={"n": n}, extensions={"cost": True})
        told = found["extensions"]["cost"]
        assert (told["most"], told["budget"]) == (20_000, 500_000)
        assert 0 < told["left"] <= 500_000
        return told["document"]

    assert await cost(100) - await cost(50) == 50 * 3
    assert "extensions" not in await ask(execution, person.viewer(), query=query, extensions={"cost": False})
    assert code(await ask(execution, person.viewer(), query=query, variables={"n": 501})) == "PAGE_TOO_LARGE"


async def test_who_asks_too_much_is_told_when_to_come_back(execution: Execution, person: Person, db: Database):
    other = await make_person(db)
    query = "{ viewer { customer { orders(first: 100) { nodes { id number } } } } }"
    async with execution_with(execution, graphql_budget=2_000, graphql_budget_per_s=10, redis_url="") as poor:
        answers = [await poor.execute(GraphQLRequest(query), person.viewer()) for _ in range(10)]
        refused = [one for one in answers if one.status == 429]
        assert 0 < len(refused) < 10
        assert code(json.loads(refused[0].body)) == "BUDGET_SPENT"
        assert refused[0].retry_after_s >= 1
        assert (await poor.execute(GraphQLRequest(query), other.viewer())).status == 200


async def test_new_documents_are_charged_for_before_they_are_read(execution: Execution, person: Person):
    """Also those that turn out to be no documents at all."""
    async with execution_with(execution, graphql_budget=20_000, graphql_budget_per_s=1, redis_url="") as poor:
        texts = [f"{{ nothing{number}" + "x" * 8_000 for number in range(30)]
        codes = [code(json.loads((await poor.execute(GraphQLRequest(one), person.viewer())).body)) for one in texts]
        assert codes[0] == "GRAPHQL_PARSE_FAILED"
        assert codes[-1] == "BUDGET_SPENT"
