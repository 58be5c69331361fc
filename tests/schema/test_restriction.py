"""A customer who restricted processing: agents see the request and nothing else, unless it is theirs to work on."""

from sqlalchemy import update

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.tables.request import privacy_request
from tests.population import Person, make_person
from tests.schema.conftest import Ask
from tests.schema.test_casework import agent, hire
from tests.schema.test_mutations import document, fresh

__all__ = ["agent"]

LOOK = """query($id: ID!, $name: String!) {
  customer(id: $id) { familyName orders(first: 1) { nodes { number } } }
  customers(filter: {name: {contains: $name}}) { totalCount }
}"""


async def look(ask: Ask, viewer: Viewer, person: Person, name: str) -> tuple[object, int]:
    answer = await ask(viewer, LOOK, id=global_id("Customer", person.customer_id), name=name)
    return answer["data"]["customer"], answer["data"]["customers"]["totalCount"]


async def family_name(ask: Ask, person: Person) -> str:
    answer = await ask(person.viewer(), "{ viewer { customer { familyName } } }")
    return answer["data"]["viewer"]["customer"]["familyName"]


async def test_agents_see_a_restricted_customer_only_for_their_case(db: Database, ask: Ask, agent: Viewer) -> None:
    ada, bystander = await make_person(db), await make_person(db)
    name, other = await family_name(ask, ada), await family_name(ask, bystander)
    assert (await look(ask, agent, ada, name))[1] == 1
    answer = await ask(fresh(ada), document("restrictProcessing", "request { id }"), input={})
    request_id = answer["data"]["restrictProcessing"]["request"]["id"]

    assert await look(ask, agent, ada, name) == (None, 0)
    assert (await look(ask, agent, bystander, other))[1] == 1
    case = "query($id: ID!) { privacyRequest(id: $id) { reference customer { familyName } } }"
    found = (await ask(agent, case, id=request_id))["data"]["privacyRequest"]
    assert (bool(found["reference"]), found["customer"]) == (True, None)
    assert await family_name(ask, ada) == name

    async with db.transaction(Role.WORKER) as tx:
        mine = privacy_request.c.customer_id == ada.customer_id
        await tx.execute(update(privacy_request).where(mine).values(assignee_id=agent.staff_id))
    seen, count = await look(ask, agent, ada, name)
    assert (seen["familyName"], count) == (name, 1)  # type: ignore[index]
    assert await look(ask, await hire(db, "agent"), ada, name) == (None, 0)
    await ask(fresh(ada), document("cancelRequest", "request { status }"), input={"id": request_id})
    assert (await look(ask, await hire(db, "agent"), ada, name))[1] == 1
