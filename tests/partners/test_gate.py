"""The disclosure gate: a legal order with its document and three people, followed once, told when it may be told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.operations.partners import orders
from cdp.tables.audit import audit_event
from cdp.tables.message import message
from cdp.tables.order import sales_order
from cdp.tables.partner import disclosure
from cdp.tables.sharing import legal_order
from tests.partners.conftest import Desk, colleague
from tests.population import Person, audited, make_person, picture
from tests.schema.conftest import Ask

DOCUMENT = {"name": "order.pdf", "mediaType": "application/pdf", "content": "JVBERi0xLjcgb3JkZXI="}


def _mutation(name: str, reads: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {reads} }} }}"


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def _propose(desk: Desk, ask: Ask, person: Person, **changes: object) -> dict[str, Any]:
    wanted = {
        "customerId": global_id("Customer", person.customer_id),
        "authority": "Amtsgericht Berlin",
        "caseRef": "12 Gs 34/26",
        "law": "StPO § 95",
        "fields": ["Customer.givenName", "EmailAddress.address", "Order.number"],
        "document": DOCUMENT,
        **changes,
    }
    return await ask(desk.proposer, _mutation("proposeLegalOrder", "order { id status fileName }"), input=wanted)


async def _order(desk: Desk, ask: Ask, person: Person, **changes: object) -> str:
    return str((await _propose(desk, ask, person, **changes))["data"]["proposeLegalOrder"]["order"]["id"])


async def _agree(ask: Ask, viewer: object, order_id: str) -> dict[str, Any]:
    return await ask(viewer, _mutation("approveLegalOrder", "order { status }"), input={"orderId": order_id})


async def _disclose(ask: Ask, viewer: object, order_id: str) -> dict[str, Any]:
    reads = "document order { status }"
    return await ask(viewer, _mutation("discloseUnderOrder", reads), input={"orderId": order_id})


async def test_an_order_is_agreed_to_by_two_others_and_followed_once(desk: Desk, ask: Ask) -> None:
    ada, bystander = await make_person(desk.platform.db), await make_person(desk.platform.db)
    before = await picture(desk.platform.db, bystander)
    order_id = await _order(desk, ask, ada)
    assert _codes(await _disclose(ask, desk.third, order_id)) == ["ORDER_NOT_OPEN"]
    assert _codes(await _agree(ask, desk.proposer, order_id)) == ["ORDER_NEEDS_ANOTHER"]
    endorsed = await _agree(ask, desk.second, order_id)
    assert endorsed["data"]["approveLegalOrder"]["order"]["status"] == "ENDORSED"
    assert _codes(await _agree(ask, desk.second, order_id)) == ["ORDER_NEEDS_ANOTHER"]
    assert _codes(await _disclose(ask, desk.third, order_id)) == ["ORDER_NOT_OPEN"]
    approved = await _agree(ask, desk.third, order_id)
    assert approved["data"]["approveLegalOrder"]["order"]["status"] == "APPROVED"
    found = (await _disclose(ask, desk.third, order_id))["data"]["discloseUnderOrder"]["document"]["customer"]
    assert found["givenName"] == "Ada"
    assert found["contacts"] == {"emails": [{"address": ada.email}]}
    assert set(found) == {"id", "givenName", "contacts", "orders"}
    assert _codes(await _disclose(ask, desk.third, order_id)) == ["ORDER_NOT_OPEN"]
    shown = await ask(ada.viewer(), "{ viewer { customer { disclosures { nodes { recipient purpose } } } } }")
    assert shown["data"]["viewer"]["customer"]["disclosures"]["nodes"] == [
        {"recipient": "Amtsgericht Berlin", "purpose": "legal_order"}
    ]
    steps = {f"legal_order.{step}" for step in ("proposed", "endorsed", "approved", "disclosed")}
    assert steps <= set(await audited(desk.platform.db, ada))
    assert await picture(desk.platform.db, bystander) == before


async def test_an_order_is_answered_whole_however_much_there_is(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        known = await tx.first(select(sales_order).where(sales_order.c.customer_id == ada.customer_id))
        assert known is not None
        more = [{**known._mapping, "id": new_id(), "number": f"{known.number}-{at}"} for at in range(120)]
        await tx.execute(insert(sales_order), more)
    order_id = await _order(desk, ask, ada, fields=["Order.number", "OrderItem.sku", "Inquiry.subject"])
    for viewer in (desk.second, desk.third):
        await _agree(ask, viewer, order_id)
    found = (await _disclose(ask, desk.third, order_id))["data"]["discloseUnderOrder"]["document"]["customer"]
    assert len({node["number"] for node in found["orders"]["nodes"]}) == 121
    assert set(found["orders"]) == set(found["inquiries"]) == {"nodes"}


async def test_who_was_erased_before_they_could_be_told_is_not_said_to_have_been(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    order_id = await _order(desk, ask, ada)
    for viewer in (desk.second, desk.third):
        await _agree(ask, viewer, order_id)
    assert not _codes(await _disclose(ask, desk.third, order_id))
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        mine = legal_order.c.customer_id == ada.customer_id
        await tx.execute(update(legal_order).where(mine).values(customer_id=None))
        await orders.tell_due(tx, limit=100)
        said = select(audit_event.c.code).where(
            audit_event.c.action == "legal_order.told", audit_event.c.subject_ref == ada.audit_ref
        )
        assert [row.code for row in await tx.all(said)] == ["NO_ADDRESS"]


async def test_a_silent_order_is_told_when_its_silence_is_over(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    order_id = await _order(desk, ask, ada, silentUntil=later)
    for viewer in (desk.second, desk.third):
        await _agree(ask, viewer, order_id)
    assert not _codes(await _disclose(ask, desk.third, order_id))
    asked = (
        "{ viewer { customer { disclosures { totalCount nodes { recipient } } auditEvents { nodes { action } } } } }"
    )

    async def seen() -> tuple[int, bool]:
        mine = (await ask(ada.viewer(), asked))["data"]["viewer"]["customer"]
        actions = [node["action"] for node in mine["auditEvents"]["nodes"]]
        return mine["disclosures"]["totalCount"], any(action.startswith("legal_order") for action in actions)

    async def told() -> list[str]:
        async with desk.platform.db.transaction(Role.WORKER) as tx:
            await orders.tell_due(tx, limit=100)
            letters = select(message.c.template).where(message.c.customer_id == ada.customer_id)
            return [row.template for row in await tx.all(letters)]

    assert (await seen(), await told()) == ((0, False), [])
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        mine = legal_order.c.customer_id == ada.customer_id
        await tx.execute(update(legal_order).where(mine).values(silent_until=func.now()))
        hidden = disclosure.c.customer_id == ada.customer_id
        await tx.execute(update(disclosure).where(hidden).values(hidden_until=func.now()))
    assert await told() == ["legal_disclosure"]
    assert await told() == ["legal_disclosure"], "once"
    assert await seen() == (1, True)


@pytest.mark.parametrize(
    "changes",
    [{"fields": []}, {"fields": ["Account.passwordHash"]}, {"silentUntil": "2026-01-01T00:00:00Z"}],
    ids=["no field", "a secret", "a silence that is over"],
)
async def test_an_incomplete_order_is_refused(desk: Desk, ask: Ask, changes: dict[str, object]) -> None:
    ada = await make_person(desk.platform.db)
    assert _codes(await _propose(desk, ask, ada, **changes)) == ["ORDER_INCOMPLETE"]


async def test_agents_and_customers_pass_no_gate(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    order_id = await _order(desk, ask, ada)
    agent = await colleague(desk.platform, "agent")
    for viewer, code in ((agent, "PARTNER_ROLE_NEEDED"), (ada.viewer(), "INSUFFICIENT_SCOPE")):
        assert _codes(await _agree(ask, viewer, order_id)) == [code]
        assert _codes(await _disclose(ask, viewer, order_id)) == [code]
    refused = await ask(
        desk.second,
        _mutation("refuseLegalOrder", "order { status reason }"),
        input={"orderId": order_id, "reason": "Not signed by a judge."},
    )
    assert refused["data"]["refuseLegalOrder"]["order"]["status"] == "REFUSED"
    assert _codes(await _agree(ask, desk.third, order_id)) == ["ORDER_NOT_OPEN"]
