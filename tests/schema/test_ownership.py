"""Object-level authorisation, generated from the schema: with the ids of somebody else a customer gets nothing.

Every type that ``node(id)`` can answer with is tried with every row of another person, who has one in every table. A
type added tomorrow is tried too.
"""

from uuid import UUID

import pytest
from sqlalchemy import select

from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.schema.execution import Execution
from cdp.tables.datamap import subject_column
from tests.connectors.filling import fill
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

OF_STAFF = frozenset({"LegalOrder", "ManualTask"})
"""About somebody, and never theirs to read: refused as a type, to its subject too."""
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
BESIDE = "query($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { __typename id } customer(id: $id) { id } }"
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


@pytest.fixture(scope="module")
async def owner(db: Database) -> Person:
    """Somebody with a row in every personal table."""
    somebody = await make_person(db)
    async with db.transaction(Role.WORKER) as tx:
        await fill(tx, somebody)
    return somebody


@pytest.fixture(scope="module")
async def stranger(db: Database) -> Person:
    return await make_person(db)


async def rows_of(db: Database, execution: Execution, person: Person) -> dict[str, list[UUID]]:
    """Ids of the person's rows by type, for every type that has a global id and belongs to somebody."""
    found: dict[str, list[UUID]] = {}
    async with db.transaction(Role.WORKER) as tx:
        for kind in execution.reader.graph.node_types():
            if kind.table is not None and kind.subject_column is not None:
                mine = subject_column(kind.table) == person.customer_id
                found[kind.name] = [row.id for row in await tx.all(select(kind.table.c.id).where(mine).limit(5))]
    return found


async def test_nothing_of_somebody_else_is_found_by_id(
    db: Database, execution: Execution, ask: Ask, owner: Person, stranger: Person
):
    found = await rows_of(db, execution, owner)
    assert len(found) > 10
    assert [name for name, ids in found.items() if not ids] == []
    before = await picture(db, owner)
    for name, row_ids in found.items():
        ids = [global_id(name, row_id) for row_id in row_ids]
        answer = await ask(stranger.viewer(), NODES, ids=ids)
        assert answer["data"] == {"nodes": [None] * len(ids)}, name
        assert ("errors" in answer) == (name in OF_STAFF), name
        assert (await ask(stranger.viewer(), NODE, id=ids[0]))["data"] == {"node": None}, name
    assert await picture(db, owner) == before


async def test_their_owner_finds_them(db: Database, execution: Execution, ask: Ask, owner: Person):
    for name, row_ids in (await rows_of(db, execution, owner)).items():
        ids = [global_id(name, row_id) for row_id in row_ids]
        answer = await ask(owner.viewer(), NODES, ids=ids)
        if name in OF_STAFF:
            assert answer["data"] == {"nodes": [None] * len(ids)}
            assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}
        else:
            assert answer == {"data": {"nodes": [{"__typename": name, "id": one} for one in ids]}}


async def test_the_id_of_one_type_opens_no_other(db: Database, execution: Execution, ask: Ask, owner: Person):
    """The row exists, and so does the type; together they are nothing. A type of staff alone is refused as such."""
    names = [kind.name for kind in execution.reader.graph.node_types()]
    ids = [global_id(name, owner.email_id) for name in names if name != "EmailAddress"]
    answer = await ask(owner.viewer(), NODES, ids=ids)
    assert answer["data"] == {"nodes": [None] * len(ids)}
    codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
    assert codes <= {"INSUFFICIENT_SCOPE", "FORBIDDEN"}


async def test_roots_by_id_are_no_way_around(
    db: Database, execution: Execution, ask: Ask, owner: Person, stranger: Person
):
    requests = (await rows_of(db, execution, owner))["PrivacyRequest"]
    answer = await ask(
        stranger.viewer(),
        "query($c: ID!, $r: ID!) { customer(id: $c) { id } privacyRequest(id: $r) { id } }",
        c=global_id("Customer", owner.customer_id),
        r=global_id("PrivacyRequest", requests[0]),
    )
    assert set(answer["data"].values()) == {None}


@pytest.mark.parametrize("scope", ["openid", "profile:read", "privacy:read"])
async def test_types_a_token_can_not_read_are_refused_by_code(
    execution: Execution, ask: Ask, stranger: Person, scope: str
):
    """A type denied as a whole once broke the response: its refusal was looked for among members of a list."""
    for kind in execution.reader.graph.node_types():
        ids = [global_id(kind.name, stranger.customer_id), global_id("Customer", stranger.customer_id)]
        answer = await ask(stranger.viewer(scope), BESIDE, ids=ids, id=ids[1])
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        assert codes <= {"INSUFFICIENT_SCOPE", "FORBIDDEN"}, kind.name
