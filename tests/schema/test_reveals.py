"""Reveals: for a minute, for one agent, one customer, the named categories; fresh, counted, recorded; then over."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cdp.access.rules import MASKED, REVEALABLE
from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.operations import expired
from cdp.operations.reveals import reveals
from cdp.schema.mutations.reveals import RevealCategory
from cdp.tables.audit import audit_event, audit_note
from cdp.tables.reveal import reveal
from cdp.tables.staff import staff
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

REVEALS = frozenset({"revealFields"})
REVEAL = """mutation R($input: RevealFieldsInput!) { revealFields(input: $input) {
  clientMutationId revealedUntil customer { ...Seen } } } """
SEEN = """fragment Seen on Customer {
  account { username maskedFields } identities { value maskedFields }
  contacts { emails { address maskedFields } phones { number e164 maskedFields } addresses { line1 maskedFields } }
  orders(first: 5) { nodes { billingName maskedFields } } messages(first: 5) { nodes { recipient maskedFields } } }"""
READ = "query Q($id: ID!) { customer(id: $id) { ...Seen } } " + SEEN
MakeAgent = Callable[..., Awaitable[Viewer]]


@pytest.fixture(scope="session")
def make_agent(platform: Platform) -> MakeAgent:
    async def make(*roles: str, scopes: frozenset[str] = STAFF_SCOPES, age_s: int = 0) -> Viewer:
        staff_id = new_id()
        async with platform.db.transaction(Role.WORKER) as tx:
            row = {"id": staff_id, "username": f"{staff_id}@example.org", "name": "Bo", "roles": list(roles)}
            await tx.execute(staff.insert().values(**row))
        signed_in = datetime.now(UTC) - timedelta(seconds=age_s)
        return Viewer(
            Actor.STAFF,
            staff_id=staff_id,
            roles=frozenset(roles or ("agent",)),
            scopes=scopes,
            authenticated_at=signed_in,
            purpose="customer_service",
        )

    return make


@pytest.fixture
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture
async def bystander(db: Database) -> Person:
    return await make_person(db)


def given(person: Person, *categories: str, **changes: Any) -> dict[str, Any]:
    found = {
        "customerId": global_id("Customer", person.customer_id),
        "categories": list(categories or ("CONTACT",)),
        "reason": "CUSTOMER_ASKED",
        "caseRef": "CASE-123",
    }
    return found | changes


async def seen(ask: Ask, viewer: Viewer, person: Person) -> dict[str, Any]:
    answer = await ask(viewer, READ, id=global_id("Customer", person.customer_id))
    assert "errors" not in answer, answer
    return answer["data"]["customer"]


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def over(db: Database, viewer: Viewer) -> None:
    """Let the minute pass, by the database's clock."""
    async with db.transaction(Role.WORKER) as tx:
        mine = update(reveal).where(reveal.c.staff_id == viewer.staff_id)
        await tx.execute(mine.values(expires_at=func.now()))


async def log_of(db: Database, viewer: Viewer) -> list[Any]:
    async with db.transaction(Role.WORKER) as tx:
        found = select(audit_event, audit_note.c.text).outerjoin(audit_note, audit_note.c.event_id == audit_event.c.id)
        mine = (audit_event.c.actor_ref == viewer.staff_id) & (audit_event.c.action == reveals.ACTION)
        return list(await tx.all(found.where(mine).order_by(audit_event.c.id)))


def test_what_can_be_revealed_is_what_is_masked():
    assert {one.value for one in RevealCategory} == {one.value for one in REVEALABLE}
    for name, fields in MASKED.items():
        assert len({mask.category for mask in fields.values()}) == 1, name


async def test_named_categories_become_clear_for_this_agent_and_this_customer(
    db: Database, ask: Ask, make_agent: MakeAgent, person: Person, bystander: Person
):
    agent, colleague = await make_agent("agent"), await make_agent("agent")
    masked = await seen(ask, agent, person)
    others = await seen(ask, agent, bystander)
    before = await picture(db, bystander)
    answer = await ask(agent, REVEAL + SEEN, input=given(person, clientMutationId="x"))
    payload = answer["data"]["revealFields"]
    assert payload["clientMutationId"] == "x"
    clear = payload["customer"]
    [email] = clear["contacts"]["emails"]
    assert email == {"address": person.email, "maskedFields": []}
    assert not clear["contacts"]["phones"][0]["number"].startswith("*")
    assert clear["contacts"]["addresses"][0]["line1"].startswith("Street")
    assert {name: clear[name] for name in ("account", "identities", "orders", "messages")} == {
        name: masked[name] for name in ("account", "identities", "orders", "messages")
    }
    assert masked["account"]["maskedFields"] == ["username"]
    assert await seen(ask, agent, person) == clear
    assert await picture(db, bystander) == before
    assert await seen(ask, agent, bystander) == others
    assert await seen(ask, colleague, person) == masked


