"""Merging by GraphQL: who asks, what they are told, and what the records say before and after."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.core.platform import Platform
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.staff import staff
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

MERGE = """mutation M($input: MergeCustomersInput!) { mergeCustomers(input: $input) {
  clientMutationId merge { id status mergedId reason caseRef counts version putAside { kind } } } }"""
UNMERGE = (
    "mutation U($input: UnmergeCustomersInput!) { unmergeCustomers(input: $input) { merge { status undoReason } } }"
)
CUSTOMER = (
    "query C($id: ID!) { customer(id: $id) { version merges { status mergedId } orders(first: 9) { totalCount } } }"
)
OWN = "{ viewer { customer { merges { status mergedId reason mergedById putAside { kind values } log { action } } } } }"


@pytest.fixture
def member(platform: Platform) -> Callable[..., Awaitable[Viewer]]:
    async def hire(*roles: str) -> Viewer:
        staff_id = new_id()
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(staff).values(id=staff_id, username=f"{staff_id}@x", name="Bo", roles=list(roles)))
        known = {"staff_id": staff_id, "roles": frozenset(roles), "scopes": STAFF_SCOPES}
        return Viewer(Actor.STAFF, **known, authenticated_at=platform.clock(), purpose="customer_service")

    return hire


def the_pair(keep: Person, drop: Person, **more: Any) -> dict[str, Any]:
    ids = {"keepId": global_id("Customer", keep.customer_id), "dropId": global_id("Customer", drop.customer_id)}
    return {**ids, "reason": "The same person.", **more}


def code(answer: dict[str, Any]) -> str:
    return answer["errors"][0]["extensions"]["code"]


async def test_two_are_one_for_whoever_asks_and_two_again(db: Database, ask: Ask, member: Any) -> None:
    keep, drop, bystander = [await make_person(db) for _ in range(3)]
    before = await picture(db, bystander)
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(delete(account).where(account.c.customer_id == drop.customer_id))
    agent, first, second = await member("agent"), await member("supervisor"), await member("privacy_officer")
    kept, dropped = (global_id("Customer", one.customer_id) for one in (keep, drop))
    stale = {"expectedVersions": {"keep": 1, "drop": 7}}
    assert code(await ask(first, MERGE, input=the_pair(keep, drop, **stale))) == "STALE_VERSION"
    asked = the_pair(keep, drop, caseRef="T-1", clientMutationId="c", expectedVersions={"keep": 1, "drop": 1})
    proposed = (await ask(agent, MERGE, input=asked))["data"]["mergeCustomers"]
    assert proposed["clientMutationId"] == "c"
    assert proposed["merge"]["status"] == "PROPOSED"
    made = (await ask(second, MERGE, input=asked))["data"]["mergeCustomers"]["merge"]
    assert (made["id"], made["status"], made["mergedId"]) == (proposed["merge"]["id"], "MERGED", dropped)
    assert made["counts"]["moved"]["sales_order"] == 1
    assert "customer" in {one["kind"] for one in made["putAside"]}
    told = (await ask(agent, CUSTOMER, id=kept))["data"]["customer"]
    assert told["merges"] == [{"status": "MERGED", "mergedId": dropped}]
    assert (told["orders"]["totalCount"], told["version"]) == (2, 2)
    assert (await ask(agent, CUSTOMER, id=dropped))["data"]["customer"] is None
    own = await ask(keep.viewer(authenticated_at=agent.authenticated_at), OWN)
    assert own["data"]["viewer"]["customer"]["merges"][0]["reason"] == "The same person."
    assert own["data"]["viewer"]["customer"]["merges"][0]["mergedById"] is None
    assert any(
        one["values"].get("given_name") == "Ada" for one in own["data"]["viewer"]["customer"]["merges"][0]["putAside"]
    )
    [shown] = own["data"]["viewer"]["customer"]["merges"]
    assert "customer.merged" in {one["action"] for one in shown["log"]}
    undo = {"mergeId": made["id"], "reason": "Two.", "expectedVersion": made["version"]}
    assert code(await ask(agent, UNMERGE, input=undo)) == "MERGE_ROLE_NEEDED"
    undone = (await ask(first, UNMERGE, input=undo))["data"]["unmergeCustomers"]["merge"]
    assert undone == {"status": "UNDONE", "undoReason": "Two."}
    assert (await ask(agent, CUSTOMER, id=dropped))["data"]["customer"]["orders"]["totalCount"] == 1
    assert await picture(db, bystander) == before


async def test_who_may_not_is_refused_and_that_is_recorded(db: Database, ask: Ask, member: Any) -> None:
    keep, drop = await make_person(db), await make_person(db)
    asked = the_pair(keep, drop)
    analyst = await member("analyst")
    assert code(await ask(analyst, MERGE, input=asked)) == "MERGE_ROLE_NEEDED"
    assert code(await ask(keep.viewer(), MERGE, input=asked)) in {"MISSING_SCOPE", "INSUFFICIENT_SCOPE", "FORBIDDEN"}
    async with db.transaction(Role.WORKER) as tx:
        mine = (audit_event.c.actor_ref == analyst.staff_id) & (audit_event.c.action == "customer.merged")
        refused = await tx.all(select(audit_event.c.outcome).where(mine))
    assert [row.outcome for row in refused] == ["refused"]
    assert (await ask(await member("agent"), CUSTOMER, id=asked["dropId"]))["data"]["customer"]["merges"] == []


async def test_clear_text_that_stands_aside_is_not_for_agents(db: Database, ask: Ask, member: Any) -> None:
    keep, drop = await make_person(db), await make_person(db)
    await ask(await member("agent"), MERGE, input=the_pair(keep, drop))
    supervisor = await member("supervisor")
    answer = await ask(supervisor, MERGE, input=the_pair(keep, drop))
    assert answer["data"]["mergeCustomers"]["merge"]["putAside"] is None
    assert answer["errors"][0]["path"][-1] == "putAside"
