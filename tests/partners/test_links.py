"""A customer lets somebody read parts of their profile: by a link that is hashed, for one purpose, and expires."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cdp.core.db import Role
from cdp.operations.partners import links
from cdp.operations.partners.links import LinkGone
from cdp.tables.partner import disclosure
from cdp.tables.sharing import shared_link
from tests.partners.conftest import Desk
from tests.population import Person, audited, make_person, picture
from tests.schema.conftest import Ask

SHARE = "mutation($input: ShareProfileInput!) { shareProfile(input: $input) { url link { id areas isLive useCount } } }"
REVOKE = "mutation($input: RevokeSharedLinkInput!) { revokeSharedLink(input: $input) { link { isLive } } }"
WANTED = {"recipient": "My tax adviser", "purpose": "Taxes of 2025", "areas": ["orders"], "hours": 2}


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def _share(ask: Ask, person: Person, **changes: object) -> dict[str, Any]:
    return await ask(person.viewer(authenticated_at=datetime.now(UTC)), SHARE, input={**WANTED, **changes})


async def _token(ask: Ask, person: Person) -> tuple[str, str]:
    made = (await _share(ask, person))["data"]["shareProfile"]
    return made["link"]["id"], made["url"].rpartition("/share/")[2]


async def _open(desk: Desk, token: str) -> links.Opened:
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        return await links.open_link(tx, token)


async def test_a_link_shows_its_areas_and_every_opening_is_a_disclosure(desk: Desk, ask: Ask) -> None:
    ada, bystander = await make_person(desk.platform.db), await make_person(desk.platform.db)
    before = await picture(desk.platform.db, bystander)
    _, token = await _token(ask, ada)
    assert token not in str(await picture(desk.platform.db, ada)), "only the hash is kept"
    opened = await _open(desk, token)
    assert (opened.recipient, opened.purpose) == ("My tax adviser", "Taxes of 2025")
    query = "{ viewer { customer { displayName orders { nodes { number } } contacts { emails { address } } } } }"
    told = await ask(opened.viewer, query)
    assert told["data"]["viewer"]["customer"]["orders"]["nodes"]
    assert told["data"]["viewer"]["customer"]["contacts"] is None
    assert _codes(told) == ["OUTSIDE_AUTHORIZATION"]
    shown = await ask(ada.viewer(), "{ viewer { customer { disclosures { nodes { recipient purpose fields } } } } }")
    (one,) = shown["data"]["viewer"]["customer"]["disclosures"]["nodes"]
    assert one == {
        "recipient": "My tax adviser",
        "purpose": "Taxes of 2025",
        "fields": ["Customer.displayName", "Customer.orders"],
    }
    assert {"shared_link.made", "shared_link.opened"} <= set(await audited(desk.platform.db, ada))
    assert await picture(desk.platform.db, bystander) == before


async def test_what_a_link_lends_can_change_nothing(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    opened = await _open(desk, (await _token(ask, ada))[1])
    for name, given in (
        ("updateAccount", {"givenName": "Eve"}),
        ("requestExport", {}),
        ("shareProfile", WANTED),
    ):
        kind = name[0].upper() + name[1:]
        told = await ask(
            opened.viewer,
            f"mutation($input: {kind}Input!) {{ {name}(input: $input) {{ clientMutationId }} }}",
            input=given,
        )
        assert _codes(told) == ["INSUFFICIENT_SCOPE"]


async def test_a_link_that_is_over_opens_nothing(desk: Desk, ask: Ask) -> None:
    ada, other = await make_person(desk.platform.db), await make_person(desk.platform.db)
    link_id, token = await _token(ask, ada)
    foreign = await ask(other.viewer(), REVOKE, input={"linkId": link_id})
    assert _codes(foreign) == ["NOT_FOUND"]
    told = await ask(ada.viewer(), REVOKE, input={"linkId": link_id})
    assert told["data"]["revokeSharedLink"]["link"]["isLive"] is False
    assert "shared_link.revoked" in await audited(desk.platform.db, ada)
    _, expired = await _token(ask, ada)
    _, worn = await _token(ask, ada)
    mine = shared_link.c.customer_id == ada.customer_id
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        hashed = shared_link.c.token_hash == links.digest(expired)
        await tx.execute(update(shared_link).where(mine, hashed).values(expires_at=func.now()))
        hashed = shared_link.c.token_hash == links.digest(worn)
        await tx.execute(update(shared_link).where(mine, hashed).values(use_count=links.MOST_USES))
    for gone in (token, expired, worn, "x" * 43, ""):
        with pytest.raises(LinkGone):
            await _open(desk, gone)
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        assert not await tx.all(select(disclosure.c.id).where(disclosure.c.customer_id == ada.customer_id))


@pytest.mark.parametrize(
    "changes",
    [{"areas": []}, {"areas": ["signing_in"]}, {"areas": ["medical"]}, {"hours": 0}, {"hours": 721}],
    ids=["no area", "how to get in", "unknown", "no time", "too long"],
)
async def test_what_can_not_be_shared_is_refused(desk: Desk, ask: Ask, changes: dict[str, object]) -> None:
    ada = await make_person(desk.platform.db)
    assert _codes(await _share(ask, ada, **changes)) == ["LINK_INVALID"]


async def test_staff_who_act_for_a_customer_share_nothing(desk: Desk, ask: Ask) -> None:
    ada = await make_person(desk.platform.db)
    told = await ask(desk.second, SHARE, input=WANTED)
    assert _codes(told) == ["INSUFFICIENT_SCOPE"]
    assert (await ask(ada.viewer("profile:read"), SHARE, input=WANTED))["data"] == {"shareProfile": None}
