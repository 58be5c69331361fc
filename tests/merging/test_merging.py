"""Merging two records of one customer, and taking them apart again."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select, update

from cdp.access.scopes import STAFF_SCOPES
from cdp.access.viewer import MissingScope, StepUpRequired, Viewer
from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import new_id
from cdp.operations.collection import CustomerFrozen, StaleVersion
from cdp.operations.merging import places, safety, states
from cdp.operations.merging.places import CONTACTS, FLEETING, OF_ONE_RECORD, SIGN_IN
from cdp.operations.profile import consents, contacts
from cdp.operations.profile.contact_values import EmailValue
from cdp.operations.secrets.places import places as sealed_places
from cdp.tables.account import account, session
from cdp.tables.base import Category
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerKind, CustomerStatus, IdentityType, customer, identity
from cdp.tables.datamap import categories, personal_tables
from cdp.tables.event import device, event
from cdp.tables.inquiry import InquiryKind, inquiry
from cdp.tables.merge import MergeStatus, customer_merge, customer_merge_row
from cdp.tables.oauth import oauth_grant, oauth_token
from cdp.tables.order import sales_order
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from cdp.tables.second_factor import totp
from cdp.tables.sharing import OrderStatus, legal_order
from cdp.tables.transfer import transfer, transfer_customer
from tests.connectors.filling import fill
from tests.holds.desk import staffed
from tests.merging.desk import Desk, rows
from tests.population import NOW, Person, audited, make_person, picture
from tests.requests.test_casework import hire

PURPOSE = "promotions"


async def three(desk: Desk) -> tuple[Person, Person, Person]:
    db = desk.engine.platform.db
    return await make_person(db), await make_person(db), await make_person(db)


async def run(desk: Desk, *statements: Any) -> None:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        for statement in statements:
            await tx.execute(statement)


async def read(desk: Desk, statement: Any) -> list[Any]:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        return [row[0] for row in await tx.all(statement)]


def mine(table: Table, person: Person) -> Any:
    return table.c.customer_id == person.customer_id


async def _filled(desk: Desk, *people: Person) -> None:
    """Give everybody a row in every personal table, none of which is under way."""
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        for person in people:
            await fill(tx, person)
        await tx.execute(update(privacy_request).values(status=RequestStatus.CANCELLED))
        await tx.execute(update(legal_order).values(status=OrderStatus.DISCLOSED))
        await tx.execute(update(customer_merge).values(status=MergeStatus.UNDONE))
        await tx.execute(update(customer).values(restricted_at=None))
        for table in FLEETING:
            await tx.execute(table.delete())


async def test_a_merge_taken_apart_leaves_both_as_they_were_table_by_table(desk: Desk) -> None:
    db = desk.engine.platform.db
    ada, twin, bystander = await three(desk)
    await _filled(desk, ada, twin, bystander)
    async with db.transaction(Role.WORKER) as tx:  # the same preference, said differently
        key = await tx.scalar(select(preference.c.key).where(mine(preference, ada)))
        await tx.execute(update(preference).where(mine(preference, twin)).values(key=key, value="other"))
    before = [rows(await picture(db, one)) for one in (ada, twin, bystander)]
    assert set(before[1]) >= {table.name for table in personal_tables()} - {t.name for t in FLEETING} - {
        "audit_note",
        "customer_merge",
        "customer_merge_row",
    }
    merge_id = await desk.merged(ada, twin)
    assert not await desk.is_there(twin)
    merge = await desk.row(merge_id)
    assert merge.status is MergeStatus.MERGED
    assert merge.counts["parked"].keys() >= {"account", "totp", "passkey", "preference", "shared_link", "customer"}
    assert rows(await picture(db, twin)) == {"customer": []}
    assert rows(await picture(db, bystander)) == before[2]
    await desk.unmerge(merge_id)
    assert (await desk.row(merge_id)).status is MergeStatus.UNDONE
    assert [rows(await picture(db, one)) for one in (ada, twin, bystander)] == before
    assert await read(desk, select(customer_merge_row.c.id).where(customer_merge_row.c.merge_id == merge_id)) == []
    assert {"customer.merge_proposed", "customer.merged", "customer.unmerged"} <= set(await audited(db, ada))
    assert {"customer.merged", "customer.unmerged"} <= set(await audited(db, twin))


async def test_every_way_to_sign_in_has_its_place() -> None:
    """A new table of what opens a sign-in would move onto somebody else: it has to be thought about."""
    thought_about = SIGN_IN | FLEETING | OF_ONE_RECORD | {oauth_grant, oauth_token}
    tables = {table for table in personal_tables() if categories(table) <= {Category.ACCOUNT} and table.name != "role"}
    secret = {
        table
        for table in personal_tables()
        if any(name.endswith(("_hash", "_sealed")) for name in table.columns.keys())  # noqa: SIM118  # names
    }
    others = {"privacy_request", "manual_task", "customer_merge_row", "request_proof"}
    strange = {
        table.name
        for table in (tables | secret) - thought_about
        if table.name not in others and Category.ACCOUNT in categories(table)
    }
    assert strange == set()
    assert {table.name for table in CONTACTS} == {"email_address", "phone_number", "postal_address"}
    assert places.sealed_column(totp) == ("secret_sealed", "totp:{id}")


async def test_who_may_and_who_may_not(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    old = replace(desk.first, authenticated_at=desk.engine.platform.clock() - timedelta(days=1))
    with pytest.raises(StepUpRequired):
        await desk.merge(ada, twin, old)
    for role in ("analyst", "administrator"):
        with pytest.raises(states.MergeRoleNeeded):
            await desk.merge(ada, twin, await hire(desk.engine, role))
    with pytest.raises(MissingScope):
        await desk.merge(ada, twin, replace(desk.first, scopes=STAFF_SCOPES - {"customers:merge"}))
    with pytest.raises(MissingScope):
        await desk.merge(ada, twin, desk.engine.viewer(ada))
    # Both can sign in, so that one person does not decide it.
    proposed = await desk.merge(ada, twin)
    with pytest.raises(states.SecondPersonNeeded):
        await desk.merge(ada, twin)
    assert await desk.merge(ada, twin, desk.agent) == proposed
    assert (await desk.row(proposed)).status is MergeStatus.PROPOSED
    assert await desk.is_there(twin)
    assert await desk.merge(ada, twin, desk.second) == proposed
    with pytest.raises(states.MergeRoleNeeded):
        await desk.unmerge(proposed, desk.agent)
    with pytest.raises(StaleVersion):
        await desk.unmerge(proposed, expected_version=1)
    await desk.unmerge(proposed, expected_version=2)
    with pytest.raises(states.MergeMoved):
        await desk.unmerge(proposed)
    with pytest.raises(states.MergeMissing):
        await desk.unmerge(new_id())


async def test_one_is_enough_where_no_sign_in_shows_a_stranger(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    await desk.without_account(twin)
    alone = await desk.merge(ada, twin)
    assert (await desk.row(alone)).status is MergeStatus.PROPOSED
    await desk.unmerge(alone, desk.agent)
    assert (await desk.row(alone)).status is MergeStatus.WITHDRAWN
    await desk.same_email(ada, twin)
    proven = await desk.merge(ada, twin)
    assert (await desk.row(proven)).status is MergeStatus.MERGED
    assert await read(desk, select(func.count()).where(mine(email_address, ada))) == [1]


async def test_what_is_wrong_with_the_question(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    for changes, wrong in (
        ({"drop": ada.customer_id}, states.MergeWithItself),
        ({"drop": new_id()}, NotFound),
        ({"reason": "x" * 2001}, InvalidInput),
        ({"keep_version": 9}, StaleVersion),
        ({"drop_version": 9}, StaleVersion),
    ):
        with pytest.raises(wrong):
            await desk.merge(ada, twin, **changes)
    assert await desk.is_there(twin)


async def test_what_is_under_way_ends_first(desk: Desk) -> None:
    engine = desk.engine
    ada = await make_person(engine.platform.db)
    holders = await staffed(engine)

    async def held(person: Person) -> None:
        await holders.place(person, Category.ORDER)

    async def asked(person: Person) -> None:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await fill(tx, person)
            await tx.execute(update(legal_order).values(status=OrderStatus.DISCLOSED))

    async def ordered(person: Person) -> None:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await fill(tx, person)
            await tx.execute(update(privacy_request).values(status=RequestStatus.CANCELLED))

    async def sold(person: Person) -> None:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await fill(tx, person)
            await tx.execute(update(privacy_request).values(status=RequestStatus.CANCELLED))
            await tx.execute(update(legal_order).values(status=OrderStatus.DISCLOSED))
            named = select(transfer_customer.c.transfer_id).where(mine(transfer_customer, person))
            await tx.execute(update(transfer).where(transfer.c.id.in_(named)).values(status="frozen"))

    async def changed(person: Person, **values: object) -> None:
        await run(desk, update(customer).where(customer.c.id == person.customer_id).values(**values))

    cases: list[tuple[Any, type[Conflict]]] = [
        (held, safety.MergeHeld),
        (asked, safety.MergeRequestOpen),
        (ordered, safety.MergeHeld),
        (sold, safety.MergeInTransfer),
        (lambda one: changed(one, status=CustomerStatus.FROZEN), CustomerFrozen),
        (lambda one: changed(one, restricted_at=func.now()), safety.MergeRestricted),
        (lambda one: changed(one, kind=CustomerKind.ORGANISATION), safety.MergeKindsDiffer),
    ]
    for prepare, problem in cases:
        twin = await make_person(engine.platform.db)
        await prepare(twin)
        with pytest.raises(problem):
            await desk.merge(ada, twin)
        with pytest.raises(problem):
            await desk.merge(twin, ada)
        assert await desk.is_there(twin)


async def _say(desk: Desk, person: Person, channel: Channel, action: ConsentAction) -> None:
    said = {
        "purpose": PURPOSE,
        "channel": channel,
        "action": action,
        "wording": "w",
        "recorded_at": func.clock_timestamp(),
    }
    await run(desk, insert(consent).values(id=new_id(), **person.origin, **said))


async def _stands(desk: Desk, person: Person) -> dict[str, str]:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            select(consent.c.channel, consent.c.action)
            .where(mine(consent, person), consent.c.purpose == PURPOSE)
            .distinct(consent.c.channel)
            .order_by(consent.c.channel, consent.c.recorded_at.desc())
        )
    return {row.channel.value: row.action.value for row in found}


async def test_the_more_restrictive_consent_wins_and_a_withdrawal_outlives_the_split(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    await _say(desk, ada, Channel.SMS, ConsentAction.WITHDRAWN)
    await _say(desk, twin, Channel.SMS, ConsentAction.GIVEN)
    await _say(desk, twin, Channel.PHONE, ConsentAction.GIVEN)
    await _say(desk, twin, Channel.POST, ConsentAction.GIVEN)
    before = [await _stands(desk, ada), await _stands(desk, twin)]
    merge_id = await desk.merged(ada, twin)
    together = await _stands(desk, ada)
    assert together["sms"] == "withdrawn"
    assert together["phone"] == together["post"] == "given"
    viewer = desk.engine.viewer(ada)
    async with desk.engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
        await consents.withdraw(tx, viewer, PURPOSE, channel=Channel.PHONE, wording=None, now=NOW)
        await consents.give(tx, viewer, PURPOSE, channel=Channel.SMS, wording="Yes after all.", now=NOW)
    await desk.unmerge(merge_id)
    after = [await _stands(desk, ada), await _stands(desk, twin)]
    assert after[0] == {**before[0], "phone": "withdrawn", "sms": "given"}
    assert after[1] == {**before[1], "phone": "withdrawn"}


async def test_what_came_in_meanwhile_goes_by_its_identity_with_its_family(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    merge_id = await desk.merged(ada, twin)
    theirs = {**twin.origin, "customer_id": ada.customer_id}
    asked = {"kind": InquiryKind.PRODUCT, "subject": "s", "body": "b", "received_at": NOW}
    device_id, ours, by_them = new_id(), new_id(), new_id()
    await run(
        desk,
        insert(inquiry).values(id=by_them, **theirs, **asked),
        insert(inquiry).values(id=ours, **ada.origin, **asked),
        insert(identity).values(id=new_id(), **theirs, type=IdentityType.COOKIE, value=f"c-{device_id}"),
        # A device that one of them brought, and an event on it that says it came by the other one.
        insert(device).values(id=device_id, **theirs, kind="mobile", first_seen_at=NOW, last_seen_at=NOW),
        insert(event).values(id=new_id(), **ada.origin, device_id=device_id, type="page", page="/", occurred_at=NOW),
    )
    async with desk.engine.platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
        viewer, clock = desk.engine.viewer(ada), desk.engine.platform.clock()
        contact = contacts.Contact(contacts.ContactKind.EMAIL, twin.email_id)
        changed = EmailValue(f"new.{twin.email}")
        await contacts.update_contact(tx, viewer, contact, changed, now=clock, max_age_s=300)
    await desk.unmerge(merge_id)
    assert await read(desk, select(inquiry.c.id).where(mine(inquiry, twin), inquiry.c.id == by_them)) == [by_them]
    assert await read(desk, select(inquiry.c.id).where(mine(inquiry, ada), inquiry.c.id == ours)) == [ours]
    assert await read(desk, select(event.c.customer_id).where(event.c.device_id == device_id)) == [twin.customer_id]
    # What was changed stays changed, and nothing of one hangs on the other: both can be erased by themselves.
    assert await read(desk, select(email_address.c.normalized).where(mine(email_address, twin))) == [
        f"new.{twin.email}"
    ]
    opened = await desk.engine.open_erasure(ada)
    await desk.engine.work()
    await desk.engine.closed(opened.reference)
    assert not await desk.is_there(ada)
    assert await desk.is_there(twin)


async def test_the_dropped_sign_in_is_closed_and_comes_back_sealed_as_it_was(desk: Desk) -> None:
    engine = desk.engine
    ada, twin, _ = await three(desk)
    secret_id, sealer = new_id(), engine.platform.sealer
    sealed = sealer.seal(b"seed", f"totp:{secret_id}")
    live = {"token_hash": b"s" * 32, "authenticated_at": NOW, "expires_at": NOW + timedelta(days=9999)}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        account_id = await tx.scalar(select(account.c.id).where(mine(account, twin)))
        own = {"customer_id": twin.customer_id}
        await tx.execute(insert(totp).values(id=secret_id, **own, secret_sealed=sealed, last_step=1))
        await tx.execute(insert(session).values(id=new_id(), **own, account_id=account_id, **live))
    merge_id = await desk.merged(ada, twin)
    assert await read(desk, select(account.c.id).where(account.c.id == account_id)) == []
    assert await read(desk, select(session.c.id).where(session.c.token_hash == live["token_hash"])) == []
    place = next(one for one in sealed_places() if one.table is customer_merge_row)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        kept = customer_merge_row.c.kept_sealed.is_not(None) & (customer_merge_row.c.row_id == secret_id)
        line = (await tx.execute(select(customer_merge_row).where(kept))).mappings().one()
    assert sealer.open(line["kept_sealed"], place.context_of(line)) == b"seed"
    assert "secret_sealed" not in line["kept"]
    # Rotation seals it anew where it lies.
    again = sealer.seal(b"seed", f"totp:{secret_id}")
    await run(desk, update(customer_merge_row).where(kept).values(kept_sealed=again))
    await desk.unmerge(merge_id)
    [back] = await read(desk, select(totp.c.secret_sealed).where(totp.c.id == secret_id))
    assert sealer.open(back, f"totp:{secret_id}") == b"seed"
    assert await read(desk, select(account.c.customer_id).where(account.c.id == account_id)) == [twin.customer_id]
    [revoked] = await read(desk, select(session.c.revoked_at).where(session.c.token_hash == live["token_hash"]))
    assert revoked is not None


async def test_a_name_taken_meanwhile_refuses_and_changes_nothing(desk: Desk) -> None:
    ada, twin, other = await three(desk)
    db = desk.engine.platform.db
    [name] = await read(desk, select(account.c.username).where(mine(account, twin)))
    merge_id = await desk.merged(ada, twin)
    await run(desk, update(account).where(mine(account, other)).values(username=name))
    before = [rows(await picture(db, one)) for one in (ada, twin, other)]
    with pytest.raises(states.MergeNotReversible):
        await desk.unmerge(merge_id)
    assert [rows(await picture(db, one)) for one in (ada, twin, other)] == before
    assert (await desk.row(merge_id)).status is MergeStatus.MERGED


async def test_merges_on_merges_come_apart_in_their_order(desk: Desk) -> None:
    db = desk.engine.platform.db
    ada, twin, third = await three(desk)
    before = [rows(await picture(db, one)) for one in (ada, twin, third)]
    inner = await desk.merged(twin, third)
    outer = await desk.merged(ada, twin)
    with pytest.raises(states.MergedFurther):
        await desk.unmerge(inner)
    await desk.unmerge(outer)
    await desk.unmerge(inner)
    assert [rows(await picture(db, one)) for one in (ada, twin, third)] == before


async def test_two_merges_in_opposite_directions_end_as_one(desk: Desk) -> None:
    ada, twin, _ = await three(desk)
    await desk.merge(ada, twin, desk.agent)
    await desk.merge(twin, ada, desk.agent)

    async def attempt(keep: Person, drop: Person, viewer: Viewer) -> object:
        try:
            return await desk.merge(keep, drop, viewer)
        except NotFound as error:
            return error

    answers = await asyncio.gather(attempt(ada, twin, desk.first), attempt(twin, ada, desk.second))
    assert sum(isinstance(one, NotFound) for one in answers) == 1
    assert [await desk.is_there(ada), await desk.is_there(twin)].count(True) == 1
    merged = select(customer_merge.c.id).where(customer_merge.c.status == MergeStatus.MERGED)
    assert len(await read(desk, merged)) == 1
    assert len(await read(desk, select(sales_order.c.id))) == 3


async def test_an_erasure_asked_for_while_it_is_decided_wins(desk: Desk) -> None:
    """Both lock the customer: whoever comes second sees the other."""
    ada, twin, _ = await three(desk)
    merge_id = await desk.merged(ada, twin)
    opened = await desk.engine.open_erasure(ada)
    with pytest.raises((safety.MergeRequestOpen, CustomerFrozen)):
        await desk.unmerge(merge_id)
    await desk.engine.work()
    await desk.engine.closed(opened.reference)
    with pytest.raises(states.MergeMissing):
        await desk.unmerge(merge_id)
    erasures = select(privacy_request.c.status).where(privacy_request.c.type == RequestType.ERASURE)
    assert await read(desk, erasures) == [RequestStatus.COMPLETED]