async def test_it_is_over_after_a_minute_of_the_database(db: Database, ask: Ask, make_agent: MakeAgent, person: Person):
    agent = await make_agent("supervisor")
    masked = await seen(ask, agent, person)
    answer = await ask(agent, REVEAL + SEEN, input=given(person, *(one.name for one in RevealCategory)))
    until = datetime.fromisoformat(answer["data"]["revealFields"]["revealedUntil"])
    async with db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(reveal).where(reveal.c.staff_id == agent.staff_id))
        left = await reveals.seconds_left(tx, agent, person.customer_id)
    assert row is not None
    assert row.expires_at == until
    assert until - row.created_at == timedelta(seconds=60)
    assert set(left) == REVEALABLE
    assert all(0 < seconds <= 60 for seconds in left.values())
    assert '"maskedFields": ["' not in json.dumps(await seen(ask, agent, person))
    await over(db, agent)
    assert await seen(ask, agent, person) == masked
    async with db.transaction(Role.WORKER) as tx:
        assert not await reveals.seconds_left(tx, agent, person.customer_id)


async def test_a_list_reveals_its_rows_one_by_one(ask: Ask, make_agent: MakeAgent, person: Person, bystander: Person):
    agent = await make_agent("agent")
    await ask(agent, REVEAL + SEEN, input=given(person))
    ids = [global_id("EmailAddress", one.email_id) for one in (person, bystander)]
    answer = await ask(
        agent, "query Q($ids: [ID!]!) { nodes(ids: $ids) { ... on EmailAddress { address maskedFields } } }", ids=ids
    )
    mine, theirs = answer["data"]["nodes"]
    assert mine == {"address": person.email, "maskedFields": []}
    assert theirs["maskedFields"] == ["address"]
    assert theirs["address"] == "a***@e***.com"


async def test_it_is_recorded_with_its_reason_and_the_case_can_be_erased(
    db: Database, ask: Ask, make_agent: MakeAgent, person: Person
):
    agent = await make_agent("agent")
    await ask(agent, REVEAL + SEEN, input=given(person, "CONTACT", "ACCOUNT", reason="FRAUD_CHECK"))
    [event] = await log_of(db, agent)
    assert (event.outcome, event.subject_ref) == ("ok", person.audit_ref)
    assert event.details == {"categories": ["account", "contact"], "reason": "fraud_check", "seconds": 60}
    assert event.text == "CASE-123"
    assert "CASE-123" not in json.dumps(event.details)


REFUSED = {
    "no such scope": (("agent",), STAFF_SCOPES - {"customers:reveal"}, 0, "INSUFFICIENT_SCOPE"),
    "an old sign-in": (("agent",), STAFF_SCOPES, 601, "STEP_UP_REQUIRED"),
    "an analyst": (("analyst",), STAFF_SCOPES, 0, "FORBIDDEN"),
    "an administrator": (("administrator",), STAFF_SCOPES, 0, "FORBIDDEN"),
    "who sees all anyway": (("privacy_officer",), STAFF_SCOPES, 0, "FORBIDDEN"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_who_may_not_is_refused_and_it_is_recorded(
    db: Database, ask: Ask, make_agent: MakeAgent, person: Person, name: str
):
    roles, scopes, age_s, code = REFUSED[name]
    viewer = await make_agent(*roles, scopes=scopes, age_s=age_s)
    answer = await ask(viewer, REVEAL + SEEN, input=given(person))
    assert (answer["data"], codes(answer)) == ({"revealFields": None}, [code])
    [event] = await log_of(db, viewer)
    assert (event.outcome, event.code) == ("refused", code)
    async with db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(reveal).where(reveal.c.staff_id == viewer.staff_id)) is None


async def test_a_customer_reveals_nothing(db: Database, ask: Ask, person: Person, bystander: Person):
    viewer = replace(person.viewer(authenticated_at=datetime.now(UTC)), scopes=STAFF_SCOPES)
    answer = await ask(viewer, REVEAL + SEEN, input=given(bystander))
    assert codes(answer) == ["FORBIDDEN"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"caseRef": ""}, "CASE_NEEDED"),
    ({"caseRef": "  "}, "CASE_NEEDED"),
    ({"caseRef": "ada@example.org 1"}, "CASE_NEEDED"),
    ({"caseRef": "Ada Lovelace"}, "CASE_NEEDED"),
    ({"caseRef": "1" * 41}, "CASE_NEEDED"),
    ({"categories": []}, "NOTHING_TO_REVEAL"),
    ({"customerId": global_id("Customer", new_id())}, "NOT_FOUND"),
    ({"customerId": global_id("Order", new_id())}, "INVALID_ID"),
    ({"reason": "CURIOSITY"}, "BAD_USER_INPUT"),
    ({"categories": ["DEVICE"]}, "BAD_USER_INPUT"),
]


