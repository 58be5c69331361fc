"""Who goes and who does not: every reason, in its order, to the person; and again before the freeze."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Identifier
from cdp.core.db import Role
from cdp.core.ids import RequestId, new_id
from cdp.operations import suppression
from cdp.operations.transfers import notices, objections
from cdp.operations.transfers.deals import CohortTerms
from cdp.operations.transfers.freezing import NobodyGoes
from cdp.operations.transfers.objections import NotConcerned, TransferOver
from cdp.operations.transfers.states import TransferRoleNeeded
from cdp.tables.base import Category
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerStatus
from cdp.tables.hold import legal_hold
from cdp.tables.inquiry import inquiry
from cdp.tables.message import MessageStatus, message
from cdp.tables.order import OrderStatus, sales_order
from cdp.tables.policy import collection, policy_acceptance, policy_version
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from cdp.tables.transfer import (
    BouncePolicy,
    CohortBasis,
    CohortRule,
    ExclusionReason,
    TransferStatus,
    transfer_cohort,
    transfer_customer,
)
from tests.population import LONG_AGO, Person, picture
from tests.transfers.office import FIELDS, Office, set_customer

R, S = ExclusionReason, TransferStatus
# Nobody who is made here is collected under it.
FAR_AWAY = LONG_AGO + timedelta(days=36_500)
OPT_IN = CohortTerms("in", CohortBasis.OPT_IN, CohortRule.EVERYBODY, FIELDS, purpose="promotions")


async def _decline(office: Office, person: Person) -> None:
    async with office.tx() as tx:
        row = {**person.origin, "purpose": "promotions", "channel": Channel.EMAIL, "wording": "No."}
        await tx.execute(insert(consent).values(**row, action=ConsentAction.WITHDRAWN, recorded_at=func.now()))


async def _open_request(office: Office, person: Person, kind: RequestType) -> RequestId:
    request_id = new_id()
    async with office.tx() as tx:
        await tx.execute(
            insert(privacy_request).values(
                id=request_id,
                customer_id=person.customer_id,
                reference=f"T-{str(request_id)[-12:]}",
                type=kind,
                status=RequestStatus.COOLING_OFF,
                subject_ref=person.audit_ref,
                channel="tests",
                due_at=func.now(),
            )
        )
    return RequestId(request_id)


async def _suppress(office: Office, person: Person) -> None:
    other = await office.person(await office.brand(f"x-{new_id()}"))
    request_id = await _open_request(office, other, RequestType.ERASURE)
    async with office.tx() as tx:
        lines = suppression.entries(office.engine.platform.pepper, [Identifier("email", person.email)])
        await suppression.suppress(tx, {request_id: lines})


async def _hold(office: Office, person: Person) -> None:
    async with office.tx() as tx:
        row = {"customer_id": person.customer_id, "subject_ref": person.audit_ref, "category": Category.ORDER}
        await tx.execute(insert(legal_hold).values(id=new_id(), **row, review_at=func.now()))


async def _twin(office: Office, person: Person) -> None:
    other = await office.person(await office.brand(f"x-{new_id()}"))
    async with office.tx() as tx:
        mine = email_address.c.customer_id == other.customer_id
        await tx.execute(update(email_address).where(mine).values(normalized=person.email))


async def _accept(office: Office, person: Person) -> None:
    """A later policy that nobody reviewed."""
    version_id = new_id()
    text = {
        "version": f"v-{version_id}",
        "title": "T",
        "body": "B",
        "body_sha256": b"0" * 32,
        "effective_from": FAR_AWAY,
    }
    async with office.tx() as tx:
        await tx.execute(insert(policy_version).values(id=version_id, **text))
        row = {**person.origin, "policy_version_id": version_id, "decision": "accepted", "decided_at": func.now()}
        await tx.execute(insert(policy_acceptance).values(**row))


async def _customer(office: Office, person: Person, **values: Any) -> None:
    async with office.tx() as tx:
        await set_customer(tx, person.customer_id, **values)


async def _minor(office: Office, person: Person) -> None:
    async with office.tx() as tx:
        await tx.execute(insert(preference).values(**person.origin, key="minor", value=True))


async def _sold(office: Office, person: Person, code: str) -> None:
    """Another deal of the brand, with nobody else in it, has been handed over."""
    other = await office.create(brand=code)
    row = {"customer_id": person.customer_id, "subject_ref": person.audit_ref, "stopped_at": func.now()}
    async with office.tx() as tx:
        cohort = select(transfer_cohort.c.id).where(transfer_cohort.c.transfer_id == other.id).scalar_subquery()
        mine = insert(transfer_customer).values(id=new_id(), transfer_id=other.id, cohort_id=cohort, **row)
        await tx.execute(mine)
    await office.change(other, status=S.COMPLETED)


async def _silent(office: Office, person: Person) -> None:
    async with office.tx() as tx:
        await tx.execute(delete(email_address).where(email_address.c.customer_id == person.customer_id))


async def test_everybody_is_included_or_excluded_for_the_first_reason_that_fits(office: Office) -> None:
    """One person for each reason, the suppressed one with every later reason too."""
    brand_id = await office.brand("reasons")
    of = {reason: await office.person(brand_id) for reason in R if reason not in {R.NO_BASIS, R.OBJECTED}}
    fine = await office.person(brand_id)
    bystander = await office.person(await office.brand("reasons-other"))
    before = await picture(office.engine.platform.db, bystander)

    await office.collected(of[R.NOT_IN_BRAND], source="a fair")
    await _customer(office, of[R.ERASURE], status=CustomerStatus.FROZEN)
    await _suppress(office, of[R.SUPPRESSED])
    await _hold(office, of[R.HELD])
    await _minor(office, of[R.MINOR])
    await office.collected(of[R.PARTNER_OWNED], source="a partner")
    await _sold(office, of[R.ALREADY_SOLD], "reasons")
    await _twin(office, of[R.UNRESOLVED_MERGE])
    await _accept(office, of[R.POLICY_FORBIDS])
    await _decline(office, of[R.NO_CONSENT])
    await _silent(office, of[R.UNDELIVERABLE_NOTICE])
    await office.collected(of[R.INACTIVE], collected_at=LONG_AGO - timedelta(days=3000))
    async with office.tx() as tx:
        old = update(sales_order).where(sales_order.c.customer_id == of[R.INACTIVE].customer_id)
        await tx.execute(old.values(placed_at=LONG_AGO - timedelta(days=2000)))
    for reason in (R.RESTRICTED, R.SUPPRESSED):
        await _customer(office, of[reason], restricted_at=func.now())
    for later in (_hold, _minor, _accept, _decline):
        await later(office, of[R.SUPPRESSED])

    deal = await office.create(
        brand="reasons",
        sources=("tests", "a partner"),
        partner_sources=("a partner",),
        inactive_days=1000,
        cohorts=(OPT_IN,),
    )
    counts = await office.classify(deal)
    assert counts.included == {"in": 1}
    assert counts.excluded == {reason.value: 1 for reason in of}
    assert counts.selected == len(of) + 1
    for reason, person in of.items():
        assert (await office.member(deal, person)).reason is reason
    assert (await office.member(deal, fine)).cohort_id is not None
    assert await picture(office.engine.platform.db, bystander) == before
    again = await office.classify(deal)
    assert again == counts, "doing it again is the same"


async def test_people_go_with_the_first_cohort_that_fits_them(office: Office) -> None:
    brand_id = await office.brand("cohorts")
    running, ended, prospect, stranger = [await office.person(brand_id) for _ in range(4)]
    async with office.tx() as tx:
        for person, status in ((running, OrderStatus.SHIPPED), (ended, OrderStatus.COMPLETED)):
            mine = sales_order.c.customer_id == person.customer_id
            await tx.execute(update(sales_order).where(mine).values(status=status))
        for person in (prospect, stranger):
            mine = sales_order.c.customer_id == person.customer_id
            await tx.execute(update(sales_order).where(mine).values(customer_id=None, retained_until=func.now()))
        await tx.execute(update(inquiry).where(inquiry.c.customer_id == prospect.customer_id).values(status="open"))
        await tx.execute(update(inquiry).where(inquiry.c.customer_id == stranger.customer_id).values(status="closed"))
    rules = (
        ("contracts", CohortBasis.CONTRACT_ASSUMPTION, CohortRule.RUNNING_CONTRACT),
        ("asked", CohortBasis.OPT_OUT, CohortRule.PROSPECT),
        ("archive", CohortBasis.ARCHIVE_ONLY, CohortRule.ENDED_CONTRACT),
    )
    deal = await office.create(brand="cohorts", cohorts=[CohortTerms(*rule, FIELDS) for rule in rules])
    counts = await office.classify(deal)
    assert counts.included == {"archive": 1, "asked": 1, "contracts": 1}
    assert counts.excluded == {"no_basis": 1}
    assert (await office.member(deal, stranger)).reason is R.NO_BASIS


async def test_a_shared_customer_is_marked_and_one_of_another_brand_can_go_too(office: Office) -> None:
    brand_id, other_id = await office.brand("sold"), await office.brand("kept")
    own, guest = await office.person(brand_id), await office.person(other_id)
    async with office.tx() as tx:
        row = {"point": "order", "source": "tests", "collected_at": LONG_AGO, "brand_id": brand_id}
        version = select(collection.c.policy_version_id).where(collection.c.customer_id == guest.customer_id).limit(1)
        await tx.execute(
            insert(collection).values(
                id=new_id(), customer_id=guest.customer_id, policy_version_id=version.scalar_subquery(), **row
            )
        )
    deal = await office.create(brand="sold")
    assert (await office.classify(deal)).included == {"everybody": 2}
    assert not (await office.member(deal, own)).is_shared
    assert (await office.member(deal, guest)).is_shared


async def test_the_acquirer_knows_a_person_by_another_name_in_every_deal(office: Office) -> None:
    person = await office.person(await office.brand("named"))
    first, second = await office.create(brand="named"), await office.create(brand="named")
    for deal in (first, second):
        await office.classify(deal)
    one, other = await office.member(first, person), await office.member(second, person)
    assert len({one.id, other.id, person.customer_id, person.audit_ref}) == 4
    assert one.id.version == 8
    await office.classify(first)
    assert (await office.member(first, person)).id == one.id


async def test_who_objects_before_the_freeze_is_out_and_who_does_later_is_withheld(office: Office) -> None:
    brand_id = await office.brand("objected")
    early, late, stays = [await office.person(brand_id) for _ in range(3)]
    deal = await office.create(brand="objected")
    await office.classify(deal)
    with pytest.raises(NotConcerned):  # nobody was told yet
        await office.object_to(deal, early)
    await office.told(deal)
    await office.object_to(deal, early)
    await office.object_to(deal, early)
    await office.engine.work()
    assert (await office.member(deal, early)).reason is R.OBJECTED
    assert (await office.engine.audited(early)).count("transfer.objected") == 1
    sha256 = await office.freeze(deal)
    await office.object_to(deal, late)
    member = await office.member(deal, late)
    assert (member.cohort_id is not None, member.objected_at is not None) == (True, True)
    assert not await office.approve(deal, office.first, sha256), "what was frozen is still so"
    assert (await office.member(deal, stays)).objected_at is None
    assert (await office.row(deal)).counts == {
        "selected": 3,
        "included": {"everybody": 2},
        "excluded": {"objected": 1},
    }


async def test_an_agent_records_an_objection_and_others_do_not(office: Office) -> None:
    brand_id = await office.brand("recorded")
    person, bystander = await office.person(brand_id), await office.person(brand_id)
    stranger = await office.person(await office.brand("recorded-other"))
    deal = await office.create(brand="recorded")
    await office.told(deal)
    async with office.tx() as tx:
        await objections.record(tx, office.agent, deal.id, person.customer_id)
        with pytest.raises(TransferRoleNeeded):
            await objections.record(tx, office.engine.viewer(person, "transfers:read"), deal.id, person.customer_id)
        with pytest.raises(NotConcerned):
            await objections.record(tx, office.agent, deal.id, stranger.customer_id)
    member = await office.member(deal, person)
    assert (member.objection_channel.value, member.recorded_by_id) == ("agent", office.agent.staff_id)
    assert (await office.member(deal, bystander)).objected_at is None
    await office.change(deal, status=S.CANCELLED)
    async with office.tx() as tx:
        with pytest.raises(TransferOver):
            await objections.record(tx, office.agent, deal.id, bystander.customer_id)


async def test_nobody_objects_for_somebody_else(office: Office) -> None:
    brand_id = await office.brand("walled")
    person, other = await office.person(brand_id), await office.person(brand_id)
    deal = await office.create(brand="walled")
    await office.told(deal)
    db = office.engine.platform.db
    async with db.transaction(office.engine.viewer(person).role, subject=person.customer_id) as tx:
        everybodys = update(transfer_customer).values(objected_at=func.now())
        assert (await tx.execute(everybodys)).rowcount == 1
    assert (await office.member(deal, other)).objected_at is None


async def _letter(office: Office, person: Person, status: MessageStatus) -> None:
    async with office.tx() as tx:
        await tx.execute(update(message).where(message.c.customer_id == person.customer_id).values(status=status))


@pytest.mark.parametrize("policy", list(BouncePolicy))
async def test_whose_notice_bounces_is_treated_as_the_deal_says(office: Office, policy: BouncePolicy) -> None:
    code = f"bounced-{policy.value}"
    brand_id = await office.brand(code)
    failed, returned, fine = [await office.person(brand_id) for _ in range(3)]
    deal = await office.create(brand=code, bounce=policy)
    await office.classify(deal)
    await office.confirm(deal)
    await office.notify(deal)
    await _letter(office, failed, MessageStatus.FAILED)
    await office.engine.work()
    late = (await office.member(deal, returned)).message_id
    async with office.tx() as tx:
        assert await notices.returned(tx, SYSTEM, deal.id, late)
        assert not await notices.returned(tx, SYSTEM, deal.id, late)
        assert not await notices.returned(tx, SYSTEM, deal.id, new_id())
    for person in (failed, returned):
        member = await office.member(deal, person)
        assert member.notice.value == "bounced"
        if policy is BouncePolicy.EXCLUDE:
            assert (member.reason, member.deadline) == (R.UNDELIVERABLE_NOTICE, None)
        else:
            assert member.reason is None
            assert member.deadline == member.bounced_at
    good = await office.member(deal, fine)
    assert (good.notice.value, good.deadline) == ("delivered", good.notified_at)
    await office.freeze(deal)


async def test_the_days_to_object_count_from_delivery(office: Office) -> None:
    person = await office.person(await office.brand("counted"))
    cohort = CohortTerms("slow", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS, window_days=42)
    deal = await office.create(brand="counted", cohorts=(cohort,))
    await office.told(deal)
    member = await office.member(deal, person)
    assert member.deadline - member.notified_at == timedelta(days=42)
    assert "42 days" in (await office.letters(person))[-1].body


async def test_what_happens_between_the_notice_and_the_freeze_counts(office: Office) -> None:
    brand_id = await office.brand("between")
    erased, held, stays = [await office.person(brand_id) for _ in range(3)]
    deal = await office.create(brand="between")
    await office.told(deal)
    await _hold(office, held)
    opened = await office.engine.open_erasure(erased)
    await office.engine.work()
    assert await office.engine.status(opened.reference) is RequestStatus.COMPLETED
    gone = await office.member(deal, erased)
    assert (gone.customer_id, gone.reason) == (None, R.ERASURE)
    await office.freeze(deal)
    assert (await office.member(deal, held)).reason is R.HELD
    assert (await office.row(deal)).counts["excluded"] == {"erasure": 1, "held": 1}
    assert (await office.member(deal, stays)).cohort_id is not None


async def test_a_deal_that_nobody_is_left_of_is_not_frozen(office: Office) -> None:
    person = await office.person(await office.brand("nobody"))
    deal = await office.create(brand="nobody")
    await office.told(deal)
    await office.object_to(deal, person)
    with pytest.raises(NobodyGoes):
        await office.freeze(deal)


async def test_an_erasure_after_the_freeze_leaves_the_frozen_list_whole(office: Office) -> None:
    """The row stays without the person: the list can still be proven, and the acquirer be told."""
    brand_id = await office.brand("after")
    erased, stays = await office.person(brand_id), await office.person(brand_id)
    deal = await office.create(brand="after")
    await office.told(deal)
    sha256 = await office.freeze(deal)
    await office.engine.open_erasure(erased)
    await office.engine.work()
    gone = await office.member(deal, erased)
    assert (gone.customer_id, gone.cohort_id is not None) == (None, True)
    assert not await office.approve(deal, office.first, sha256)
    assert (await office.member(deal, stays)).customer_id == stays.customer_id


async def test_nobody_is_sold_twice(office: Office) -> None:
    """Whom another deal of the brand has frozen or handed over does not go again, until it is called off."""
    brand_id = await office.brand("twice")
    kept, objecting = [await office.person(brand_id) for _ in range(2)]
    bystander = await office.person(await office.brand("twice-other"))
    first = await office.create(brand="twice")
    await office.told(first)
    second = await office.create(brand="twice")
    assert (await office.classify(second)).excluded == {}, "nothing is settled before a freeze"
    await office.freeze(first)

    for stands in (S.FROZEN, S.APPROVED, S.PACKAGING, S.DELIVERING):
        await office.change(first, status=stands)
        assert (await office.classify(second)).excluded == {R.ALREADY_SOLD.value: 2}
    async with office.tx() as tx:  # the acquirer has signed, and one of them has objected since
        of_first = update(transfer_customer).where(transfer_customer.c.transfer_id == first.id)
        theirs = transfer_customer.c.customer_id == objecting.customer_id
        await tx.execute(of_first.values(stopped_at=func.now()))
        await tx.execute(of_first.where(theirs).values(stopped_at=None, objected_at=func.now()))
    await office.change(first, status=S.COMPLETED)
    assert (await office.classify(second)).excluded == {R.ALREADY_SOLD.value: 1}
    assert (await office.member(second, kept)).reason is R.ALREADY_SOLD
    elsewhere = await office.create(brand="twice-other")
    assert (await office.classify(elsewhere)).excluded == {}
    assert (await office.member(elsewhere, bystander)).cohort_id is not None

    for over in (S.RECALLED, S.CANCELLED, S.WINDOW):
        await office.change(first, status=over)
        assert (await office.classify(second)).excluded == {}


async def test_of_two_freezes_at_once_one_takes_the_people(office: Office) -> None:
    """Also those whom both deals had told."""
    brand_id = await office.brand("at-once")
    wanted, *others = [await office.person(brand_id) for _ in range(3)]
    pair = [await office.create(brand="at-once") for _ in range(2)]
    for deal, other in zip(pair, others, strict=True):
        await office.told(deal)
        await office.object_to(deal, other)  # so that each deal has somebody of its own
    await asyncio.gather(*(office.freeze(deal) for deal in pair))
    found = [(await office.member(deal, wanted)).reason for deal in pair]
    assert set(found) == {None, R.ALREADY_SOLD}
    for deal, other in zip(pair, reversed(others), strict=True):
        assert (await office.member(deal, other)).cohort_id is not None


async def test_somebody_goes_on_the_basis_they_were_told_or_not_at_all(office: Office) -> None:
    """A contract that has ended is no contract to assume, and who agreed may change their mind."""
    brand_id = await office.brand("told-basis")
    ended, runs, withdrew, bystander = [await office.person(brand_id) for _ in range(4)]

    async def order_of(person: Person, status: OrderStatus) -> None:
        async with office.tx() as tx:
            mine = sales_order.c.customer_id == person.customer_id
            await tx.execute(update(sales_order).where(mine).values(status=status))

    for person in (ended, runs):
        await order_of(person, OrderStatus.SHIPPED)
    for person in (withdrew, bystander):
        await order_of(person, OrderStatus.COMPLETED)
    cohorts = (
        CohortTerms("contracts", CohortBasis.CONTRACT_ASSUMPTION, CohortRule.RUNNING_CONTRACT, FIELDS),
        CohortTerms("agreed", CohortBasis.OPT_IN, CohortRule.ENDED_CONTRACT, FIELDS, purpose="promotions"),
        CohortTerms("others", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS),
    )
    deal = await office.create(brand="told-basis", cohorts=cohorts)
    await office.told(deal)
    assert (await office.row(deal)).counts["included"] == {"agreed": 2, "contracts": 2}
    await order_of(ended, OrderStatus.COMPLETED)
    await order_of(withdrew, OrderStatus.SHIPPED)  # another cohort fits now
    await _decline(office, withdrew)
    await office.freeze(deal)
    assert (await office.member(deal, ended)).reason is R.NO_BASIS
    assert (await office.member(deal, withdrew)).reason is R.NO_CONSENT
    assert (await office.row(deal)).counts == {
        "selected": 4,
        "included": {"agreed": 1, "contracts": 1},
        "excluded": {"no_basis": 1, "no_consent": 1},
    }
    assert (await office.member(deal, bystander)).reason is None


async def test_who_objected_by_telephone_before_anybody_was_told_gets_no_letter(office: Office) -> None:
    brand_id = await office.brand("telephone")
    objector, other = [await office.person(brand_id) for _ in range(2)]
    deal = await office.create(brand="telephone")
    await office.classify(deal)
    async with office.tx() as tx:
        await objections.record(tx, office.agent, deal.id, objector.customer_id)
    counts = await office.classify(deal)
    assert (counts.included, counts.excluded) == ({"everybody": 1}, {"objected": 1})
    await office.confirm(deal)
    assert await office.notify(deal) == 1
    assert [one.template for one in await office.letters(other)] == ["transfer_notice"]
    assert "transfer_notice" not in [one.template for one in await office.letters(objector)]


async def test_an_objection_concerns_every_record_of_somebody_who_was_merged(office: Office) -> None:
    """Two records of a completed deal became one customer: both objections, one entry, and their use begins again."""
    brand_id = await office.brand("merged-since")
    person, other, bystander = [await office.person(brand_id) for _ in range(3)]
    deal = await office.create(brand="merged-since")
    await office.approved(deal)
    await office.change(deal, status=S.COMPLETED, completed_at=func.now())
    async with office.tx() as tx:
        mine = transfer_customer.c.transfer_id == deal.id
        await tx.execute(update(transfer_customer).where(mine).values(stopped_at=func.now()))
        theirs = transfer_customer.c.customer_id == other.customer_id
        await tx.execute(update(transfer_customer).where(mine, theirs).values(customer_id=person.customer_id))
    await office.object_to(deal, person)
    members = [await office.member(deal, one) for one in (person, other, bystander)]
    assert [(one.objected_at is not None, one.stopped_at is None) for one in members] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert (await office.ledger(deal)).count("transfer.objected") == 1


async def test_who_may_not_go_any_more_when_the_letters_are_written_gets_none(office: Office) -> None:
    brand_id = await office.brand("written-late")
    held, told = [await office.person(brand_id) for _ in range(2)]
    deal = await office.create(brand="written-late")
    await office.classify(deal)
    await _hold(office, held)
    assert await office.notify(deal) == 1
    assert (await office.member(deal, held)).reason is R.HELD
    assert (await office.row(deal)).counts == {
        "selected": 2,
        "included": {"everybody": 1},
        "excluded": {"held": 1},
    }
    assert "transfer_notice" not in [one.template for one in await office.letters(held)]
    assert "transfer_notice" in [one.template for one in await office.letters(told)]


async def test_a_notice_that_comes_back_after_the_freeze_is_noted(office: Office) -> None:
    person, other = [await office.person(await office.brand(f"back-{at}")) for at in range(2)]
    deal = await office.create(brand="back-0")
    await office.told(deal)
    sha256 = await office.freeze(deal)
    message_id = (await office.member(deal, person)).message_id
    async with office.tx() as tx:
        assert await notices.returned(tx, SYSTEM, deal.id, message_id)
        assert not await notices.returned(tx, SYSTEM, deal.id, message_id)
    member = await office.member(deal, person)
    assert (member.notice.value, member.bounced_at is not None, member.cohort_id is not None) == ("bounced", True, True)
    assert not await office.approve(deal, office.first, sha256), "what was frozen is what was approved"
    assert "transfer.notice_returned" in await office.ledger(deal)
    assert await office.letters(other) == []


async def test_an_objection_under_way_while_it_is_frozen_is_not_lost(office: Office) -> None:
    """Neither waits for the other: the frozen list has them, and they are known to have objected."""
    brand_id = await office.brand("meanwhile")
    person, other = [await office.person(brand_id) for _ in range(2)]
    deal = await office.create(brand="meanwhile")
    await office.told(deal)
    db, viewer = office.engine.platform.db, office.engine.viewer(person)
    async with db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        await objections.object_to(tx, viewer, deal.reference)
        sha256 = await office.freeze(deal)
    assert (await office.row(deal)).counts["included"] == {"everybody": 2}
    assert not await office.approve(deal, office.first, sha256)
    assert await office.approve(deal, office.second, sha256)
    member = await office.member(deal, person)
    assert (member.objected_at is not None, member.cohort_id is not None) == (True, True), "left out of the package"
    assert (await office.member(deal, other)).objected_at is None
    assert (await office.ledger(deal)).count("transfer.objected") == 1
