"""Deals over GraphQL: the same steps by mutation, what customers read of them, and who is denied."""

import json
from typing import Any

import pytest

from cdp.access.viewer import Viewer
from cdp.core.ids import global_id
from cdp.operations.requests.watch import RequestWatch
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest
from tests.population import Person
from tests.transfers.office import TERMS, Office

STEP = "mutation M($input: {kind}!) {{ {name}(input: $input) {{ transfer {{ id reference status {more} }} }} }}"
MINE = """{ viewer { customer { transfers {
  transfer { id reference status seller acquirerName brand { code } } cohort { name basis fields }
  notice deadline objectedAt objectionChannel transferredAt } } } }"""


class Api:
    """The execution over an office's platform."""

    def __init__(self, office: Office) -> None:
        self.office = office
        place = office.engine.place
        self._execution = Execution(place.platform, place.reader, RequestWatch(place.platform))

    async def ask(self, viewer: Viewer, document: str, **variables: Any) -> dict[str, Any]:
        result = await self._execution.execute(GraphQLRequest(document, variables), viewer)
        answer: dict[str, Any] = json.loads(result.body)
        return answer

    async def do(self, viewer: Viewer, name: str, **given: Any) -> dict[str, Any]:
        """Run a mutation; answers the transfer, or raises its error code as a KeyError."""
        document = STEP.format(
            kind=f"{name[0].upper()}{name[1:]}Input", name=name, more="frozenSha256" if viewer.staff_id else ""
        )
        answer = await self.ask(viewer, document, input=given)
        if answer.get("errors"):
            raise KeyError(answer["errors"][0]["extensions"]["code"])
        found: dict[str, Any] = answer["data"][name]["transfer"]
        return found

    async def mine(self, person: Person) -> list[dict[str, Any]]:
        answer = await self.ask(self.office.engine.viewer(person), MINE)
        assert "errors" not in answer, answer
        found: list[dict[str, Any]] = answer["data"]["viewer"]["customer"]["transfers"]
        return found


@pytest.fixture
def api(office: Office) -> Api:
    return Api(office)


async def test_a_deal_step_by_step(office: Office, api: Api) -> None:
    brand_id = await office.brand("stepwise")
    person, objector = await office.person(brand_id), await office.person(brand_id)
    stranger = await office.person(await office.brand("stepwise-other"))
    made = await api.do(office.maker, "createTransfer", terms={**TERMS, "brand": "stepwise"})
    deal = {"transferId": made["id"]}
    asked = (
        "query Q($id: ID!) { transfer(id: $id) { keyFingerprint counts cohorts { name rule } approvals { sha256 } } }"
    )
    shown = (await api.ask(office.maker, asked, id=made["id"]))["data"]["transfer"]
    assert shown["cohorts"] == [{"name": "all", "rule": "EVERYBODY"}]

    assert (await api.do(office.maker, "classifyTransfer", **deal))["status"] == "CLASSIFIED"
    assert await api.mine(person) == [], "nobody is told of a plan"
    await api.do(office.first, "confirmTransferKey", **deal, fingerprint=shown["keyFingerprint"])
    await api.do(office.maker, "notifyTransfer", **deal)
    await office.engine.work()
    told = (await api.mine(person))[0]
    assert told["transfer"] == {
        "id": made["id"],
        "reference": made["reference"],
        "status": "WINDOW",
        "seller": "Shop Ltd",
        "acquirerName": "Acme GmbH",
        "brand": {"code": "stepwise"},
    }
    assert told["cohort"] == {"name": "all", "basis": "OPT_OUT", "fields": ["contacts.emails.address", "givenName"]}
    assert told["notice"] == "DELIVERED"
    viewer = office.engine.viewer(objector)
    assert (await api.do(viewer, "objectToTransfer", reference=made["reference"]))["reference"] == made["reference"]
    whom = global_id("Customer", objector.customer_id)
    await api.do(office.agent, "recordTransferObjection", **deal, customerId=whom)
    assert [one["objectionChannel"] for one in await api.mine(objector)] == ["ACCOUNT_PAGE"]
    assert await api.mine(stranger) == []
    frozen = await api.do(office.maker, "freezeTransfer", **deal)
    for viewer in (office.first, office.second):
        approved = await api.do(viewer, "approveTransfer", **deal, sha256=frozen["frozenSha256"])
    assert approved["status"] == "APPROVED"
    shown = (await api.ask(office.agent, asked, id=made["id"]))["data"]["transfer"]
    assert shown["counts"] == {"selected": 2, "included": {"all": 1}, "excluded": {"objected": 1}}
    assert len(shown["approvals"]) == 2
    await api.do(office.maker, "thawTransfer", **deal)
    assert (await api.do(office.maker, "cancelTransfer", **deal, reason="No deal."))["status"] == "CANCELLED"


async def test_customers_read_their_own_part_and_nothing_of_how_the_deal_is_made(office: Office, api: Api) -> None:
    person = await office.person(await office.brand("secret"))
    deal = await office.create(brand="secret")
    await office.told(deal)
    viewer = office.engine.viewer(person)
    for field in ("acquirerKey", "counts", "reviews", "frozenSha256", "createdById"):
        answer = await api.ask(viewer, f"{{ viewer {{ customer {{ transfers {{ transfer {{ {field} }} }} }} }} }}")
        assert answer["errors"][0]["extensions"]["code"], field
        assert answer["data"]["viewer"]["customer"]["transfers"][0]["transfer"][field] is None
    for document in (
        "{ transfers { nodes { id } } }",
        f'{{ transfer(id: "{global_id("Transfer", deal.id)}") {{ id }} }}',
    ):
        assert (await api.ask(viewer, document))["errors"]
    node = f'{{ node(id: "{global_id("Transfer", deal.id)}") {{ ... on Transfer {{ reference acquirerKey }} }} }}'
    assert (await api.ask(viewer, node))["data"]["node"] == {"reference": deal.reference, "acquirerKey": None}
    other = await office.person(await office.brand("secret-other"))
    assert (await api.ask(office.engine.viewer(other), node))["data"]["node"] is None


@pytest.mark.parametrize("name", ["classifyTransfer", "notifyTransfer", "freezeTransfer"])
async def test_an_agent_moves_no_deal_and_the_refusal_is_recorded(office: Office, api: Api, name: str) -> None:
    deal = await office.create()
    with pytest.raises(KeyError, match="TRANSFER_ROLE_NEEDED"):
        await api.do(office.agent, name, transferId=global_id("Transfer", deal.id))
    assert (await office.row(deal)).status == "draft"


async def test_the_customers_own_package_says_who_got_what_and_why(office: Office) -> None:
    person = await office.person(await office.brand("packed"))
    deal = await office.create(brand="packed")
    await office.told(deal)
    opened = await office.engine.open_export(person)
    await office.engine.work()
    package = await office.engine.package(person, opened.reference)
    name = next(one for one in package.namelist() if one.endswith("data/transfers.json"))
    (found,) = json.loads(package.read(name))
    assert found["transfer"]["reference"] == deal.reference
    assert found["transfer"]["acquirerName"] == "Acme GmbH"
    assert found["cohort"]["basis"] == "OPT_OUT"
    assert "reason" not in found
