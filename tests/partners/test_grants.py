"""A grant: proposed by one, agreed to by two others, never beyond its function, and never changed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cdp.access.sharing import SHAREABLE, reaching
from cdp.access.viewer import Viewer
from cdp.core.ids import global_id
from cdp.operations.partners.grants import BasisMismatch, FieldBeyondFunction, GrantIncomplete
from cdp.operations.partners.partners import PartnerCodeInvalid, PartnerExists
from cdp.tables.partner import GRANT_TRANSITIONS, GrantStatus, PartnerFunction
from cdp.tables.policy import LegalBasis
from tests.oauth.test_authorization_details import GRAPH
from tests.partners.conftest import Desk, colleague
from tests.schema.conftest import Ask

AGREE = "mutation($input: ApprovePartnerGrantInput!) { approvePartnerGrant(input: $input) { grant { status } } }"
REFUSE = "mutation($input: RefusePartnerGrantInput!) { refusePartnerGrant(input: $input) { grant { status } } }"
ADD = "mutation($input: AddPartnerInput!) { addPartner(input: $input) { partner { id code grants { id } } } }"


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


def test_what_can_be_granted_is_there_and_can_be_reached() -> None:
    for fields in SHAREABLE.values():
        for one in reaching(fields):
            type_name, _, name = one.partition(".")
            assert name in GRAPH.types[type_name].fields, one


def test_a_new_field_is_granted_to_nobody() -> None:
    """A grant names fields; whatever is not named, also what comes later, is denied."""
    assert reaching({"Customer.givenName"}) == {
        "Customer.givenName",
        "Customer.id",
        "Query.customer",
        "Query.customers",
    }
    assert reaching(()) == frozenset()


def test_what_is_over_never_comes_back() -> None:
    over = {status for status, following in GRANT_TRANSITIONS.items() if not following}
    assert over == {GrantStatus.REFUSED, GrantStatus.REVOKED, GrantStatus.EXPIRED}


async def test_three_people_and_each_only_once(desk: Desk, ask: Ask) -> None:
    party = await desk.partner()
    grant = {"grantId": global_id("PartnerGrant", await desk.propose(party))}

    async def agree(viewer: Viewer) -> list[str]:
        told = await ask(viewer, AGREE, input=grant)
        return _codes(told) or [told["data"]["approvePartnerGrant"]["grant"]["status"]]

    stale = replace(desk.second, authenticated_at=desk.platform.clock() - timedelta(hours=1))
    assert await agree(desk.proposer) == ["ANOTHER_PERSON_NEEDED"]
    assert await agree(stale) == ["STEP_UP_REQUIRED"]
    assert await agree(await colleague(desk.platform, "agent")) == ["PARTNER_ROLE_NEEDED"]
    assert await agree(desk.second) == ["ENDORSED"]
    assert await agree(desk.second) == ["ANOTHER_PERSON_NEEDED"]
    assert await agree(desk.proposer) == ["ANOTHER_PERSON_NEEDED"]
    assert await agree(desk.third) == ["ACTIVE"]
    assert await agree(await colleague(desk.platform, "supervisor")) == ["GRANT_NOT_OPEN"]


async def test_a_refused_grant_gives_nothing(desk: Desk, ask: Ask) -> None:
    party = await desk.partner()
    grant_id = await desk.propose(party)
    refused = await ask(
        desk.second, REFUSE, input={"grantId": global_id("PartnerGrant", grant_id), "reason": "Too much."}
    )
    assert refused["data"]["refusePartnerGrant"]["grant"]["status"] == "REFUSED"
    assert (await party.ask_token(grant_id)).status_code == 400


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "beyond its function": ({"fields": frozenset({"Order.number"})}, FieldBeyondFunction),
    "a secret": ({"fields": frozenset({"Account.username"})}, FieldBeyondFunction),
    "no field": ({"fields": frozenset()}, GrantIncomplete),
    "no purpose": ({"purposes": frozenset()}, GrantIncomplete),
    "an unknown purpose": ({"purposes": frozenset({"espionage"})}, GrantIncomplete),
    "no contract": ({"contract_reference": " "}, GrantIncomplete),
    "no end to keeping": ({"retention_days": 0}, GrantIncomplete),
    "an unknown brand": ({"brands": frozenset({"nobody"})}, GrantIncomplete),
    "consent by contract": (
        {"function": PartnerFunction.PROMOTIONS, "purposes": frozenset({"promotions"})},
        BasisMismatch,
    ),
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
async def test_a_grant_that_says_too_much_or_too_little_is_refused(
    desk: Desk, changes: tuple[dict[str, Any], type[Exception]]
) -> None:
    party = await desk.partner()
    with pytest.raises(changes[1]):
        await desk.propose(party, **changes[0])


async def test_validity_lies_ahead(desk: Desk) -> None:
    party, now = await desk.partner(), desk.platform.clock()
    for start, end in ((now, now), (now - timedelta(days=2), now - timedelta(days=1)), (now + timedelta(days=2), now)):
        with pytest.raises(GrantIncomplete):
            await desk.propose(party, valid_from=start, valid_until=end, legal_basis=LegalBasis.CONTRACT)


async def test_partners_are_added_once_and_seen_by_who_looks_after_them(desk: Desk, ask: Ask) -> None:
    party = await desk.partner()
    code = party.name.removeprefix("Partner ")
    wanted = {"code": code, "name": "Again", "contact": "a@b.example"}
    assert _codes(await ask(desk.second, ADD, input=wanted)) == [PartnerExists.code]
    assert _codes(await ask(desk.second, ADD, input={**wanted, "code": "No!"})) == [PartnerCodeInvalid.code]
    listed = "{ partners { code grants { status } recalls { status } } }"
    assert code in {one["code"] for one in (await ask(desk.third, listed))["data"]["partners"]}
    agent = await ask(await colleague(desk.platform, "agent"), listed)
    assert (agent["data"]["partners"], _codes(agent)) == (None, ["FORBIDDEN"])
