"""Whoever is in a deal is in one that is there, and in a cohort of that deal: the database holds it."""

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.operations.transfers.deals import Recorded
from cdp.tables.transfer import transfer, transfer_cohort, transfer_customer
from tests.population import Person
from tests.transfers.office import Office

member = transfer_customer.c


async def _deal(office: Office, code: str) -> tuple[Recorded, Person]:
    """A deal, classified, with one person who goes."""
    person = await office.person(await office.brand(code))
    deal = await office.create(brand=code)
    await office.classify(deal)
    assert (await office.member(deal, person)).reason is None
    return deal, person


async def _add(tx: Tx, person: Person, **values: object) -> None:
    row = {"id": new_id(), "customer_id": person.customer_id, "subject_ref": person.audit_ref, **values}
    await tx.execute(insert(transfer_customer).values(row))


async def test_nobody_is_put_where_there_is_no_deal_or_another_deals_cohort(office: Office) -> None:
    (deal, person), (other, bystander) = await _deal(office, "members"), await _deal(office, "members-other")
    theirs = (await office.member(other, bystander)).cohort_id
    own = (await office.member(deal, person)).cohort_id
    async with office.tx() as tx:
        await _add(tx, person, transfer_id=deal.id, cohort_id=own)
    for wrong in (
        {"transfer_id": deal.id, "cohort_id": theirs},
        {"transfer_id": deal.id, "cohort_id": new_id()},
        {"transfer_id": new_id(), "reason": "held"},
    ):
        with pytest.raises(IntegrityError, match="somebody is of no deal"):
            async with office.tx() as tx:
                await _add(tx, person, **wrong)
    mine = member.transfer_id == deal.id
    for moved in ({"cohort_id": theirs}, {"transfer_id": other.id}, {"transfer_id": new_id()}):
        with pytest.raises(IntegrityError, match="somebody is of no deal"):
            async with office.tx() as tx:
                await tx.execute(update(transfer_customer).where(mine, member.cohort_id == own).values(moved))
    assert (await office.member(other, bystander)).cohort_id == theirs


@pytest.mark.parametrize("parent", [transfer_cohort, transfer], ids=lambda table: table.name)
async def test_deals_and_cohorts_stay(office: Office, parent: object) -> None:
    deal, person = await _deal(office, f"stays-{'cohort' if parent is transfer_cohort else 'deal'}")
    column = transfer_cohort.c.transfer_id if parent is transfer_cohort else transfer.c.id
    table = column.table
    for gone in (delete(table).where(column == deal.id), update(table).where(column == deal.id).values(id=new_id())):
        with pytest.raises(IntegrityError, match="deals and cohorts stay"):
            async with office.tx() as tx:
                await tx.execute(gone)
    async with office.tx() as tx:
        assert await tx.scalar(select(table.c.id).where(column == deal.id).limit(1)) is not None
    assert (await office.member(deal, person)).reason is None
