"""Offers go to who agreed, and only counts come back; recalls go to partners, and wait for their answer."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, global_id, new_id, parse_global_id
from cdp.core.platform import Platform
from cdp.operations import suppression
from cdp.operations.partners import grants, offers, recalls
from cdp.tables.audit import audit_event
from cdp.tables.certificate import suppression as suppressions
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.message import message
from cdp.tables.partner import GrantAction, PartnerFunction
from cdp.tables.policy import LegalBasis
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from cdp.tables.sharing import partner_offer, partner_recall
from tests.partners.conftest import Desk, Party
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

OFFER = "mutation($input: ProposePartnerOfferInput!) { proposePartnerOffer(input: $input) { offerId } }"
APPROVE = "mutation($input: ApprovePartnerOfferInput!) { approvePartnerOffer(input: $input) { offer { status } } }"
ANSWER = "mutation($input: AcknowledgeRecallInput!) { acknowledgeRecall(input: $input) { acknowledged } }"
TEXT = {"subject": "Ten percent off", "body": "Come and see us."}


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def _offering(desk: Desk, party: Party, country: str) -> str:
    grant_id = await desk.grant(
        party,
        function=PartnerFunction.PROMOTIONS,
        purposes=frozenset({"promotions"}),
        fields=frozenset(),
        actions=frozenset({GrantAction.OFFER}),
        legal_basis=LegalBasis.CONSENT,
        countries=frozenset({country}),
    )
    return await party.token(grant_id, "promotions")


async def _send(desk: Desk) -> None:
    while True:
        async with desk.platform.db.transaction(Role.WORKER) as tx:
            if not await offers.send_due(tx, desk.platform):
                return


async def _received(platform: Platform, person: Person) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(message.c.subject).where(message.c.customer_id == person.customer_id)
        return [row.subject for row in await tx.all(mine.where(message.c.template == offers.TEMPLATE))]


async def _decide(platform: Platform, person: Person, channel: Channel, action: ConsentAction) -> None:
    values = {"purpose": "promotions", "channel": channel, "action": action, "wording": "As you like."}
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(consent).values(**person.origin, **values))


async def test_an_offer_reaches_who_agreed_and_the_partner_learns_how_many(desk: Desk, ask: Ask) -> None:
    platform = desk.platform
    agreeing, unwilling, suppressed = [await make_person(platform.db, country="VA") for _ in range(3)]
    elsewhere = await make_person(platform.db, country="SM")
    before = await picture(platform.db, elsewhere)
    await _decide(platform, unwilling, Channel.EMAIL, ConsentAction.WITHDRAWN)
    await _decide(platform, unwilling, Channel.PHONE, ConsentAction.GIVEN)
    known = platform.pepper.hash(suppression.kind_of("email"), suppressed.email)
    request_id = new_id()
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                reference=f"AR-{suppressed.audit_ref.hex[-8:]}",
                customer_id=suppressed.customer_id,
                subject_ref=suppressed.audit_ref,
                type=RequestType.ACCESS,
                status=RequestStatus.COMPLETED,
                channel="account_page",
                due_at=platform.clock(),
            )
        )
        line = {
            "identity_type": "email",
            "value_hash": known.value,
            "key_version": known.key_version,
            "request_id": request_id,
        }
        await tx.execute(insert(suppressions).values(**line))
    party = await desk.partner()
    token = await _offering(desk, party, "VA")
    offer_id = (await party.ask(token, OFFER, input=TEXT))["data"]["proposePartnerOffer"]["offerId"]
    await _send(desk)
    assert await _received(platform, agreeing) == [], "nobody here has read it yet"
    assert not _codes(await ask(desk.second, APPROVE, input={"offerId": offer_id}))
    assert _codes(await ask(desk.second, APPROVE, input={"offerId": offer_id})) == ["OFFER_NOT_OPEN"]
    await _send(desk)
    await _send(desk)
    assert [await _received(platform, one) for one in (agreeing, unwilling, suppressed)] == [[TEXT["subject"]], [], []]
    assert await picture(platform.db, elsewhere) == before
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(partner_offer).where(partner_offer.c.id == parse_global_id(offer_id)[1])
        row = await tx.first(mine)
    assert row is not None
    assert (row.status, row.sent_count, row.withheld_count) == ("sent", 1, 2)
    nobody = await party.ask(token, "{ customers { nodes { id } } }")
    assert nobody["data"]["customers"] is None


async def test_an_offer_whose_grant_has_ended_is_not_called_sent(desk: Desk, ask: Ask) -> None:
    agreeing = await make_person(desk.platform.db, country="TV")
    party = await desk.partner()
    token = await _offering(desk, party, "TV")
    offer_id = (await party.ask(token, OFFER, input=TEXT))["data"]["proposePartnerOffer"]["offerId"]
    assert not _codes(await ask(desk.second, APPROVE, input={"offerId": offer_id}))
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        mine = partner_offer.c.id == parse_global_id(offer_id)[1]
        grant_id = await tx.scalar(select(partner_offer.c.grant_id).where(mine))
    await desk.revoke(grant_id)
    await _send(desk)
    await _send(desk)
    assert await _received(desk.platform, agreeing) == []
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(partner_offer).where(mine))
        said = select(audit_event.c.action).where(audit_event.c.object_id == parse_global_id(offer_id)[1])
        actions = [one.action for one in await tx.all(said)]
    assert row is not None
    assert (row.status, row.sent_count, row.withheld_count) == ("stopped", 0, 0)
    assert ("partner_offer.stopped" in actions, "partner_offer.sent" in actions) == (True, False)


async def test_only_a_grant_that_says_so_lets_a_partner_offer(desk: Desk, ask: Ask) -> None:
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    assert _codes(await party.ask(token, OFFER, input=TEXT)) == ["OFFER_NOT_COVERED"]
    assert _codes(await ask(desk.second, OFFER, input=TEXT)) == ["INSUFFICIENT_SCOPE"]


async def _recalls(platform: Platform, party: Party) -> list[Any]:
    async with platform.db.transaction(Role.WORKER) as tx:
        theirs = select(partner_recall).where(partner_recall.c.partner_id == party.id)
        return list(await tx.all(theirs.order_by(partner_recall.c.id)))


async def _letters(platform: Platform, party: Party) -> list[str]:
    contact = f"{party.name.removeprefix('Partner ')}@partner.example"
    async with platform.db.transaction(Role.WORKER) as tx:
        found = select(message.c.body).where(message.c.recipient == contact)
        return [row.body for row in await tx.all(found)]


async def test_a_revoked_grant_is_recalled_and_answered_by_the_partner_alone(desk: Desk) -> None:
    party, other = await desk.partner(), await desk.partner()
    grant_id = await desk.grant(party)
    await desk.revoke(grant_id)
    (recall,) = await _recalls(desk.platform, party)
    assert (recall.grant_id, recall.reason, recall.status) == (grant_id, "grant_ended", "open")
    assert recall.due_at > desk.platform.clock() + timedelta(days=13)
    (letter,) = await _letters(desk.platform, party)
    named = global_id("PartnerRecall", recall.id)
    assert named in letter
    answer = {"recallId": named, "note": "Destroyed."}
    assert _codes(await other.ask(await other.token(None), ANSWER, input=answer)) == ["NOT_FOUND"]
    told = await party.ask(await party.token(None), ANSWER, input=answer)
    assert told["data"]["acknowledgeRecall"] == {"acknowledged": True}
    assert _codes(await party.ask(await party.token(None), ANSWER, input=answer)) == ["RECALL_ANSWERED"]


async def test_an_erasure_recalls_what_partners_hold_of_the_person(desk: Desk) -> None:
    platform = desk.platform
    ada, bystander = await make_person(platform.db), await make_person(platform.db)
    party, unaware = await desk.partner(), await desk.partner()
    token = await party.token(await desk.grant(party))
    for one in (ada, bystander, ada):
        await party.ask(
            token, "query($id: ID!) { customer(id: $id) { givenName } }", id=global_id("Customer", one.customer_id)
        )
    for expected in (1, 0):
        async with platform.db.transaction(Role.WORKER) as tx:
            assert await recalls.of_people(tx, [CustomerId(ada.customer_id)], now=platform.clock()) == expected
    (recall,) = await _recalls(platform, party)
    assert (recall.subject_id, recall.reason) == (ada.customer_id, "erasure")
    assert await _recalls(platform, unaware) == []
    (letter,) = await _letters(platform, party)
    assert global_id("Customer", ada.customer_id) in letter
    assert ada.email not in letter
    async with platform.db.transaction(Role.WORKER) as tx:
        await recalls.acknowledge(tx, desk.second, platform, recall.id)
    (recall,) = await _recalls(platform, party)
    assert (recall.subject_id, recall.status) == (None, "acknowledged"), "what it was about goes with the answer"
    async with platform.db.transaction(Role.WORKER) as tx:
        with pytest.raises(NotFound):
            await recalls.acknowledge(tx, desk.second, platform, UUID(int=7))


async def test_what_is_over_expires_with_a_recall(desk: Desk) -> None:
    party = await desk.partner()
    now = desk.platform.clock()
    grant_id = await desk.grant(party, valid_until=now + timedelta(minutes=1))
    lasting = await desk.grant(party)
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        await grants.expire_due(tx, now=now + timedelta(minutes=2), limit=100)
    assert [row.grant_id for row in await _recalls(desk.platform, party)] == [grant_id]
    assert (await party.ask_token(grant_id)).status_code == 400
    assert (await party.ask_token(lasting)).status_code == 200
