"""A partner reads what its grant names, of whom it covers and who agrees; each of them sees that it did."""


from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.tables.partner import disclosure
from tests.partners.conftest import Desk
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

PROFILE = "query($id: ID!) { customer(id: $id) { id givenName familyName country contacts { emails { address } } } }"
LIST = "query($id: ID!) { customers(first: 50, filter: {EMAIL}) { nodes { id givenName } } }"


async def _disclosed(platform: Platform, person: Person) -> list[object]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(disclosure).where(disclosure.c.customer_id == person.customer_id)
        return list(await tx.all(mine.order_by(disclosure.c.id)))


async def test_it_reads_what_was_granted_and_the_customer_sees_it(desk: Desk, ask: Ask) -> None:
    platform = desk.platform
    ada, bystander = await make_person(platform.db), await make_person(platform.db)
    before = await picture(platform.db, bystander)
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    told = await party.ask(token, PROFILE, id=global_id("Customer", ada.customer_id))
    found = told["data"]["customer"]
    assert (found["givenName"], found["contacts"]["emails"]) == ("Ada", [{"address": ada.email}])
    assert found["country"] is None
    assert [(one["path"], one["extensions"]["code"]) for one in told["errors"]] == [
        (["customer", "country"], "OUTSIDE_GRANT")
    ]
    assert "withheld" not in told.get("extensions", {})
    shown = await ask(
        ada.viewer(),
        "{ viewer { customer { disclosures { nodes { recipient purpose legalBasis fields disclosedAt } } } } }",
    )
    (one,) = shown["data"]["viewer"]["customer"]["disclosures"]["nodes"]
    assert (one["recipient"], one["purpose"], one["legalBasis"]) == (party.name, "orders", "contract")
    assert one["fields"] == ["Customer.familyName", "Customer.givenName", "Customer.id", "EmailAddress.address"]
    assert await picture(platform.db, bystander) == before
    own = await party.ask(token, "{ disclosures { nodes { customerId purpose fields } } }")
    assert [node["customerId"] for node in own["data"]["disclosures"]["nodes"]] == [found["id"]]
    other = await desk.partner()
    nothing = await other.ask(await other.token(await desk.grant(other)), "{ disclosures { nodes { id } } }")
    assert nothing["data"]["disclosures"]["nodes"] == []
