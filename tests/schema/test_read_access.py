"""Who sees what, end to end: own rows only, masks, traces of staff, and row-level security as a wall of its own."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from cdp.access import masks
from cdp.access.decision import Everything, Mask, RowRule, Rule, Rules, Who
from cdp.access.rules import RULES
from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.core.settings import Settings
from cdp.tables.audit import audit_event
from tests.population import Person, make_person
from tests.twin.catalogue import CATALOGUE
from tests.twin.reading import GRAPH, KEY, Reading, reading, staff_viewer

__all__ = ["reading"]


@pytest.fixture
async def person(fresh_database: Database) -> Person:
    return await make_person(fresh_database)


@pytest.fixture
async def bystander(fresh_database: Database) -> Person:
    return await make_person(fresh_database)


async def answers(reader: Reader, viewer: Viewer) -> list[bytes]:
    return [await reader.execute(text, viewer) for text in CATALOGUE]


async def test_two_viewers_alternating_on_one_connection_never_meet(
    fresh_database: Database, fresh_settings: Settings, person: Person, bystander: Person
) -> None:
    """Evaluation order is not promised by SQL: every catalogue query over one connection, by turns."""
    alone = [await _alone(fresh_database, fresh_settings, one.viewer()) for one in (person, bystander)]
    assert all(mine != theirs for mine, theirs in zip(alone[0][:1], alone[1][:1], strict=True))
    narrow = Reader(GRAPH, fresh_database, fresh_settings.model_copy(update={"pool_size": 1}), KEY)
    for _ in range(5):
        for number, text in enumerate(CATALOGUE):
            assert await narrow.execute(text, person.viewer()) == alone[0][number], text
            assert await narrow.execute(text, bystander.viewer()) == alone[1][number], text
            nobody = json.loads(await narrow.execute(text, ANONYMOUS))["data"]
            assert not nobody.get("viewer") or nobody["viewer"]["customer"] is None
    assert len(narrow._pools[Role.CUSTOMER]._idle) == 1
    await narrow.close()


async def _alone(database: Database, settings: Settings, viewer: Viewer) -> list[bytes]:
    reader = Reader(GRAPH, database, settings, KEY)
    found = await answers(reader, viewer)
    await reader.close()
    return found


async def test_row_level_security_holds_without_the_compilers_predicates(
    fresh_database: Database, fresh_settings: Settings, person: Person, bystander: Person
) -> None:
    """With rules that forget every row predicate, the database still shows nobody else's rows."""
    forgetful = Rules(RULES.fields, [RowRule(one.actor, one.type, Everything()) for one in RULES.row_rules])
    reader = Reader(GRAPH, fresh_database, fresh_settings, KEY, rules=forgetful)
    text = """query Q($order: ID!, $mail: ID!, $who: ID!) { viewer { customer { givenName } }
      a: node(id: $order) { id } b: node(id: $mail) { id } c: node(id: $who) { id } privacyRequests { totalCount } }"""
    foreign = {
        "order": global_id("Order", bystander.order_id),
        "mail": global_id("EmailAddress", bystander.email_id),
        "who": global_id("Customer", bystander.customer_id),
    }
    for _ in range(3):
        data = json.loads(await reader.execute(text, person.viewer(), foreign))["data"]
        assert (data["a"], data["b"], data["c"]) == (None, None, None)
        theirs = json.loads(await reader.execute(text, bystander.viewer(), foreign))["data"]
        assert all(theirs[key] for key in "abc")
    await reader.close()


async def test_agents_see_masks_and_say_so(reading: Reading, person: Person) -> None:
    text = """query Q($id: ID!) { customer(id: $id) { givenName account { username maskedFields } contacts {
      emails { address maskedFields } phones { number e164 maskedFields } addresses { line1 city maskedFields } } } }"""
    wanted = global_id("Customer", person.customer_id)
    seen = (await reading.data(text, staff_viewer("agent"), id=wanted))["customer"]
    (mail,) = seen["contacts"]["emails"]
    assert mail["maskedFields"] == ["address"]
    assert mail["address"].startswith(person.email[0] + "***@")
    assert person.email not in json.dumps(seen)
    assert seen["contacts"]["phones"][0]["maskedFields"] == ["e164", "number"]
    assert seen["contacts"]["phones"][0]["e164"].startswith("***")
    assert seen["contacts"]["addresses"][0]["line1"].endswith("***")
    clear = (await reading.data(text, staff_viewer("privacy_officer"), id=wanted))["customer"]
    assert clear["contacts"]["emails"] == [{"address": person.email, "maskedFields": []}]


@pytest.mark.parametrize("role", ["analyst", "administrator"])
async def test_other_staff_see_no_customers(reading: Reading, person: Person, role: str) -> None:
    answer = await reading.ask(
        "query Q($id: ID!) { customer(id: $id) { givenName } customers { totalCount } node(id: $id) { id } }",
        staff_viewer(role),
        id=global_id("Customer", person.customer_id),
    )
    assert answer["data"] == {"customer": None, "customers": None, "node": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}


async def test_a_denied_member_costs_the_others_nothing(reading: Reading, person: Person) -> None:
    order, request = global_id("Order", person.order_id), global_id("PrivacyRequest", person.order_id)
    text = "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } viewer { customer { requests { totalCount } } } }"
    answer = await reading.ask(text, person.viewer("profile:read"), ids=[request, order, request])
    assert answer["data"] == {"nodes": [None, {"id": order}, None], "viewer": {"customer": {"requests": None}}}
    assert [error["path"] for error in answer["errors"]] == [
        ["nodes", 0],
        ["nodes", 2],
        ["viewer", "customer", "requests"],
    ]


