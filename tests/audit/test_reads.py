"""Whose data staff read is in the log, person by person, also from a list; and each person sees their part."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Row, insert, select
from structlog.contextvars import bound_contextvars

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.audit import Note, sequencer
from cdp.tables.audit import audit_event
from cdp.tables.staff import staff
from tests.population import Person, make_person
from tests.twin.reading import Reading, reading, staff_viewer

__all__ = ["reading"]
LIST = """query Q($n: Int, $after: String) { customers(first: $n, after: $after) {
  nodes { givenName } pageInfo { hasNextPage endCursor } } }"""
LOG = """query Q($f: AuditEventFilter) { auditEvents(filter: $f) { totalCount nodes {
  id occurredAt action outcome actorKind actorRef actorName client subjectRef objectType objectId fields purpose note
  details request position leafHash } } }"""
MINE = """{ viewer { customer { auditEvents { totalCount nodes {
  action outcome actorKind objectType fields purpose note } } } } }"""


@pytest.fixture
async def people(fresh_database: Database) -> list[Person]:
    return [await make_person(fresh_database) for _ in range(4)]


async def trail(database: Database) -> list[Row[Any]]:
    async with database.transaction(Role.WORKER) as tx:
        return list(await tx.all(select(audit_event).order_by(audit_event.c.id)))


async def since(database: Database, before: int) -> list[Row[Any]]:
    return (await trail(database))[before:]


async def seen(database: Database, before: int) -> list[Any]:
    return sorted(row.subject_ref for row in await since(database, before) if row.subject_ref)


async def test_a_list_leaves_a_trace_for_everybody_it_shows(
    reading: Reading, fresh_database: Database, people: list[Person]
) -> None:
    """Page by page: who is only counted, or peeked at for the next page, was not read."""
    agent, before, after, shown = staff_viewer("agent"), len(await trail(fresh_database)), None, set()
    for _ in range(2):
        page = (await reading.data(LIST, agent, n=3, after=after))["customers"]
        after, rows = page["pageInfo"]["endCursor"], await since(fresh_database, before)
        found = {row.subject_ref for row in rows if row.subject_ref}
        assert len(found) == len(page["nodes"])
        assert len([row for row in rows if row.subject_ref is None]) == 1
        assert {row.action for row in rows} == {"customer.read"}
        assert {row.object_type for row in rows if row.subject_ref} == {"Customer"}
        assert all(row.details["fields"] == ["Customer.givenName"] for row in rows)
        assert not shown & found
        shown |= found
        before += len(rows)
    assert shown == {person.audit_ref for person in people}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("{ customers(first: 2) { nodes { givenName } } }", 2),
        ("{ customers(last: 2) { edges { node { givenName } cursor } } }", 2),
        ("{ a: customers(first: 1) { nodes { id } } b: customers(last: 1) { nodes { id } } }", 2),
        ("{ customers(first: 2) { totalCount } }", 0),
        ('{ customers(filter: {email: {eq: "nobody@example.org"}}) { nodes { givenName } } }', 0),
        ("{ purposes { code } }", 0),
    ],
)
async def test_lists_of_every_form(
    reading: Reading, fresh_database: Database, people: list[Person], text: str, count: int
) -> None:
    before = len(await trail(fresh_database))
    await reading.data(text, staff_viewer("privacy_officer"))
    assert len(await seen(fresh_database, before)) == count


async def test_objects_by_id(reading: Reading, fresh_database: Database, people: list[Person]) -> None:
    one, other, *_ = people
    before = len(await trail(fresh_database))
    ids = [global_id("Customer", one.customer_id), global_id("EmailAddress", other.email_id)]
    text = (
        "query Q($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer { givenName } ... on EmailAddress { address } } }"
    )
    await reading.data(text, staff_viewer("agent"), ids=[*ids, global_id("Customer", uuid4())])
    assert await seen(fresh_database, before) == sorted([one.audit_ref, other.audit_ref])
    kinds = {row.object_type for row in await since(fresh_database, before)}
    assert kinds == {None, "Customer", "EmailAddress"}


async def test_it_says_by_which_application_and_request(
    reading: Reading, fresh_database: Database, people: list[Person]
) -> None:
    with bound_contextvars(request_id="abc123"):
        await reading.data(LIST, replace(staff_viewer("agent"), client_id="helpdesk"), n=1)
    row = (await trail(fresh_database))[-1]
    assert (row.client, row.request) == ("helpdesk", "abc123")


async def test_who_acts_for_a_customer_is_named_beside_them(
    reading: Reading, fresh_database: Database, people: list[Person]
) -> None:
    person, bystander, *_ = people
    acting = replace(person.viewer(), acting_staff_id=uuid4())
    before = len(await trail(fresh_database))
    for _ in range(3):
        await reading.data("{ viewer { customer { givenName orders { nodes { number } } } } }", acting)
    rows = await since(fresh_database, before)
    assert {(row.actor_kind, row.actor_ref, row.subject_ref) for row in rows} == {
        ("staff", acting.acting_staff_id, person.audit_ref)
    }
    assert len(rows) == 3
    await reading.data("{ viewer { customer { givenName } } }", bystander.viewer())
    assert len(await since(fresh_database, before)) == 3, "who acts for themselves leaves no trace"


@pytest.fixture
async def colleague(fresh_database: Database) -> Viewer:
    """A member of staff who is in the database."""
    viewer = staff_viewer("agent")
    row = {"id": viewer.staff_id, "username": "kim@example.org", "name": "Kim", "roles": ["agent"]}
    async with fresh_database.transaction(Role.WORKER) as tx:
        await tx.execute(insert(staff).values(row))
    return viewer


async def test_privacy_officers_read_the_log_and_are_in_it(
    reading: Reading, fresh_platform: Platform, people: list[Person], colleague: Viewer
) -> None:
    person, *_ = people
    wanted = {"id": global_id("Customer", person.customer_id)}
    await reading.data("query Q($id: ID!) { customer(id: $id) { givenName } }", colleague, **wanted)
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        note = Note(person.customer_id, "Case 123")
        await audit.record(tx, colleague, "customer.revealed", subject_ref=person.audit_ref, note=note)
    await sequencer.sequence(fresh_platform)
    officer = staff_viewer("privacy_officer")
    about = {"f": {"customer": {"eq": wanted["id"]}}}
    found = (await reading.data(LOG, officer, **about))["auditEvents"]["nodes"]
    assert [one["action"] for one in found] == ["customer.revealed", "customer.read"]
    assert found[0]["note"] == "Case 123"
    assert {one["actorName"] for one in found} == {"Kim"}
    assert found[1]["fields"] == ["Customer.givenName"]
    assert found[1]["purpose"] == "customer_service"
    assert all(one["position"] and len(one["leafHash"]) == 64 for one in found[:1])
    last = (await trail(fresh_platform.db))[-1]
    assert (last.actor_ref, last.details["root"]) == (officer.staff_id, "auditEvents")
    assert "AuditEvent.note" in last.details["fields"]


@pytest.mark.parametrize("role", ["agent", "supervisor", "analyst"])
async def test_others_do_not(reading: Reading, role: str) -> None:
    assert await reading.code("{ auditEvents { totalCount } }", staff_viewer(role)) == "FORBIDDEN"


async def test_not_without_the_scope(reading: Reading, people: list[Person]) -> None:
    narrow = staff_viewer("privacy_officer", scopes=frozenset({"customers:read"}))
    assert await reading.code("{ auditEvents { totalCount } }", narrow) == "INSUFFICIENT_SCOPE"
    assert await reading.code("{ auditEvents { totalCount } }", people[0].viewer()) == "FORBIDDEN"
    assert await reading.code(MINE, people[0].viewer("profile:read")) == "INSUFFICIENT_SCOPE"


async def test_customers_see_their_own_part_and_no_colleagues(
    reading: Reading, fresh_database: Database, people: list[Person], colleague: Viewer
) -> None:
    person, bystander, *_ = people
    text = "query Q($id: ID!) { customer(id: $id) { contacts { phones { number } } } }"
    await reading.data(text, colleague, id=global_id("Customer", person.customer_id))
    async with fresh_database.transaction(Role.WORKER) as tx:
        note = Note(person.customer_id, "Case 123")
        await audit.record(tx, colleague, "customer.revealed", subject_ref=person.audit_ref, note=note)
    mine = (await reading.data(MINE, person.viewer()))["viewer"]["customer"]["auditEvents"]
    assert [(one["action"], one["actorKind"], one["note"]) for one in mine["nodes"]] == [
        ("customer.revealed", "STAFF", "Case 123"),
        ("customer.read", "STAFF", None),
    ]
    assert mine["nodes"][1]["fields"] == ["PhoneNumber.number"]
    theirs = (await reading.data(MINE, bystander.viewer()))["viewer"]["customer"]["auditEvents"]
    assert theirs == {"totalCount": 0, "nodes": []}
    for field in ("actorRef", "actorName", "details", "subjectRef", "objectId", "request", "position"):
        one = "{ viewer { customer { auditEvents { nodes { FIELD } } } } }".replace("FIELD", field)
        refusals = (await reading.ask(one, person.viewer()))["errors"]
        assert {refusal["extensions"]["code"] for refusal in refusals} == {"FORBIDDEN"}, field
    async with fresh_database.transaction(Role.WORKER) as tx:
        ids = [row.id for row in await tx.all(select(audit_event).where(audit_event.c.subject_ref == person.audit_ref))]
    node = "query Q($id: ID!) { node(id: $id) { id } }"
    for event_id in ids:
        wanted = global_id("AuditEvent", event_id)
        assert (await reading.data(node, person.viewer(), id=wanted))["node"] == {"id": wanted}
        assert (await reading.data(node, bystander.viewer(), id=wanted))["node"] is None
