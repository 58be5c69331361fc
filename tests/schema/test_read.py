"""Reads through the compiler: formats, selections, nodes, nulls, and errors in specification form."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from cdp.access.viewer import ANONYMOUS, SYSTEM, Viewer
from cdp.compiler.reader import Reader
from cdp.core.clock import iso
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.ids import global_id
from cdp.core.settings import Settings
from tests.population import Person, make_person
from tests.twin.reading import GRAPH, KEY, Reading, customer_viewer, reading, staff_viewer
from tests.twin.rows import populate

__all__ = ["reading"]

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sales_order'::regclass"


@pytest.fixture
async def person(fresh_database: Database) -> Person:
    return await make_person(fresh_database)


@pytest.fixture
async def bystander(fresh_database: Database) -> Person:
    return await make_person(fresh_database)


async def statements(reading: Reading, viewer: Viewer, text: str, **variables: Any) -> list[str]:
    """What the server runs for a document that was asked before, as its own counters of held statements say."""
    await reading.data(text, viewer, **variables)
    (held,) = reading.reader._pools[viewer.role]._idle
    count = "SELECT statement FROM pg_prepared_statements, generate_series(1, generic_plans + custom_plans)"
    before = await held.connection.fetch(count)
    await reading.data(text, viewer, **variables)
    after = [row["statement"] for row in await held.connection.fetch(count)]
    for row in before:
        after.remove(row["statement"])
    return [statement for statement in after if "generate_series" not in statement]


DEEP = """query Deep($n: Int) { viewer { customer { givenName account { username }
  contacts { emails { address collection { point policyVersion { version } brand { name } } } phones { number }
    addresses { line1 } } preferences { key value } currentConsents { purpose { title } }
  orders(first: $n) { totalCount nodes { number items { sku } } pageInfo { endCursor } }
  requests { nodes { tasks { system { name } } } } } } policies { version } systems: purposes { code } }"""


async def test_one_statement_a_document(reading: Reading, person: Person) -> None:
    assert len(await statements(reading, person.viewer(), DEEP, n=5)) == 1
    assert (
        len(await statements(reading, staff_viewer(), "{ customers { nodes { orders { nodes { number } } } } }")) == 1
    )
    assert len(await statements(reading, ANONYMOUS, "{ policies { version } brands { name } }")) == 1


async def test_formats(reading: Reading, person: Person) -> None:
    data = await reading.data(
        """{ viewer { customer { id createdAt version orders { nodes { id total placedAt status
        items { quantity unitPrice } } } contacts { emails { isPrimary verifiedAt } } } } }""",
        person.viewer(),
    )
    customer = data["viewer"]["customer"]
    assert customer["id"] == global_id("Customer", person.customer_id)
    assert customer["version"] == 1
    assert iso(datetime.fromisoformat(customer["createdAt"])) == customer["createdAt"]
    (order,) = customer["orders"]["nodes"]
    assert order["id"] == global_id("Order", person.order_id)
    assert order["status"].isupper()
    assert isinstance(order["total"], str)
    assert isinstance(order["items"][0]["unitPrice"], str)
    assert isinstance(order["items"][0]["quantity"], int)
    assert customer["contacts"]["emails"][0]["isPrimary"] is True


async def test_the_response_keeps_the_order_asked(reading: Reading, person: Person) -> None:
    text = "{ b: viewer { z: kind scopes a: kind } purposes { code } a: viewer { roles kind } }"
    body = (await reading.reader.execute(text, person.viewer())).decode()
    assert list(json.loads(body)["data"]) == ["b", "purposes", "a"]
    assert list(json.loads(body)["data"]["b"]) == ["z", "scopes", "a"]


async def test_fragments_merge_and_conditions_hold(reading: Reading, person: Person) -> None:
    text = """query Q($yes: Boolean!, $no: Boolean!) {
      viewer { ...one customer { givenName } ... @include(if: $no) { roles } }
      viewer @skip(if: $yes) { scopes } }
      fragment one on Viewer {
        customer { familyName ... on Node { id } ... on Customer @skip(if: $no) { version } } kind }"""
    data = await reading.data(text, person.viewer(), yes=True, no=False)
    assert list(data["viewer"]) == ["customer", "kind"]
    assert list(data["viewer"]["customer"]) == ["familyName", "id", "version", "givenName"]
    data = await reading.data(text, person.viewer(), yes=False, no=True)
    assert set(data["viewer"]) == {"customer", "kind", "roles", "scopes"}


async def test_nothing_selected_is_an_empty_object(reading: Reading, person: Person) -> None:
    assert await reading.data("{ viewer @skip(if: true) { kind } }", person.viewer()) == {}
    assert await reading.data("{ viewer { kind @skip(if: true) } }", person.viewer()) == {"viewer": {}}


async def test_typename_everywhere(reading: Reading, person: Person) -> None:
    data = await reading.data(
        "{ __typename viewer { __typename customer { __typename contacts { __typename } orders { __typename "
        "edges { __typename } pageInfo { __typename } nodes { __typename } } } } }",
        person.viewer(),
    )
    assert data["__typename"] == "Query"
    assert data["viewer"]["__typename"] == "Viewer"
    customer = data["viewer"]["customer"]
    assert customer["contacts"] == {"__typename": "Contacts"}
    assert customer["orders"] == {
        "__typename": "OrderConnection",
        "edges": [{"__typename": "OrderEdge"}],
        "pageInfo": {"__typename": "PageInfo"},
        "nodes": [{"__typename": "Order"}],
    }


async def test_more_than_fifty_keys(reading: Reading, person: Person) -> None:
    aliases = " ".join(f"a{n}: {'givenName' if n % 2 else 'familyName'}" for n in range(99))
    data = await reading.data(f"{{ viewer {{ customer {{ {aliases} }} }} }}", person.viewer())
    assert list(data["viewer"]["customer"]) == [f"a{n}" for n in range(99)]
    assert len(set(data["viewer"]["customer"].values())) == 2
    names = " ".join(f"a{n}: givenName" for n in range(50)) + " familyName"
    assert (
        len((await reading.data(f"{{ viewer {{ customer {{ {names} }} }} }}", person.viewer()))["viewer"]["customer"])
        == 51
    )


async def test_long_aliases(reading: Reading, person: Person) -> None:
    name, other = "a" * 100, "a" * 99 + "b"
    data = await reading.data(f"{{ {name}: viewer {{ {name}: kind {other}: kind }} }}", person.viewer())
    assert data == {name: {name: "CUSTOMER", other: "CUSTOMER"}}


async def test_node_finds_own_objects_of_every_type(reading: Reading, person: Person, bystander: Person) -> None:
    text = (
        "query Q($id: ID!) { node(id: $id) { id __typename ... on Order { number } ... on EmailAddress { address } } }"
    )
    order, email = global_id("Order", person.order_id), global_id("EmailAddress", person.email_id)
    assert (await reading.data(text, person.viewer(), id=order))["node"]["__typename"] == "Order"
    assert (await reading.data(text, person.viewer(), id=email))["node"]["address"] == person.email
    theirs = global_id("Order", bystander.order_id)
    assert await reading.data(text, person.viewer(), id=theirs) == {"node": None}
    assert await reading.data(text, person.viewer(), id=global_id("Order", uuid4())) == {"node": None}


async def test_nodes_keep_order_and_gaps(reading: Reading, person: Person, bystander: Person) -> None:
    order, email = global_id("Order", person.order_id), global_id("EmailAddress", person.email_id)
    theirs = global_id("EmailAddress", bystander.email_id)
    text = "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    data = await reading.data(text, person.viewer(), ids=[email, theirs, order, email])
    assert data["nodes"] == [{"id": email}, None, {"id": order}, {"id": email}]
    assert await reading.data(text, person.viewer(), ids=[]) == {"nodes": []}
    one_by_one = "query Q($a: ID!, $b: ID!) { nodes(ids: [$a, $b]) { id } }"
    for a, b in ((order, email), (email, order), (email, email)):
        assert await reading.data(one_by_one, person.viewer(), a=a, b=b) == {"nodes": [{"id": a}, {"id": b}]}


@pytest.mark.parametrize(
    "value", ["", "x", "Q3VzdG9tZXI6", "Tm90aGluZzoxMjM", global_id("Contacts", UUID(int=7)), "\x00"]
)
async def test_a_malformed_id_is_an_error_at_its_field(reading: Reading, person: Person, value: str) -> None:
    text = "query Q($id: ID!) { a: node(id: $id) { id } viewer { kind } }"
    answer = await reading.ask(text, person.viewer(), id=value)
    assert answer["data"] == {"a": None, "viewer": {"kind": "CUSTOMER"}}
    (error,) = answer["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["a"], "INVALID_ID")


async def test_an_id_of_another_type_is_refused(reading: Reading, person: Person) -> None:
    text = "query Q($id: ID!) { privacyRequest(id: $id) { reference } }"
    assert await reading.code(text, person.viewer(), id=global_id("Order", person.order_id)) == "INVALID_ID"


async def test_denied_fields_are_null_with_their_paths(reading: Reading, person: Person) -> None:
    narrow = person.viewer("privacy:read")
    answer = await reading.ask("{ viewer { customer { id givenName orders { totalCount } } } }", narrow)
    assert answer["data"]["viewer"]["customer"]["givenName"] is None
    assert [error["path"] for error in answer["errors"]] == [
        ["viewer", "customer", "givenName"],
        ["viewer", "customer", "orders"],
    ]
    assert all(
        error["extensions"] == {"code": "INSUFFICIENT_SCOPE", "scope": "profile:read"} for error in answer["errors"]
    )


async def test_denials_inside_lists_name_every_place(reading: Reading, fresh_database: Database) -> None:
    await populate(fresh_database, 9, customers=3)
    agent = staff_viewer("agent", scopes=frozenset({"customers:read"}))
    answer = await reading.ask("{ customers { nodes { id requests { totalCount } } } }", agent)
    assert [error["path"] for error in answer["errors"]] == [
        ["customers", "nodes", place, "requests"] for place in range(3)
    ]


async def test_anonymous_reads_what_is_public(reading: Reading, person: Person) -> None:
    answer = await reading.ask("{ viewer { kind customer { id } } purposes { code } }", ANONYMOUS)
    assert answer["data"]["viewer"] == {"kind": "ANONYMOUS", "customer": None}
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_an_exhausted_statement_is_a_time_out(
    fresh_database: Database, fresh_settings: Settings, person: Person
) -> None:
    """A writer that locks a table holds the read up; its statement ends on the server, the other roots still answer."""
    impatient = Reader(GRAPH, fresh_database, fresh_settings.model_copy(update={"statement_timeout_s": 0.3}), KEY)
    owner = await asyncpg.connect(**asyncpg_arguments(fresh_settings.database_owner_url))
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE sales_order")
            text = "{ viewer { customer { givenName } } mine: viewer { customer { orders { totalCount } } } }"
            answer = json.loads(await impatient.execute(text, person.viewer()))
            waiting = await owner.fetchval(WAITING)
        assert answer["data"]["viewer"]["customer"]["givenName"]
        assert answer["data"]["mine"] is None
        assert [(e["path"], e["extensions"]["code"]) for e in answer["errors"]] == [(["mine"], "TIMEOUT")]
        assert waiting == 0
    finally:
        await owner.close()
        await impatient.close()


async def test_a_server_that_went_away_is_unavailable(fresh_settings: Settings) -> None:
    nowhere = Reader(GRAPH, Database("postgresql://nobody@127.0.0.1:9/none"), fresh_settings, KEY)
    answer = json.loads(await nowhere.execute("{ purposes { code } viewer { kind } }", ANONYMOUS))
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"UNAVAILABLE"}


async def until(connection: asyncpg.Connection, wanted: int) -> None:
    """Wait until so many statements wait for the table."""
    for _ in range(500):
        if await connection.fetchval(WAITING) == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never counted {wanted}")


async def test_a_caller_who_leaves_takes_the_statement_along(
    fresh_database: Database, fresh_settings: Settings, person: Person
) -> None:
    reader = Reader(GRAPH, fresh_database, fresh_settings.model_copy(update={"pool_size": 1}), KEY)
    owner = await asyncpg.connect(**asyncpg_arguments(fresh_settings.database_owner_url))
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE sales_order")
            leaving = asyncio.create_task(
                reader.execute("{ viewer { customer { orders { totalCount } } } }", person.viewer())
            )
            waiting = asyncio.create_task(reader.execute("{ viewer { customer { givenName } } }", person.viewer()))
            await until(owner, 1)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert json.loads(await waiting)["data"]["viewer"]["customer"]["givenName"]
            await until(owner, 0)
    finally:
        await owner.close()
        await reader.close()


async def test_many_callers_share_few_connections(
    fresh_database: Database, fresh_settings: Settings, person: Person, bystander: Person
) -> None:
    reader = Reader(GRAPH, fresh_database, fresh_settings.model_copy(update={"pool_size": 2}), KEY)
    people = [person, bystander] * 20
    answers = await asyncio.gather(*(reader.execute("{ viewer { customer { id } } }", one.viewer()) for one in people))
    for one, answer in zip(people, answers, strict=True):
        assert json.loads(answer)["data"]["viewer"]["customer"]["id"] == global_id("Customer", one.customer_id)
    assert len(reader._pools[Role.CUSTOMER]._idle) == 2
    await reader.close()


async def test_connections_that_died_are_replaced(reading: Reading, fresh_settings: Settings, person: Person) -> None:
    await reading.data("{ viewer { customer { givenName } } }", person.viewer())
    other = await asyncpg.connect(**asyncpg_arguments(fresh_settings.database_url))
    ended = await other.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'cdp/%'"
        " AND datname = current_database()"
    )
    await other.close()
    assert ended
    assert (await reading.data("{ viewer { customer { givenName } } }", person.viewer()))["viewer"]["customer"]


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"n": "many"}, "BAD_USER_INPUT"),
        ({"n": 2**40}, "BAD_USER_INPUT"),
        ({"n": [1]}, "BAD_USER_INPUT"),
        ({"n": True}, "BAD_USER_INPUT"),
        ({"f": {"status": {"eq": "LOST"}}}, "BAD_USER_INPUT"),
        ({"f": {"nothing": 1}}, "BAD_USER_INPUT"),
        ({"f": {"total": {"gt": "NaN"}}}, "BAD_USER_INPUT"),
        ({"f": {"placedAt": {"gt": "2026-01-01"}}}, "BAD_USER_INPUT"),
        ({"f": {"number": {"in": None}}}, "BAD_USER_INPUT"),
        ({"f": {"number": {"eq": "a\x00b"}}}, "BAD_USER_INPUT"),
        ({"f": {"number": {"eq": "\ud800"}}}, "BAD_USER_INPUT"),
        ({"f": {"total": {"gt": "1e999999"}}}, "BAD_USER_INPUT"),
    ],
)
async def test_bad_variables_are_refused(
    reading: Reading, person: Person, variables: dict[str, Any], code: str
) -> None:
    text = """query Q($n: Int, $f: OrderFilter) {
      viewer { customer { orders(first: $n, filter: $f) { nodes { id } } } } }"""
    assert await reading.code(text, person.viewer(), **variables) == code


async def test_a_refusal_repeats_no_value(reading: Reading, person: Person) -> None:
    text = "query Q($f: OrderFilter) { viewer { customer { orders(filter: $f) { nodes { id } } } } }"
    answer = await reading.ask(text, person.viewer(), f={"placedAt": {"gt": "jane@example.org"}})
    assert "jane" not in json.dumps(answer)


async def test_filters_find(reading: Reading, person: Person, bystander: Person) -> None:
    text = "query Q($f: CustomerFilter) { customers(filter: $f) { totalCount nodes { id } } }"
    officer = staff_viewer("privacy_officer")
    wanted = {"totalCount": 1, "nodes": [{"id": global_id("Customer", person.customer_id)}]}
    for condition in ({"email": {"eq": person.email.upper()}}, {"email": {"in": ["nobody@x.org", person.email]}}):
        assert (await reading.data(text, officer, f=condition))["customers"] == wanted, condition
    both = await reading.data(text, officer, f={"email": {"in": [person.email, bystander.email]}})
    assert both["customers"]["totalCount"] == 2
    named = await reading.data(text, officer, f={"name": {"contains": "%"}})
    assert named["customers"]["totalCount"] == 0
    none = await reading.data(text, officer, f={"email": {"eq": person.email}, "country": {"eq": "XX"}})
    assert none["customers"]["totalCount"] == 0


async def test_one_and_rows_decode_or_raise(reading: Reading, person: Person, fresh_database: Database) -> None:
    found = await reading.reader.one("{ viewer { customer { id } } }", person.viewer())
    assert found == {"viewer": {"customer": {"id": global_id("Customer", person.customer_id)}}}
    connection = await fresh_database.connect_raw(Role.CUSTOMER)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            again = await reading.reader.rows("{ viewer { customer { id } } }", person.viewer(), connection=connection)
        assert again == found
    finally:
        await connection.close()


async def test_object_of_a_payload(reading: Reading, person: Person, bystander: Person) -> None:
    document = reading.reader.document("{ viewer { customer { givenName account { username } } } }")
    selection = document.operation(None).node.selection_set.selections[0].selection_set.selections[0].selection_set
    own = await reading.reader.node("Customer", person.customer_id, selection, {}, person.viewer(), {})
    assert json.loads(own)["account"]["username"]
    foreign = await reading.reader.node("Customer", bystander.customer_id, selection, {}, person.viewer(), {})
    assert foreign == b"null"
    as_system = await reading.reader.node("Customer", bystander.customer_id, selection, {}, SYSTEM, {})
    assert json.loads(as_system)["givenName"]


async def test_scopes_of_a_viewer(reading: Reading) -> None:
    viewer = customer_viewer(uuid4(), "profile:read")
    data = await reading.data("{ viewer { kind scopes roles customer { id } } }", viewer)
    assert data["viewer"] == {"kind": "CUSTOMER", "scopes": ["profile:read"], "roles": [], "customer": None}


def test_moments_are_utc() -> None:
    assert iso(datetime(2026, 1, 31, 12, tzinfo=UTC)) == "2026-01-31T12:00:00.000000Z"
