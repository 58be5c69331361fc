"""What happens to people between freeze and package: whoever may not go stays, and every count still adds up."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.sign import Verdict, canonical
from cdp.operations.delivery import chain, checks, custody, packages
from cdp.operations.transfers import notices
from cdp.operations.transfers.deals import CohortTerms
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.delivery import transfer_delta, transfer_omission, transfer_part
from cdp.tables.hold import legal_hold
from cdp.tables.request import ObjectionStatus, RequestStatus, RequestType, objection, privacy_request
from cdp.tables.transfer import CohortBasis, CohortRule, TransferStatus, transfer, transfer_customer
from tests.delivery.factory import FIELDS, Deal, Seller, lines, sold
from tests.delivery.test_after import erase
from tests.population import Person, make_person

OPT_IN = CohortTerms("Agreed", CohortBasis.OPT_IN, CohortRule.EVERYBODY, FIELDS, purpose="promotions")


@pytest.fixture
async def people(seller: Seller) -> list[Person]:
    """Seven who are new, beside whoever was here before."""
    return [await make_person(seller.platform.db) for _ in range(7)]


async def put_off(seller: Seller, deal: Deal, ordinal: int, **when: int) -> None:
    """Let one part be made only after the others."""
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        mine = (transfer_part.c.transfer_id == deal.id, transfer_part.c.ordinal == ordinal)
        later = func.now() + func.make_interval(0, 0, 0, 0, when.get("hours", 0))
        await tx.execute(update(transfer_part).where(*mine).values(next_run_at=later))


async def received(seller: Seller, deal: Deal, folder: Path) -> dict[str, Any]:
    """Pull the package and sign for it; returns what it says."""
    async with deal.buyer.at(seller, folder) as receiver:
        assert (await receiver.receive(deal.reference, keep_plain=True)).rejected == ()
    package = checks.read_package((folder / deal.reference / "bag" / "package.json").read_bytes())
    assert package is not None
    written = await custody.write(seller.platform, SYSTEM, deal.id)
    found = chain.verify(canonical(written), seller.platform.signer.keys())
    assert (found.verdict, found.problems) == (Verdict.VALID, ())
    return package


async def marked(seller: Seller, deal: Deal) -> int:
    mine = transfer_customer.c.transfer_id == deal.id, transfer_customer.c.transferred_at.is_not(None)
    return len(await seller.rows(select(transfer_customer.c.id).where(*mine)))


async def test_who_is_erased_between_two_parts_is_counted_once(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    """One was in a part already and is called back; another was in none yet and never goes."""
    deal = await sold(seller)
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await packages.lay_out(tx, deal.id, seller.platform)
    await put_off(seller, deal, 1, hours=1)
    await seller.floor.drain()
    assert (await seller.row(deal.id)).status is TransferStatus.PACKAGING
    for person in (people[0], people[-1]):
        await erase(seller, person)
    await put_off(seller, deal, 1)
    await seller.floor.drain()
    row = await seller.row(deal.id)
    assert (row.status, row.code) == (TransferStatus.DELIVERING, None)
    package = await received(seller, deal, tmp_path)
    assert package["cohorts"][0]["leftOut"] == {"erased": 1}
    assert (package["delivered"], await marked(seller, deal)) == (6, 6)
    await seller.floor.drain()
    told = await seller.rows(select(transfer_delta.c.entries).where(transfer_delta.c.transfer_id == deal.id))
    assert [one.entries for one in told] == [1], "who went and is erased; not who never went"


async def test_a_part_that_is_made_again_does_not_count_those_of_another(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    """The acquirer rejects a file of the first part, and meanwhile somebody of the last one is erased."""
    deal = await sold(seller)
    await seller.floor.drain()
    file = next(one for one in await _files(seller, deal) if one.name.endswith("customers-00001.ndjson"))
    await seller.platform.blobs.put(file.object_key, b"damaged in the store" * 100)
    async with deal.buyer.at(seller, tmp_path) as receiver:
        assert (await receiver.receive(deal.reference)).rejected == (file.name,)
    await erase(seller, people[-1])
    await seller.floor.drain()
    package = await received(seller, deal, tmp_path)
    assert (package["revision"], package["cohorts"][0]["leftOut"]) == (2, {})
    assert package["delivered"] == await marked(seller, deal)


async def _files(seller: Seller, deal: Deal) -> Any:
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        return await packages.parts.files_of(tx, deal.id)


async def _withdraw(seller: Seller, person: Person) -> None:
    said = {"purpose": "promotions", "channel": Channel.EMAIL, "wording": "No.", "action": ConsentAction.WITHDRAWN}
    await _write(seller, insert(consent).values(**person.origin, **said, recorded_at=func.now()))


async def _object(seller: Seller, person: Person) -> None:
    who = {"customer_id": person.customer_id, "subject_ref": person.audit_ref}
    request_id = new_id()
    asked = {"type": RequestType.OBJECTION, "status": RequestStatus.IN_FORCE, "channel": "account_page"}
    names = {"id": request_id, "reference": f"OB-{str(request_id)[-12:]}"}
    await _write(seller, insert(privacy_request).values(**names, **who, **asked, due_at=func.now()))
    against = {"customer_id": person.customer_id, "request_id": request_id, "purpose": "promotions"}
    await _write(seller, insert(objection).values(id=new_id(), **against, status=ObjectionStatus.WEIGHED))


async def _hold(seller: Seller, person: Person) -> None:
    who = {"customer_id": person.customer_id, "subject_ref": person.audit_ref}
    await _write(seller, insert(legal_hold).values(**who, category="order", reason="A case.", review_at=func.now()))


async def _is_young(seller: Seller, person: Person) -> None:
    await _write(seller, insert(preference).values(id=new_id(), **person.origin, key="minor", value=True))


async def _write(seller: Seller, statement: Any) -> None:
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(statement)


async def _unreached(seller: Seller, person: Person) -> None:
    """Their notice comes back after all."""
    letters = select(transfer_customer.c.transfer_id, transfer_customer.c.message_id).where(
        transfer_customer.c.customer_id == person.customer_id, transfer_customer.c.cohort_id.is_not(None)
    )
    mine = transfer.c.id == transfer_customer.c.transfer_id
    newest = (await seller.rows(letters.join(transfer, mine).order_by(transfer.c.created_at.desc())))[0]
    async with seller.platform.db.transaction(Role.WORKER) as tx:
        assert await notices.returned(tx, SYSTEM, newest.transfer_id, newest.message_id)


SINCE: dict[str, tuple[Callable[[Seller, Person], Awaitable[None]], str]] = {
    "withdrew": (_withdraw, "no_consent"),
    "objected": (_object, "objected"),
    "is held": (_hold, "held"),
    "is a child": (_is_young, "minor"),
    "was not reached": (_unreached, "undeliverable_notice"),
}


async def test_whoever_may_not_go_any_more_since_the_freeze_is_left_out(
    seller: Seller, people: list[Person], tmp_path: Path
) -> None:
    deal = await sold(seller, cohort=OPT_IN)
    stay = dict(zip(SINCE, people, strict=False))
    for why, person in stay.items():
        await SINCE[why][0](seller, person)
    await seller.floor.drain()
    package = await received(seller, deal, tmp_path)
    omitted = await seller.rows(
        select(transfer_customer.c.customer_id, transfer_omission.c.reason)
        .join(transfer_omission, transfer_omission.c.record_id == transfer_customer.c.id)
        .where(transfer_customer.c.transfer_id == deal.id)
    )
    found = {row.customer_id: row.reason for row in omitted}
    assert [found.get(one.customer_id) for one in people] == [*(SINCE[why][1] for why in stay), None, None]
    assert sum(package["cohorts"][0]["leftOut"].values()) == len(omitted)
    gone = {one["contacts"]["emails"][0]["address"] for one in lines(tmp_path, "customers-*.ndjson")}
    assert not gone & {one.email for one in stay.values()}
    assert gone >= {one.email for one in people[len(stay) :]}