async def test_customers_can_not_list_customers(reading: Reading, person: Person, bystander: Person) -> None:
    answer = await reading.ask("{ customers { totalCount } systems { name } }", person.viewer())
    assert answer["data"] == {"customers": None, "systems": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}


FILTERS: list[tuple[dict[str, Any], str | None]] = [
    ({"email": {"eq": "x"}}, None),
    ({"email": {"in": ["x"]}}, None),
    ({"phone": {"eq": "x"}}, None),
    ({"name": {"contains": "x"}}, None),
]


@pytest.mark.parametrize(("condition", "code"), FILTERS)
async def test_agents_match_masked_fields_exactly(
    reading: Reading, condition: dict[str, Any], code: str | None
) -> None:
    text = "query Q($f: CustomerFilter) { customers(filter: $f) { totalCount } }"
    answer = await reading.ask(text, staff_viewer("agent"), f=condition)
    assert [error["extensions"]["code"] for error in answer.get("errors", ())] == ([code] if code else [])


async def test_a_masked_field_is_matched_by_nothing_but_equality(
    fresh_database: Database, fresh_settings: Settings, person: Person
) -> None:
    """Were order numbers masked for somebody, no prefix, range or order could spell them out."""
    veiled = [
        Rule(Who(Actor.CUSTOMER), "Order", frozenset({"number"}), Mask(masks.text)),
        Rule(Who(Actor.CUSTOMER), "Order", frozenset({"total"}), Mask(masks.text)),
    ]
    reader = Reader(GRAPH, fresh_database, fresh_settings, KEY, rules=Rules([*veiled, *RULES.fields], RULES.row_rules))
    text = """query Q($f: OrderFilter, $o: OrderOrder) {
      viewer { customer { orders(filter: $f, orderBy: $o) { nodes { number } } } } }"""
    refused: list[dict[str, Any]] = [
        {"f": {"number": {"startsWith": "O"}}},
        {"f": {"number": {"contains": "O"}}},
        {"f": {"number": {"eq": "O", "startsWith": "O"}}},
        {"f": {"total": {"gt": "1"}}},
        {"o": {"field": "NUMBER"}},
        {"o": {"field": "TOTAL", "direction": "ASC"}},
    ]
    for variables in refused:
        answer = json.loads(await reader.execute(text, person.viewer(), variables))
        assert answer["data"]["viewer"]["customer"]["orders"] is None
        assert [(e["path"], e["extensions"]["code"]) for e in answer["errors"]] == [
            (["viewer", "customer", "orders"], "FORBIDDEN")
        ]
    allowed = json.loads(await reader.execute(text, person.viewer(), {"f": {"number": {"eq": "O"}}}))
    assert "errors" not in allowed
    await reader.close()


async def test_a_denied_field_can_be_neither_filtered_nor_sorted_by(reading: Reading) -> None:
    viewer = staff_viewer("agent", scopes=frozenset({"customers:read"}))
    for variables in ({"f": {"status": {"eq": "COMPLETED"}}}, {"o": {"field": "DUE_AT"}}):
        text = """query Q($f: PrivacyRequestFilter, $o: PrivacyRequestOrder) {
          privacyRequests(filter: $f, orderBy: $o) { totalCount } }"""
        assert await reading.code(text, viewer, **variables) == "INSUFFICIENT_SCOPE"


async def trail(database: Database) -> list[Any]:
    async with database.transaction(Role.WORKER) as tx:
        return list(await tx.all(select(audit_event).order_by(audit_event.c.id)))


async def test_what_staff_read_is_recorded_by_the_same_statement(
    reading: Reading, fresh_database: Database, person: Person, bystander: Person
) -> None:
    before = len(await trail(fresh_database))
    agent = staff_viewer("agent")
    text = "query Q($id: ID!) { customer(id: $id) { givenName contacts { emails { address } } } purposes { code } }"
    await reading.data(text, agent, id=global_id("Customer", person.customer_id))
    (row,) = (await trail(fresh_database))[before:]
    assert (row.action, row.outcome, row.actor_kind, row.actor_ref) == ("customer.read", "ok", "staff", agent.staff_id)
    assert row.subject_ref == person.audit_ref
    assert (row.object_type, row.object_id) == ("Customer", person.customer_id)
    assert row.details == {
        "root": "customer",
        "purpose": "customer_service",
        "fields": ["Customer.givenName", "EmailAddress.address"],
        "matched": [],
    }
    assert person.email not in json.dumps(row.details)


async def test_searches_of_staff_are_recorded_without_what_was_searched(
    reading: Reading, fresh_database: Database, person: Person
) -> None:
    before = len(await trail(fresh_database))
    text = "query Q($f: CustomerFilter) { customers(filter: $f) { totalCount } }"
    await reading.data(text, staff_viewer("agent"), f={"email": {"eq": person.email}})
    (row,) = (await trail(fresh_database))[before:]
    assert row.details["matched"] == ["EmailAddress.address"]
    assert row.subject_ref is None
    assert person.email not in json.dumps(row.details)


async def test_customers_and_public_reads_leave_no_trace(
    reading: Reading, fresh_database: Database, person: Person
) -> None:
    before = len(await trail(fresh_database))
    await reading.data("{ viewer { customer { givenName } } purposes { code } }", person.viewer())
    await reading.data("{ purposes { code } viewer { kind } }", staff_viewer("agent"))
    await reading.data("{ purposes { code } }", ANONYMOUS)
    assert len(await trail(fresh_database)) == before
