"""Profile writes: one's own rows under a lock, with version, provenance and audit; nobody else's are touched."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from cdp.access.viewer import ANONYMOUS, Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.errors import InvalidInput, NotFound, PlatformError, StepUpRequired, Unauthenticated
from cdp.operations import values
from cdp.operations.collection import CustomerFrozen, StaleVersion
from cdp.operations.profile import consents, contacts, inquiries, preferences
from cdp.operations.profile.contact_values import AddressValue, ContactKind, EmailValue, PhoneValue
from cdp.operations.profile.contacts import Contact
from cdp.operations.profile.profiles import NothingToChange, ProfileChange, update_profile
from cdp.tables.consent import Channel, ConsentAction, consent, preference
from cdp.tables.contact import AddressKind, PhoneKind, email_address, phone_number
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.inquiry import InquiryKind, inquiry
from cdp.tables.policy import CollectionPoint, collection
from tests.population import LONG_AGO, NOW, Person, audited, make_person, picture

Write = Callable[[Tx, Viewer, Person], Awaitable[Any]]
FRESH = {"now": NOW, "max_age_s": 600}


def _email(person: Person) -> Contact:
    return Contact(ContactKind.EMAIL, person.email_id)


def _phone(person: Person) -> Contact:
    return Contact(ContactKind.PHONE, person.phone_id)


# Every write, as done by a viewer to the rows of a person; and what the audit log says of it.
WRITES: dict[str, Write] = {
    "customer.updated": lambda tx, viewer, _: update_profile(tx, viewer, ProfileChange(given_name="Eve"), now=NOW),
    "contact.added": lambda tx, viewer, _: contacts.add_contact(tx, viewer, EmailValue("new@example.com"), **FRESH),
    "contact.updated": lambda tx, viewer, person: contacts.update_contact(
        tx, viewer, _phone(person), PhoneValue("+49 30 901820"), **FRESH
    ),
    "contact.removed": lambda tx, viewer, person: contacts.remove_contact(tx, viewer, _phone(person), **FRESH),
    "preference.set": lambda tx, viewer, _: preferences.set_preferences(tx, viewer, {"theme": "light"}, now=NOW),
    "consent.given": lambda tx, viewer, _: consents.give(
        tx, viewer, "promotions", channel=Channel.SMS, wording="Yes.", now=NOW
    ),
    "consent.withdrawn": lambda tx, viewer, _: consents.withdraw(
        tx, viewer, "promotions", channel=Channel.EMAIL, wording=None, now=NOW
    ),
    "inquiry.submitted": lambda tx, viewer, _: inquiries.submit_inquiry(
        tx, viewer, InquiryKind.SERVICE, subject="Repair", body="It squeaks.\nOften.", now=NOW
    ),
    "survey.submitted": lambda tx, viewer, _: inquiries.submit_survey(
        tx, viewer, "welcome", answers={"how": "well"}, now=NOW
    ),
}
ABOUT_ONE_ROW = ("contact.updated", "contact.removed")


@pytest.fixture
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture
async def bystander(db: Database) -> AsyncIterator[Person]:
    """Somebody else: whatever the test does, nothing about them changes."""
    somebody = await make_person(db, given_name="Grace")
    before = await picture(db, somebody)
    yield somebody
    assert await picture(db, somebody) == before


async def do(db: Database, write: Write, person: Person, *, viewer: Viewer | None = None) -> Any:
    """Run one write in a transaction of its viewer, as every edge does."""
    who = viewer or person.viewer()
    async with db.transaction(who.role, subject=who.customer_id) as tx:
        return await write(tx, who, person)


async def rows(db: Database, table: Any, person: Person) -> list[Any]:
    async with db.transaction(Role.WORKER) as tx:
        return list(await tx.all(select(table).where(table.c.customer_id == person.customer_id).order_by(table.c.id)))


async def freeze(db: Database, person: Person) -> None:
    async with db.transaction(Role.WORKER) as tx:
        mine = customer.c.id == person.customer_id
        await tx.execute(update(customer).where(mine).values(status=CustomerStatus.FROZEN))


@pytest.mark.parametrize("action", WRITES)
async def test_every_write_is_audited_and_leaves_others_alone(
    db: Database, person: Person, bystander: Person, action: str
):
    await do(db, WRITES[action], person)
    assert await audited(db, person) == [action]


@pytest.mark.parametrize("action", WRITES)
async def test_a_frozen_customer_changes_nothing(db: Database, person: Person, action: str):
    await freeze(db, person)
    before = await picture(db, person)
    with pytest.raises(CustomerFrozen):
        await do(db, WRITES[action], person)
    assert await picture(db, person) == before


@pytest.mark.parametrize("action", WRITES)
async def test_nobody_writes_without_signing_in(db: Database, person: Person, action: str):
    with pytest.raises(Unauthenticated):
        await do(db, WRITES[action], person, viewer=ANONYMOUS)


@pytest.mark.parametrize("action", ABOUT_ONE_ROW)
async def test_the_row_of_somebody_else_is_not_there(db: Database, person: Person, bystander: Person, action: str):
    with pytest.raises(NotFound):
        await do(db, WRITES[action], bystander, viewer=person.viewer())
    assert await audited(db, person) == []


async def test_row_level_security_stops_a_write_the_code_would_let_through(
    db: Database, person: Person, bystander: Person
):
    async with db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        done = await tx.execute(update(customer).values(given_name="Everybody"))
        assert done.rowcount == 1
        done = await tx.execute(email_address.delete().where(email_address.c.id == bystander.email_id))
        assert done.rowcount == 0


async def test_profile_fields_are_normalised_and_versioned(db: Database, person: Person, bystander: Person):
    change = ProfileChange(given_name=" Zoë ", family_name=None, country="at", locale="de-AT")
    await do(db, lambda tx, viewer, _: update_profile(tx, viewer, change, now=NOW, expected_version=1), person)
    async with db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(customer).where(customer.c.id == person.customer_id))
        origin = await tx.first(select(collection).where(collection.c.id == row.collection_id))
    assert (row.given_name, row.family_name, row.country, row.locale, row.version) == ("Zoë", None, "AT", "de-AT", 2)
    assert (origin.point, origin.source) == (CollectionPoint.ACCOUNT_PAGE, "client:tests")
    assert origin.collected_at == NOW


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (ProfileChange(), NothingToChange),
        (ProfileChange(country="XX"), values.InvalidCountry),
        (ProfileChange(locale="klingon"), values.InvalidLocale),
        (ProfileChange(given_name="x" * 101), values.InvalidText),
        (ProfileChange(given_name="a\x00b"), values.InvalidText),
        (ProfileChange(given_name="a\ud800b"), values.InvalidText),
        (ProfileChange(family_name="two\nlines"), values.InvalidText),
    ],
)
async def test_bad_profile_values_are_refused_by_name(
    db: Database, person: Person, change: ProfileChange, refusal: type[PlatformError]
):
    before = await picture(db, person)
    with pytest.raises(refusal):
        await do(db, lambda tx, viewer, _: update_profile(tx, viewer, change, now=NOW), person)
    assert await picture(db, person) == before


async def test_of_two_writers_who_read_the_same_version_one_wins(db: Database, person: Person):
    def rename(name: str) -> Write:
        change = ProfileChange(given_name=name)
        return lambda tx, viewer, _: update_profile(tx, viewer, change, now=NOW, expected_version=1)

    done = await asyncio.gather(*(do(db, rename(name), person) for name in "ABCD"), return_exceptions=True)
    refused = [outcome for outcome in done if isinstance(outcome, StaleVersion)]
    assert len(refused) == 3
    assert refused[0].extensions == {"currentVersion": 2}


async def test_emails_are_added_unproven_and_once(db: Database, person: Person, bystander: Person):
    def add(address: str, *, primary: bool = False) -> Write:
        return lambda tx, viewer, _: contacts.add_contact(tx, viewer, EmailValue(address), primary=primary, **FRESH)

    added = await do(db, add("Second@EXAMPLE.com"), person)
    found = {row.id: row for row in await rows(db, email_address, person)}
    assert (found[added.id].address, found[added.id].normalized) == ("Second@example.com", "second@example.com")
    assert (found[added.id].verified_at, found[added.id].is_primary) == (None, False)
    for refused, error in [
        (add("second@example.com"), contacts.ContactExists),
        (add("nobody@nowhere"), values.InvalidEmail),
        (add("third@example.com", primary=True), contacts.UnprovenEmail),
    ]:
        with pytest.raises(error):
            await do(db, refused, person)
    assert await rows(db, email_address, person) == list(found.values())
    # The same address may belong to somebody else too; whether it does is not told.
    await do(db, add(bystander.email), person)


async def test_phones_are_read_with_the_customers_country(db: Database, person: Person):
    add = contacts.add_contact
    one = await do(db, lambda tx, viewer, _: add(tx, viewer, PhoneValue("030 901820"), **FRESH), person)
    fax = PhoneValue("01 4000", country="AT", kind=PhoneKind.FAX)
    two = await do(db, lambda tx, viewer, _: add(tx, viewer, fax, **FRESH), person)
    found = {row.id: (row.e164, row.kind) for row in await rows(db, phone_number, person)}
    assert found[one.id] == ("+4930901820", PhoneKind.LANDLINE)
    assert found[two.id] == ("+4314000", PhoneKind.FAX)
    nowhere = await make_person(db, country=None)
    with pytest.raises(values.InvalidPhone):
        await do(db, lambda tx, viewer, _: add(tx, viewer, PhoneValue("030 901820"), **FRESH), nowhere)


async def test_the_primary_goes_to_the_oldest_proven_one(db: Database, person: Person):
    add, numbers = contacts.add_contact, ("+49 30 901821", "+49 30 901822")
    unproven, proven = [
        await do(db, lambda tx, viewer, _, n=number: add(tx, viewer, PhoneValue(n), **FRESH), person)
        for number in numbers
    ]
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(update(phone_number).where(phone_number.c.id == proven.id).values(verified_at=LONG_AGO))
    await do(db, lambda tx, viewer, p: contacts.remove_contact(tx, viewer, _phone(p), **FRESH), person)
    assert [row.id for row in await rows(db, phone_number, person) if row.is_primary] == [proven.id]
    await do(db, lambda tx, viewer, _: contacts.set_primary_contact(tx, viewer, unproven, **FRESH), person)
    await do(db, lambda tx, viewer, _: contacts.set_primary_contact(tx, viewer, unproven, **FRESH), person)
    assert [row.id for row in await rows(db, phone_number, person) if row.is_primary] == [unproven.id]
    assert (await audited(db, person)).count("contact.primary_changed") == 1


async def test_the_last_proven_email_of_an_account_stays(db: Database, person: Person):
    added = await do(
        db, lambda tx, viewer, _: contacts.add_contact(tx, viewer, EmailValue("b@example.com"), **FRESH), person
    )
    with pytest.raises(contacts.LastEmail):
        await do(db, lambda tx, viewer, p: contacts.remove_contact(tx, viewer, _email(p), **FRESH), person)
    with pytest.raises(contacts.UnprovenEmail):
        await do(db, lambda tx, viewer, _: contacts.set_primary_contact(tx, viewer, added, **FRESH), person)
    changed = EmailValue("c@example.com")
    with pytest.raises(contacts.UnprovenEmail):
        await do(db, lambda tx, viewer, p: contacts.update_contact(tx, viewer, _email(p), changed, **FRESH), person)
    await do(db, lambda tx, viewer, _: contacts.update_contact(tx, viewer, added, changed, **FRESH), person)
    await do(db, lambda tx, viewer, _: contacts.remove_contact(tx, viewer, added, **FRESH), person)


async def test_changing_where_mail_goes_needs_a_fresh_sign_in(db: Database, person: Person):
    added = await do(
        db, lambda tx, viewer, _: contacts.add_contact(tx, viewer, EmailValue("b@example.com"), **FRESH), person
    )
    stale = person.viewer(authenticated_at=LONG_AGO)
    for write in (
        lambda tx, viewer, _: contacts.remove_contact(tx, viewer, added, **FRESH),
        lambda tx, viewer, _: contacts.set_primary_contact(tx, viewer, added, **FRESH),
        lambda tx, viewer, _: contacts.update_contact(tx, viewer, added, EmailValue("c@example.com"), **FRESH),
    ):
        with pytest.raises(StepUpRequired) as refused:
            await do(db, write, person, viewer=stale)
        assert refused.value.extensions["max_age"] == 600
        await_fresh = await rows(db, email_address, person)
        assert added.id in {row.id for row in await_fresh}


async def test_a_changed_contact_is_unproven_again_and_an_equal_one_is_not(db: Database, person: Person):
    street = AddressValue(AddressKind.WORK, line1="Lane 2", city="Graz", country="at")
    at = Contact(ContactKind.ADDRESS, person.address_id)
    await do(db, lambda tx, viewer, _: contacts.update_contact(tx, viewer, at, street, **FRESH), person)
    with pytest.raises(contacts.OtherKind):
        await do(db, lambda tx, viewer, p: contacts.update_contact(tx, viewer, _email(p), street, **FRESH), person)
    [number] = await rows(db, phone_number, person)
    same = PhoneValue(number.number, kind=PhoneKind.FAX)
    update_phone = contacts.update_contact
    await do(db, lambda tx, viewer, p: update_phone(tx, viewer, _phone(p), same, expected_version=1, **FRESH), person)
    [number] = await rows(db, phone_number, person)
    assert (number.verified_at, number.kind, number.version) == (LONG_AGO, PhoneKind.FAX, 2)
    with pytest.raises(StaleVersion):
        await do(
            db, lambda tx, viewer, p: update_phone(tx, viewer, _phone(p), same, expected_version=1, **FRESH), person
        )


async def test_there_is_an_end_to_contacts(db: Database, person: Person):
    def add(number: int) -> Write:
        value = AddressValue(AddressKind.SHIPPING, line1=f"Street {number}")
        return lambda tx, viewer, _: contacts.add_contact(tx, viewer, value, **FRESH)

    for number in range(contacts.MOST_OF_A_KIND - 1):
        await do(db, add(number), person)
    with pytest.raises(contacts.TooManyContacts):
        await do(db, add(99), person)


async def test_preferences_are_set_replaced_and_removed(db: Database, person: Person, bystander: Person):
    async def put(**choices: Any) -> dict[str, Any]:
        await do(db, lambda tx, viewer, _: preferences.set_preferences(tx, viewer, choices, now=NOW), person)
        return {row.key: (row.value, row.version) for row in await rows(db, preference, person)}

    assert await put(theme={"dark": True}, rhythm=7) == {"theme": ({"dark": True}, 2), "rhythm": (7, 1)}
    assert await put(theme=None, rhythm=False) == {"rhythm": (False, 2)}
    for bad in ({"Bad Key": 1}, {"a": "x" * 5000}, {"a": float("nan")}, {"a": "\x00"}, {"a": "\ud800"}, {}):
        with pytest.raises(preferences.InvalidPreference):
            await put(**bad)
    with pytest.raises(preferences.TooManyPreferences):
        await put(**{f"k{number}": number for number in range(preferences.MOST + 1)})


async def test_the_newest_consent_decides_whatever_the_order_of_arrival(
    db: Database, person: Person, bystander: Person
):
    """The first transaction begins first and gets the lock last; what it writes is still the newest."""
    began, viewer = asyncio.Event(), person.viewer()

    async def late() -> None:
        async with db.transaction(viewer.role, subject=viewer.customer_id) as tx:
            await tx.scalar(select(1))
            began.set()
            await asyncio.sleep(0.05)
            await consents.withdraw(tx, viewer, "information", channel=Channel.EMAIL, wording="No more.", now=NOW)

    task = asyncio.create_task(late())
    await began.wait()
    await do(
        db,
        lambda tx, viewer, _: consents.give(tx, viewer, "information", channel=Channel.EMAIL, wording="Yes.", now=NOW),
        person,
    )
    await task
    ledger = [row for row in await rows(db, consent, person) if row.purpose == "information"]
    newest = max(ledger, key=lambda row: (row.recorded_at, row.id))
    assert (newest.action, newest.wording, len(ledger)) == (ConsentAction.WITHDRAWN, "No more.", 2)


@pytest.mark.parametrize(
    ("purpose", "wording", "refusal"),
    [
        ("nothing", "Yes.", consents.UnknownPurpose),
        ("a\x00b", "Yes.", values.InvalidText),
        ("orders", "Yes.", consents.ConsentNotAsked),
        ("promotions", " ", values.InvalidText),
    ],
)
async def test_a_consent_names_a_purpose_that_asks_for_it(
    db: Database, person: Person, purpose: str, wording: str, refusal: type[PlatformError]
):
    with pytest.raises(refusal):
        await do(
            db,
            lambda tx, viewer, _: consents.give(tx, viewer, purpose, channel=Channel.ANY, wording=wording, now=NOW),
            person,
        )


async def test_inquiries_and_surveys_name_their_collection_point(db: Database, person: Person):
    for action in ("inquiry.submitted", "survey.submitted"):
        await do(db, WRITES[action], person)
    points = [row.point for row in await rows(db, collection, person)]
    assert points == [CollectionPoint.REGISTRATION, CollectionPoint.INQUIRY, CollectionPoint.SURVEY]
    with pytest.raises(InvalidInput):
        await do(db, lambda tx, viewer, _: inquiries.submit_survey(tx, viewer, "s", answers={}, now=NOW), person)
    for _ in range(inquiries.MOST_OPEN - 2):
        await do(db, WRITES["inquiry.submitted"], person)
    with pytest.raises(inquiries.TooManyInquiries):
        await do(db, WRITES["inquiry.submitted"], person)
    assert len(await rows(db, inquiry, person)) == inquiries.MOST_OPEN