@pytest.mark.parametrize(("changes", "code"), BAD, ids=lambda one: one if isinstance(one, str) else "")
async def test_what_makes_no_sense_is_refused(
    ask: Ask, make_agent: MakeAgent, person: Person, changes: dict[str, Any], code: str
):
    answer = await ask(await make_agent("agent"), REVEAL + SEEN, input=given(person, **changes))
    assert codes(answer) == [code]


async def test_an_hour_holds_so_many_and_no_more(
    db: Database, platform: Platform, ask: Ask, make_agent: MakeAgent, person: Person
):
    agent, most = await make_agent("agent"), platform.settings.reveals_per_hour
    async with db.transaction(Role.WORKER) as tx:
        row = {
            "customer_id": person.customer_id,
            "staff_id": agent.staff_id,
            "categories": ["contact"],
            "reason": "fraud_check",
            "expires_at": datetime.now(UTC) - timedelta(minutes=1),
        }
        for _ in range(most - 3):
            await tx.execute(reveal.insert().values(id=new_id(), **row))
    answers = await asyncio.gather(*(ask(agent, REVEAL + SEEN, input=given(person)) for _ in range(6)))
    refused = [codes(one) for one in answers if "errors" in one]
    assert refused == [["TOO_MANY_REVEALS"]] * 3
    [error] = next(one["errors"] for one in answers if "errors" in one)
    assert 0 < error["extensions"]["retryAfterS"] <= 3600
    other = await make_agent("agent")
    assert "errors" not in await ask(other, REVEAL + SEEN, input=given(person))
    async with db.transaction(Role.WORKER) as tx:
        mine = update(reveal).where(reveal.c.staff_id == agent.staff_id)
        await tx.execute(mine.values(created_at=reveal.c.created_at - timedelta(hours=1)))
    assert "errors" not in await ask(agent, REVEAL + SEEN, input=given(person))


async def test_a_reveal_lifts_masks_of_values_and_not_of_filters(ask: Ask, make_agent: MakeAgent, person: Person):
    agent = await make_agent("agent")
    await ask(agent, REVEAL + SEEN, input=given(person, "ORDER", "CONTACT"))
    matched = "query Q($f: CustomerFilter) { customers(filter: $f, first: 2) { nodes { id } } }"
    found = await ask(agent, matched, f={"email": {"eq": person.email}})
    assert found["data"]["customers"]["nodes"] == [{"id": global_id("Customer", person.customer_id)}]
    part = await ask(agent, matched, f={"email": {"eq": person.email[:5]}})
    assert part["data"]["customers"]["nodes"] == []


async def test_rows_go_a_day_later(db: Database, ask: Ask, make_agent: MakeAgent, person: Person):
    old, young = await make_agent("agent"), await make_agent("agent")
    for one in (old, young):
        await ask(one, REVEAL + SEEN, input=given(person))
    async with db.transaction(Role.WORKER) as tx:
        mine = update(reveal).where(reveal.c.staff_id == old.staff_id)
        await tx.execute(mine.values(expires_at=func.now() - timedelta(hours=25)))
    async with db.transaction(Role.WORKER) as tx:
        await expired.forget(tx, limit=1000)
        left = {row.staff_id for row in await tx.all(select(reveal.c.staff_id))}
    assert young.staff_id in left
    assert old.staff_id not in left
