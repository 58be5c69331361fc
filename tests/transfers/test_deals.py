"""A deal from its record to two approvals: who may do what, what is refused, and what the hash holds together."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from cdp.access.viewer import MissingScope
from cdp.core import age
from cdp.core.errors import PlatformError, StepUpRequired
from cdp.operations.transfers import deals, freezing
from cdp.operations.transfers.deals import Acquirer, CohortTerms, FingerprintMismatch, NoticeText, TransferInvalid
from cdp.operations.transfers.freezing import AlreadyApproved, FreezeBroken, HashMismatch, KeyUnconfirmed, WindowOpen
from cdp.operations.transfers.states import SecondPersonNeeded, TransferMissing, TransferMoved, TransferRoleNeeded
from cdp.tables.audit import audit_event
from cdp.tables.transfer import (
    TRANSFER_TRANSITIONS,
    CohortBasis,
    CohortRule,
    TransferStatus,
    transfer_approval,
    transfer_cohort,
    transfer_customer,
)
from tests.population import picture
from tests.transfers.office import FIELDS, NOTICE, Office

S = TransferStatus


async def test_a_deal_is_recorded_classified_told_frozen_and_approved(office: Office) -> None:
    brand_id = await office.brand("whole")
    people = [await office.person(brand_id) for _ in range(4)]
    bystander = await office.person(await office.brand("whole-other"))
    before = await picture(office.engine.platform.db, bystander)
    deal = await office.create(brand="whole")
    assert deal.reference.startswith("TR-")

    counts = await office.classify(deal)
    assert (counts.selected, counts.included, counts.excluded) == (4, {"everybody": 4}, {})
    await office.confirm(deal)
    assert await office.notify(deal) == 4
    await office.engine.work()
    row = await office.row(deal)
    assert row.status is S.WINDOW
    sha256 = await office.freeze(deal)
    assert not await office.approve(deal, office.first, sha256)
    assert await office.approve(deal, office.second, sha256)

    row = await office.row(deal)
    assert row.status is S.APPROVED
    assert row.counts == {"selected": 4, "included": {"everybody": 4}, "excluded": {}}
    assert bytes(row.frozen_sha256).hex() == sha256
    for person in people:
        letter = (await office.letters(person))[-1]
        assert letter.subject == "Your data may go to Acme"
        link = f"{office.engine.platform.settings.url}/account/transfers/{deal.reference}"
        assert letter.body == f"Within 0 days you can object: {link}\n"
    assert await office.ledger(deal) == [
        "transfer.created",
        "transfer.classified",
        "transfer.key_confirmed",
        "transfer.notifying",
        "transfer.notices_settled",
        "transfer.window",
        "transfer.frozen",
        "transfer.approval_given",
        "transfer.approval_given",
        "transfer.approved",
    ]
    assert await picture(office.engine.platform.db, bystander) == before


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": "age1nothing"}, "AGE_KEY_INVALID"),
    "an ssh key": ({"key": "ssh-ed25519 AAAA"}, "AGE_KEY_INVALID"),
    "a contact that is none": ({"contact": "acme"}, "INVALID_EMAIL"),
    "an unknown client": ({"client_id": "nobody"}, "TRANSFER_INVALID"),
}


@pytest.mark.parametrize("name", sorted(BAD))
async def test_an_acquirer_that_can_not_be_one_is_refused(office: Office, name: str) -> None:
    changes, code = BAD[name]
    good = Acquirer("Acme", "Germany", "privacy@acme.example", age.recipient_of(office.identity))
    with pytest.raises(PlatformError) as refusal:
        await office.create(acquirer=replace(good, **changes))
    assert refusal.value.code == code


COHORT = CohortTerms("all", CohortBasis.OPT_OUT, CohortRule.EVERYBODY, FIELDS)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no cohort": ({"cohorts": ()}, "cohorts"),
    "twice the same cohort": ({"cohorts": (COHORT, COHORT)}, "cohorts.name"),
    "a path that is none": ({"cohorts": (replace(COHORT, fields=("given name",)),)}, "cohorts.fields"),
    "no fields": ({"cohorts": (replace(COHORT, fields=()),)}, "cohorts.fields"),
    "an opt-in to nothing": ({"cohorts": (replace(COHORT, basis=CohortBasis.OPT_IN),)}, "cohorts.purpose"),
    "an unknown purpose": ({"cohorts": (replace(COHORT, purpose="world peace"),)}, "cohorts.purpose"),
    "a window for ever": ({"window_days": 366}, "windowDays"),
    "kept for ever": ({"retain_days": 3651}, "retainDays"),
    "a window of less than nothing": ({"cohorts": (replace(COHORT, window_days=-1),)}, "cohorts.windowDays"),
    "an unknown brand": ({"brand": "nobody's"}, "brand"),
    "an unknown policy": ({"reviews": {"1999": True}}, "reviews"),
    "a notice nobody reads": ({"notice": {"de": NOTICE["de"]}}, "notice"),
    "a notice without a way to object": ({"notice": {"en": NoticeText("Hello", "We sell you.")}}, "notice.body"),
    "inactive at once": ({"inactive_days": 0}, "inactiveDays"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
async def test_terms_that_make_no_deal_are_refused(office: Office, name: str) -> None:
    changes, field = WRONG[name]
    with pytest.raises(TransferInvalid) as refusal:
        await office.create(**changes)
    assert refusal.value.extensions["field"] == field


async def test_a_field_that_goes_to_nobody_is_refused_by_whoever_knows_the_schema(office: Office) -> None:
    def check(fields: Any) -> None:
        raise TransferInvalid(field=",".join(fields))

    with pytest.raises(TransferInvalid):
        async with office.tx() as tx:
            await deals.create(tx, office.maker, office.engine.platform, office.terms(), check_fields=check)


async def test_only_makers_with_a_fresh_sign_in_make_deals(office: Office) -> None:
    platform = office.engine.platform
    stale = replace(office.maker, authenticated_at=platform.clock() - timedelta(hours=2))
    for viewer, error in (
        (replace(office.maker, scopes=frozenset()), MissingScope),
        (office.agent, TransferRoleNeeded),
        (office.first, TransferRoleNeeded),  # a supervisor approves and makes none
        (stale, StepUpRequired),
    ):
        async with office.tx() as tx:
            with pytest.raises(error):
                await deals.create(tx, viewer, platform, office.terms())


async def test_the_key_counts_once_a_second_person_has_compared_its_fingerprint(office: Office) -> None:
    await office.person(await office.brand("keyed"))
    deal = await office.create(brand="keyed")
    with pytest.raises(SecondPersonNeeded):
        await office.confirm(deal, office.maker)
    with pytest.raises(TransferRoleNeeded):
        await office.confirm(deal, office.agent)
    with pytest.raises(FingerprintMismatch):
        await office.confirm(deal, given="0" * 64)
    assert "transfer.key_refused" in await office.ledger(deal)
    await office.classify(deal)
    await office.notify(deal)
    await office.engine.work()
    with pytest.raises(KeyUnconfirmed):
        await office.freeze(deal)
    await office.confirm(deal, given=deal.fingerprint.replace(" ", "").upper())
    assert (await office.row(deal)).key_confirmed_by_id == office.first.staff_id
    await office.freeze(deal)
    with pytest.raises(TransferMoved):
        await office.confirm(deal)


async def test_nobody_approves_what_they_made_or_twice_or_something_else(office: Office) -> None:
    await office.person(await office.brand("approved"))
    deal = await office.create(brand="approved")
    await office.told(deal)
    sha256 = await office.freeze(deal)
    with pytest.raises(SecondPersonNeeded):
        await office.approve(deal, office.maker, sha256)
    with pytest.raises(TransferRoleNeeded):
        await office.approve(deal, office.agent, sha256)
    with pytest.raises(HashMismatch):
        await office.approve(deal, office.first, "0" * 64)
    stale = replace(office.first, authenticated_at=office.engine.platform.clock() - timedelta(hours=2))
    with pytest.raises(StepUpRequired):
        await office.approve(deal, stale, sha256)
    await office.approve(deal, office.first, sha256)
    with pytest.raises(AlreadyApproved):
        await office.approve(deal, office.first, sha256)
    assert (await office.row(deal)).status is S.FROZEN


CHANGES: dict[str, Any] = {
    "another fields list": update(transfer_cohort).values(fields=["givenName", "familyName"]),
    "another basis": update(transfer_cohort).values(basis=CohortBasis.ARCHIVE_ONLY),
    "somebody less": update(transfer_customer).values(cohort_id=None, reason="inactive"),
    "somebody else's row": update(transfer_customer).values(subject_ref=func.gen_random_uuid()),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
async def test_any_change_after_the_freeze_breaks_hash_and_approval(office: Office, name: str) -> None:
    code = f"broken-{sorted(CHANGES).index(name)}"
    await office.person(await office.brand(code))
    deal = await office.create(brand=code)
    await office.told(deal)
    sha256 = await office.freeze(deal)
    statement = CHANGES[name]
    async with office.tx() as tx:
        await tx.execute(statement.where(statement.table.c.transfer_id == deal.id))
    with pytest.raises(FreezeBroken):
        await office.approve(deal, office.first, sha256)
    async with office.tx() as tx:
        assert await freezing.break_if_changed(tx, deal.id)
    row = await office.row(deal)
    assert (row.status, row.code, row.frozen_sha256) == (S.WINDOW, "FREEZE_BROKEN", None)


async def test_what_was_approved_counts_for_that_hash_alone(office: Office) -> None:
    await office.person(await office.brand("thawed"))
    deal = await office.create(brand="thawed")
    await office.told(deal)
    sha256 = await office.freeze(deal)
    await office.approve(deal, office.first, sha256)
    async with office.tx() as tx:
        await freezing.thaw(tx, office.maker, office.engine.platform, deal.id)
    await office.person((await office.row(deal)).brand_id)
    assert await office.freeze(deal) == sha256, "who came later is in no deal, and the same people are the same hash"
    async with office.tx() as tx:
        changed = update(transfer_cohort).where(transfer_cohort.c.transfer_id == deal.id).values(name="renamed")
        await freezing.thaw(tx, office.maker, office.engine.platform, deal.id)
        await tx.execute(changed)
    again = await office.freeze(deal)
    assert again != sha256
    assert not await office.approve(deal, office.first, again)
    async with office.tx() as tx:
        given = select(func.count()).select_from(transfer_approval).where(transfer_approval.c.transfer_id == deal.id)
        assert await tx.scalar(given) == 1


async def test_what_was_given_up_is_approved_anew_also_by_the_same_hash(office: Office) -> None:
    await office.person(await office.brand("approved-anew"))
    deal = await office.create(brand="approved-anew")
    sha256 = await office.approved(deal)
    async with office.tx() as tx:
        await freezing.thaw(tx, office.maker, office.engine.platform, deal.id)
    assert await office.freeze(deal) == sha256
    assert not await office.approve(deal, office.first, f" {sha256.upper()} "), "nobody has approved this freeze yet"
    assert await office.approve(deal, office.second, sha256)
    async with office.tx() as tx:
        given = select(audit_event.c.details).where(
            audit_event.c.object_id == deal.id, audit_event.c.action == "transfer.approval_given"
        )
        said = {row.details["sha256"] for row in await tx.all(given)}
    assert said == {sha256}, "the ledger has it as the chain of custody compares it"


async def test_who_approved_and_then_froze_anew_does_not_count_as_another_person(office: Office) -> None:
    await office.person(await office.brand("two-hats"))
    deal = await office.create(brand="two-hats")
    await office.told(deal)
    sha256 = await office.freeze(deal)
    other = replace(office.second, roles=frozenset({"privacy_officer", "administrator"}))
    await office.approve(deal, other, sha256)
    async with office.tx() as tx:
        await freezing.thaw(tx, office.maker, office.engine.platform, deal.id)
        assert await freezing.freeze(tx, other, office.engine.platform, deal.id) == sha256
    assert not await office.approve(deal, office.first, sha256), "one approval by somebody who did not freeze it"


async def test_a_deal_is_frozen_only_after_everybody_had_their_days(office: Office) -> None:
    await office.person(await office.brand("early"))
    deal = await office.create(brand="early", window_days=3)
    await office.classify(deal)
    await office.confirm(deal)
    with pytest.raises(TransferMoved):
        await office.freeze(deal)
    await office.notify(deal)
    await office.engine.work()
    with pytest.raises(WindowOpen):
        await office.freeze(deal)
    async with office.tx() as tx:
        mine = transfer_customer.c.transfer_id == deal.id
        await tx.execute(update(transfer_customer).where(mine).values(deadline=func.now() - timedelta(seconds=1)))
    await office.freeze(deal)


async def test_a_deal_can_be_called_off_until_it_is_delivered(office: Office) -> None:
    platform = office.engine.platform
    deal = await office.create()
    async with office.tx() as tx:
        await deals.cancel(tx, office.maker, platform, deal.id, reason="The buyer walked away.")
    assert (await office.row(deal)).status is S.CANCELLED
    for operation in (office.classify, office.freeze, office.notify):
        with pytest.raises(TransferMoved):
            await operation(deal)
    with pytest.raises(TransferMissing):
        await office.row(replace(deal, id=office.maker.staff_id))


async def test_two_at_a_time_move_a_deal_once(office: Office) -> None:
    await office.person(await office.brand("raced"))
    deal = await office.create(brand="raced")
    async with office.tx() as tx:
        row = await deals.states.find(tx, deal.id)
        await deals.states.move(tx, row, S.CLASSIFIED)
        with pytest.raises(TransferMoved):
            await deals.states.move(tx, row, S.CLASSIFIED)


def test_every_state_leads_somewhere_or_is_the_end() -> None:
    assert set(TRANSFER_TRANSITIONS) == set(S)
    ends = {state for state, following in TRANSFER_TRANSITIONS.items() if not following}
    assert ends == {S.RECALLED, S.CANCELLED}


async def test_no_entry_of_the_ledger_names_anybody(office: Office) -> None:
    person = await office.person(await office.brand("quiet"))
    deal = await office.create(brand="quiet")
    await office.approved(deal)
    async with office.tx() as tx:
        rows = await tx.all(select(audit_event.c.details).where(audit_event.c.object_id == deal.id))
    written = str([row.details for row in rows])
    assert person.email not in written
    assert str(person.customer_id) not in written


async def test_who_works_on_a_deal_may_take_longer_than_a_read(office: Office) -> None:
    """A statement about a million members runs for minutes; one that reads may for seconds."""
    deal = await office.create()
    limit = text("SELECT set_config('statement_timeout', '15s', true)")
    async with office.tx() as tx:
        await tx.execute(limit)
        await deals.states.find(tx, deal.id)
        assert await tx.scalar(text("SHOW statement_timeout")) == "15s"
        await deals.states.find(tx, deal.id, lock=True)
        assert await tx.scalar(text("SHOW statement_timeout")) == "0"
