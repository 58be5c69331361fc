"""Mutations of agents: every one is run, refused to customers, and refused without the scope."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.clock import utc_now
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.tables.staff import staff
from tests.population import Person, audited, make_person, picture
from tests.schema.conftest import Ask

DOCUMENT = {"name": "call.txt", "mediaType": "text/plain", "content": base64.b64encode(b"said yes").decode()}
EVIDENCE = {"kind": "IDENTITY", "note": "Called back on the known number.", "file": DOCUMENT}
# Each mutation with its input beside the request, and the state it leaves the request in.
CASEWORK: dict[str, tuple[dict[str, Any], str]] = {
    "openRequestFor": ({"type": "ACCESS", "reason": "By phone.", "evidence": EVIDENCE}, "RECEIVED"),
    "addEvidence": ({"evidence": {"kind": "STATEMENT", "note": "Sent a letter."}}, "RECEIVED"),
    "assignRequest": ({"staffId": None}, "RECEIVED"),
    "extendRequest": ({"reason": "Many systems."}, "RECEIVED"),
    "pauseRequest": ({"reason": "We wait for your answer."}, "PAUSED"),
    "resumeRequest": ({}, "RECEIVED"),
    "approveRequest": ({}, "COLLECTING"),
    "refuseRequest": ({"reason": "We can not tell who asks."}, "REFUSED"),
    "retryRequest": ({}, ""),
    "giveUpRequest": ({"reason": "The system is gone."}, ""),
    "liftRestriction": ({"reason": "The dispute is over."}, ""),
}


def document(name: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"mutation M($input: {kind}Input!) {{ {name}(input: $input) {{ request {{ id status isOverdue }} }} }}"


async def hire(db: Database, *roles: str) -> Viewer:
    staff_id = new_id()
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(staff).values(id=staff_id, username=f"{staff_id}@x", name="Bo", roles=list(roles)))
    who = {"staff_id": staff_id, "roles": frozenset(roles), "scopes": STAFF_SCOPES, "authenticated_at": utc_now()}
    return Viewer(Actor.STAFF, purpose="customer_service", **who)


@pytest.fixture
async def agent(db: Database) -> Viewer:
    return await hire(db, "agent")


@pytest.fixture
async def officer(db: Database) -> Viewer:
    return await hire(db, "privacy_officer")


async def opened_for(ask: Ask, agent: Viewer, person: Person) -> str:
    given = {"customerId": global_id("Customer", person.customer_id), **CASEWORK["openRequestFor"][0]}
    answer = await ask(agent, document("openRequestFor"), input=given)
    assert "errors" not in answer, answer
    return answer["data"]["openRequestFor"]["request"]["id"]


async def test_a_case_from_the_call_to_the_decision(db: Database, ask: Ask, agent: Viewer, officer: Viewer) -> None:
    person, bystander = await make_person(db), await make_person(db)
    before = await picture(db, bystander)
    request_id = await opened_for(ask, agent, person)
    for name in ("addEvidence", "assignRequest", "extendRequest", "pauseRequest", "resumeRequest", "approveRequest"):
        given, status = CASEWORK[name]
        answer = await ask(officer, document(name), input={"requestId": request_id, **given})
        assert "errors" not in answer, answer
        assert answer["data"][name]["request"]["status"] == status, name
    answer = await ask(
        officer,
        "query($id: ID!) { privacyRequest(id: $id) { joined openedById extendedAt evidence { kind note fileName } } }",
        id=request_id,
    )
    found = answer["data"]["privacyRequest"]
    assert (found["openedById"], [one["kind"] for one in found["evidence"]]) == (
        str(agent.staff_id),
        ["IDENTITY", "STATEMENT"],
    )
    assert {"evidence.recorded", "request.extended", "request.paused"} <= set(await audited(db, person))
    assert await picture(db, bystander) == before


async def test_a_refusal_is_readable_by_its_person(db: Database, ask: Ask, agent: Viewer, officer: Viewer) -> None:
    person = await make_person(db)
    request_id = await opened_for(ask, agent, person)
    given = {"requestId": request_id, **CASEWORK["refuseRequest"][0]}
    answer = await ask(officer, document("refuseRequest"), input=given)
    assert answer["data"]["refuseRequest"]["request"]["status"] == "REFUSED"
    own = await ask(
        person.viewer(), "query($id: ID!) { node(id: $id) { ... on PrivacyRequest { refusalReason } } }", id=request_id
    )
    assert own["data"]["node"]["refusalReason"] == given["reason"]


async def test_only_what_needs_attention_is_retried(db: Database, ask: Ask, agent: Viewer) -> None:
    request_id = await opened_for(ask, agent, await make_person(db))
    answer = await ask(agent, document("retryRequest"), input={"requestId": request_id})
    assert answer["errors"][0]["extensions"]["code"] == "NOTHING_TO_RETRY"


@pytest.mark.parametrize("name", CASEWORK)
async def test_who_may_not(db: Database, ask: Ask, agent: Viewer, name: str) -> None:
    person = await make_person(db)
    request_id = await opened_for(ask, agent, person)
    given = dict(CASEWORK[name][0])
    key, value = (
        ("customerId", global_id("Customer", person.customer_id))
        if name == "openRequestFor"
        else ("requestId", request_id)
    )
    before = await picture(db, person)
    for viewer in (replace(agent, scopes=frozenset({"openid"})), person.viewer(), Viewer(Actor.ANONYMOUS)):
        answer = await ask(viewer, document(name), input={key: value, **given})
        assert answer["errors"][0]["extensions"]["code"] == "INSUFFICIENT_SCOPE", viewer
        assert answer["data"] == {name: None}
    after = await picture(db, person)
    after.pop("audit_event"), before.pop("audit_event")
    assert after == before


async def test_an_agent_does_not_decide(db: Database, ask: Ask, agent: Viewer) -> None:
    request_id = await opened_for(ask, agent, await make_person(db))
    for name, given in (("approveRequest", {}), ("refuseRequest", {"reason": "x"})):
        answer = await ask(agent, document(name), input={"requestId": request_id, **given})
        assert answer["errors"][0]["extensions"]["code"] == "DECIDER_NEEDED"
