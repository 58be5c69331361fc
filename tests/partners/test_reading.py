"""A partner reads what its grant names, of whom it covers and who agrees; each of them sees that it did."""

from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import func, insert, select, update

from cdp.connectors.base import Identifier
from cdp.core.db import Role
from cdp.core.ids import RequestId, global_id
from cdp.core.platform import Platform
from cdp.operations import suppression
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.profile import contacts
from cdp.operations.profile.contact_values import ContactValue, EmailValue
from cdp.tables.audit import audit_event
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerSuppression, customer
from cdp.tables.hold import legal_hold
from cdp.tables.partner import PartnerFunction, disclosure, partner_grant
from cdp.tables.policy import LegalBasis
from cdp.tables.request import RequestStatus, RequestType, privacy_request
from tests.partners.conftest import NAMES, Desk
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask

PROFILE = "query($id: ID!) { customer(id: $id) { id givenName familyName country contacts { emails { address } } } }"


async def _disclosed(platform: Platform, person: Person) -> list[object]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(disclosure).where(disclosure.c.customer_id == person.customer_id)
        return list(await tx.all(mine.order_by(disclosure.c.id)))


async def test_it_reads_what_was_granted_and_the_customer_sees_it(desk: Desk, ask: Ask) -> None:
    platform = desk.platform
    ada, bystander = await make_person(platform.db), await make_person(platform.db)
    before = await picture(platform.db, bystander)
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    told = await party.ask(token, PROFILE, id=global_id("Customer", ada.customer_id))
    found = told["data"]["customer"]
    assert (found["givenName"], found["contacts"]["emails"]) == ("Ada", [{"address": ada.email}])
    assert found["country"] is None
    assert [(one["path"], one["extensions"]["code"]) for one in told["errors"]] == [
        (["customer", "country"], "OUTSIDE_GRANT")
    ]
    assert "withheld" not in told.get("extensions", {})
    shown = await ask(
        ada.viewer(),
        "{ viewer { customer { disclosures { nodes { recipient purpose legalBasis fields disclosedAt } } } } }",
    )
    (one,) = shown["data"]["viewer"]["customer"]["disclosures"]["nodes"]
    assert (one["recipient"], one["purpose"], one["legalBasis"]) == (party.name, "orders", "contract")
    assert one["fields"] == ["Customer.familyName", "Customer.givenName", "Customer.id", "EmailAddress.address"]
    assert await picture(platform.db, bystander) == before
    own = await party.ask(token, "{ disclosures { nodes { customerId purpose fields } } }")
    assert [node["customerId"] for node in own["data"]["disclosures"]["nodes"]] == [found["id"]]
    other = await desk.partner()
    nothing = await other.ask(await other.token(await desk.grant(other)), "{ disclosures { nodes { id } } }")
    assert nothing["data"]["disclosures"]["nodes"] == []


async def test_nothing_beyond_the_grant_is_read_filtered_or_counted(desk: Desk) -> None:
    ada, _ = await make_person(desk.platform.db), await make_person(desk.platform.db, country="LI")
    party = await desk.partner()
    shown = {"fields": frozenset({"Customer.givenName"}), "countries": frozenset({"LI"})}
    token = await party.token(await desk.grant(party, **shown))
    for query, code in (
        ('{ customers(filter: {email: {eq: "x@example.org"}}) { nodes { id } } }', "OUTSIDE_GRANT"),
        ("{ customers(orderBy: {field: NAME}) { nodes { id } } }", "OUTSIDE_GRANT"),
        ("{ customers(first: 1) { nodes { id account { username } } } }", "OUTSIDE_GRANT"),
        ("{ privacyRequests { nodes { id } } }", "OUTSIDE_GRANT"),
        ("{ auditEvents { nodes { id } } }", "OUTSIDE_GRANT"),
        ("{ partners { id } }", "OUTSIDE_GRANT"),
        (f'{{ node(id: "{global_id("EmailAddress", ada.email_id)}") {{ id }} }}', "OUTSIDE_GRANT"),
    ):
        told = await party.ask(token, query)
        assert {error["extensions"]["code"] for error in told["errors"]} == {code}, query
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        refused = select(audit_event.c.code).where(
            audit_event.c.client == party.credentials[0], audit_event.c.outcome == "refused"
        )
        assert {row.code for row in await tx.all(refused)} == {"OUTSIDE_GRANT"}
    assert await _disclosed(desk.platform, ada) == []


async def _withdraw(platform: Platform, ada: Person) -> None:
    await _decide(platform, ada, ConsentAction.WITHDRAWN)


async def _decide(platform: Platform, ada: Person, action: ConsentAction) -> None:
    values = {"purpose": "promotions", "channel": Channel.EMAIL, "action": action, "wording": "As you like."}
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(consent).values(**ada.origin, **values))


async def _mark(platform: Platform, ada: Person, **changes: object) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(customer).where(customer.c.id == ada.customer_id).values(**changes))


async def _restrict(platform: Platform, ada: Person) -> None:
    await _mark(platform, ada, restricted_at=func.now())


async def _freeze(platform: Platform, ada: Person) -> None:
    await _mark(platform, ada, status="frozen")


async def _erase(platform: Platform, ada: Person) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            insert(privacy_request).values(
                reference=f"ER-{ada.audit_ref.hex[-8:]}",
                customer_id=ada.customer_id,
                subject_ref=ada.audit_ref,
                type=RequestType.ERASURE,
                status=RequestStatus.CHECKING,
                channel="account_page",
                due_at=func.now(),
            )
        )


async def _hold(platform: Platform, ada: Person) -> None:
    values = {"customer_id": ada.customer_id, "subject_ref": ada.audit_ref, "category": "order", "reason": "A case."}
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(legal_hold).values(**values, review_at=func.now()))


async def _suppress(platform: Platform, ada: Person) -> None:
    """Somebody's request has put this address on the list, as one does who was erased and came back."""
    other = await make_person(platform.db, country="SM")
    await _erase(platform, other)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request.c.id).where(privacy_request.c.customer_id == other.customer_id)
        lines = suppression.entries(platform.pepper, [Identifier("email", ada.email)])
        await suppression.suppress(tx, {RequestId(await tx.scalar(mine)): lines})
        await suppression.doubt_holders(tx, [ada.email])
    await _look_up(platform)


async def _look_up(platform: Platform) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        while await suppression.look_up(tx, platform.pepper, limit=2):
            pass


async def _standing(platform: Platform, person: Person) -> object:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(customer.c.suppression).where(customer.c.id == person.customer_id))


WITHHELD = {
    "consent": _withdraw,
    "restriction": _restrict,
    "freeze": _freeze,
    "erasure": _erase,
    "hold": _hold,
    "suppression": _suppress,
}


@pytest.mark.parametrize("why", WITHHELD)
async def test_who_may_not_be_shown_is_withheld_and_counted(desk: Desk, why: str) -> None:
    platform = desk.platform
    ada, grace = await make_person(platform.db, country="LI"), await make_person(platform.db, country="LI")
    party = await desk.partner()
    changes = {"purposes": frozenset({"promotions"}), "legal_basis": LegalBasis.CONSENT, "countries": frozenset({"li"})}
    token = await party.token(await desk.grant(party, **changes), "promotions")
    one = {"id": global_id("Customer", ada.customer_id)}
    whole = "{ customers(first: 100) { totalCount nodes { id } pageInfo { hasNextPage } } }"
    before = await party.ask(token, whole)
    ids = {node["id"] for node in before["data"]["customers"]["nodes"]}
    assert {one["id"], global_id("Customer", grace.customer_id)} <= ids
    await WITHHELD[why](platform, ada)
    told = await party.ask(token, PROFILE, **one)
    assert (told["data"]["customer"], told["extensions"]["withheld"]) == (None, {"customer": 1})
    after = await party.ask(token, whole)
    assert {node["id"] for node in after["data"]["customers"]["nodes"]} == ids - {one["id"]}
    assert after["data"]["customers"]["totalCount"] == before["data"]["customers"]["totalCount"] - 1
    earlier = before.get("extensions", {}).get("withheld", {}).get("customers", 0)
    assert after["extensions"]["withheld"] == {"customers": earlier + 1}
    assert len(await _disclosed(platform, ada)) == 1, "shown once, before"
    assert len(await _disclosed(platform, grace)) == 2


async def test_who_has_a_new_contact_is_shown_once_it_has_been_looked_up(desk: Desk) -> None:
    platform = desk.platform
    ada, grace, bystander = [await make_person(platform.db) for _ in range(3)]
    await _suppress(platform, bystander)
    party = await desk.partner()
    token, one = await party.token(await desk.grant(party)), {"id": global_id("Customer", ada.customer_id)}

    async def is_shown() -> bool:
        told = await party.ask(token, PROFILE, **one)
        assert (told["data"]["customer"] is None) == (told.get("extensions", {}).get("withheld") == {"customer": 1})
        return told["data"]["customer"] is not None

    async def add(value: ContactValue) -> contacts.Contact:
        async with platform.db.transaction(Role.CUSTOMER, subject=ada.customer_id) as tx:
            now = platform.clock()
            viewer = replace(ada.viewer(), authenticated_at=now)
            return await contacts.add_contact(tx, viewer, value, now=now, max_age_s=300)

    assert await is_shown()
    await add(EmailValue(f"new-{ada.email}"))
    assert not await is_shown(), "not looked up yet"
    await _look_up(platform)
    assert await is_shown()
    # An address that another one's request has put on the list, claimed and not proven.
    await add(EmailValue(bystander.email))
    await _look_up(platform)
    assert await _standing(platform, ada) is CustomerSuppression.LISTED
    assert not await is_shown()
    async with platform.db.transaction(Role.WORKER) as tx:
        seen = audit_event.c.action == "suppression.noticed", audit_event.c.subject_ref == ada.audit_ref
        assert await tx.scalar(select(func.count()).select_from(audit_event).where(*seen)) == 1
        assert await suppression.lift(tx, platform, "email", bystander.email, now=platform.clock()) == 1
    await _look_up(platform)
    assert await is_shown()
    assert await _standing(platform, bystander) is None
    assert await _standing(platform, grace) is None


async def test_who_has_just_registered_is_shown_unless_their_address_is_on_the_list(desk: Desk) -> None:
    platform, listed = desk.platform, await make_person(desk.platform.db)
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    async with platform.db.transaction(Role.WORKER) as tx:
        # Another one's request has put it on the list, and nobody has it any more.
        await tx.execute(update(email_address).where(email_address.c.id == listed.email_id).values(normalized="gone"))
    await _suppress(platform, listed)
    for email, is_shown in ((f"new-{listed.email}", True), (listed.email, False)):
        wanted = Registration(email, "A long and plain password 17", True)  # they accept the policy
        one = {"id": global_id("Customer", await register(platform, wanted))}
        told = await party.ask(token, "query($id: ID!) { customer(id: $id) { id } }", **one)
        assert (told["data"]["customer"] is not None) is is_shown


async def test_the_cohort_bounds_whom_it_covers(desk: Desk) -> None:
    here, there = await make_person(desk.platform.db, country="MC"), await make_person(desk.platform.db, country="SM")
    party = await desk.partner()
    token = await party.token(await desk.grant(party, countries=frozenset({"MC"})))
    seen = await party.ask(token, "{ customers(first: 100) { nodes { id } } }")
    ids = {node["id"] for node in seen["data"]["customers"]["nodes"]}
    assert global_id("Customer", here.customer_id) in ids
    assert global_id("Customer", there.customer_id) not in ids
    told = await party.ask(token, PROFILE, id=global_id("Customer", there.customer_id))
    assert told["data"]["customer"] is None
    assert "withheld" not in told.get("extensions", {}), "who is not covered is not counted either"
    assert await _disclosed(desk.platform, there) == []


async def test_pages_go_on_past_who_is_withheld(desk: Desk) -> None:
    people = [await make_person(desk.platform.db, country="AD") for _ in range(5)]
    await _restrict(desk.platform, people[0])
    await _restrict(desk.platform, people[1])
    party = await desk.partner()
    token = await party.token(await desk.grant(party, countries=frozenset({"AD"})))
    page_of = "customers(first: 2, after: $after) { nodes { id } pageInfo { endCursor hasNextPage } }"
    query = f"query($after: String) {{ {page_of} }}"
    found, after, withheld = [], None, 0
    for _ in range(3):
        told = await party.ask(token, query, after=after)
        page = told["data"]["customers"]
        found += [node["id"] for node in page["nodes"]]
        withheld += told.get("extensions", {}).get("withheld", {}).get("customers", 0)
        after = page["pageInfo"]["endCursor"]
    assert not page["pageInfo"]["hasNextPage"]
    assert found == [global_id("Customer", one.customer_id) for one in people[2:]]
    assert withheld == 2


@pytest.mark.parametrize("purpose", ["promotions", "questions", "nothing_known"])
async def test_a_token_names_a_purpose_of_its_grant(desk: Desk, purpose: str) -> None:
    party = await desk.partner()
    answer = await party.ask_token(await desk.grant(party), purpose)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_authorization_details")


async def test_a_token_names_a_living_grant_of_its_own_partner(desk: Desk) -> None:
    party, other = await desk.partner(), await desk.partner()
    proposed = await desk.propose(party)
    for grant_id in (proposed, await desk.grant(other), UUID(int=7)):
        answer = await party.ask_token(grant_id)
        assert answer.json()["error"] == "invalid_authorization_details"
    plain = await party.token(None)
    told = await party.ask(plain, "{ customers(first: 1) { nodes { id } } }")
    assert {error["extensions"]["code"] for error in told["errors"]} == {"FORBIDDEN"}


async def test_revocation_works_on_the_next_request_and_recalls(desk: Desk) -> None:
    ada = await make_person(desk.platform.db)
    party = await desk.partner()
    grant_id, lasting = await desk.grant(party), await desk.grant(party)
    token, other = await party.token(grant_id), await party.token(lasting)
    one = {"id": global_id("Customer", ada.customer_id)}
    assert (await party.ask(token, PROFILE, **one))["data"]["customer"]["givenName"] == "Ada"
    await desk.revoke(grant_id)
    told = await party.ask(token, PROFILE, **one)
    assert told["errors"][0]["extensions"]["code"] in {"PARTNER_GRANT_ENDED", "TOKEN_INVALID"}
    assert not (told.get("data") or {}).get("customer")
    assert len(await _disclosed(desk.platform, ada)) == 1
    assert (await party.ask_token(grant_id)).json()["error"] == "invalid_authorization_details"
    assert (await party.ask(other, PROFILE, **one))["data"]["customer"]["givenName"] == "Ada"


async def test_a_grant_ends_with_its_time(desk: Desk) -> None:
    ada = await make_person(desk.platform.db)
    party = await desk.partner()
    grant_id = await desk.grant(party)
    token = await party.token(grant_id)
    assert (await party.ask(token, "{ viewer { kind } }"))["data"] == {"viewer": {"kind": "CLIENT"}}
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        over = update(partner_grant).where(partner_grant.c.id == grant_id)
        await tx.execute(over.values(valid_until=func.now()))
    told = await party.ask(token, PROFILE, id=global_id("Customer", ada.customer_id))
    assert told["errors"][0]["extensions"]["code"] == "PARTNER_GRANT_ENDED"
    assert await _disclosed(desk.platform, ada) == []


async def test_the_second_wall_stands_without_the_first(desk: Desk) -> None:
    """What the role itself sees: nothing without a living grant, and no table a grant can not name."""
    await make_person(desk.platform.db)
    party = await desk.partner()
    grant_id = await desk.grant(party)
    connection = await desk.platform.db.connect_raw(Role.PARTNER)
    try:
        assert await connection.fetchval("SELECT count(*) FROM customer") == 0
        assert await connection.fetchval("SELECT count(*) FROM email_address") == 0
        await connection.execute("SELECT set_config('cdp.grant', $1, false)", str(grant_id))
        assert await connection.fetchval("SELECT count(*) FROM customer") > 0
        assert await connection.fetchval("SELECT count(*) FROM email_address") > 0
        for table in ("account", "event", "session", "identity", "audit_event", "oauth_grant"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval(f"SELECT count(*) FROM {table}")
        await desk.revoke(grant_id)
        assert await connection.fetchval("SELECT count(*) FROM customer") == 0
    finally:
        await connection.close()


async def test_mixed_documents_are_narrowed_too(desk: Desk) -> None:
    ada = await make_person(desk.platform.db)
    await _restrict(desk.platform, ada)
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    query = "query($id: ID!) { customer(id: $id) { id } __typename }"
    told = await party.ask(token, query, id=global_id("Customer", ada.customer_id))
    assert (told["data"]["customer"], told["extensions"]["withheld"]) == (None, {"customer": 1})


async def test_what_is_open_to_everybody_is_open_to_partners(desk: Desk) -> None:
    party = await desk.partner()
    told = await party.ask(await party.token(await desk.grant(party)), "{ policies { version } purposes { code } }")
    assert "errors" not in told
    assert told["data"]["policies"]
    assert told["data"]["purposes"]


ASKED_BY = {
    "address": 'filter: {email: {eq: "%(email)s"}}',
    "part of a name": 'filter: {name: {contains: "%(name)s"}}',
    "name as an order": "orderBy: {field: NAME}",
}


@pytest.mark.parametrize("by", ASKED_BY)
async def test_nobody_finds_out_by_asking_who_is_withheld(desk: Desk, by: str) -> None:
    """Neither the count, nor a page without anybody on it, nor a total tells that an address or a name is known."""
    names = NAMES | {"Customer.displayName", "Customer.organisationName", "Customer.country"}
    terms = {"function": PartnerFunction.PROMOTIONS, "fields": names, "countries": frozenset({"PW"})}
    party = await desk.partner()
    token = await party.token(await desk.grant(party, **terms))
    ada = await make_person(desk.platform.db, country="PW")
    asked = ASKED_BY[by] % {"email": ada.email, "name": "Ada"}
    page = f"{{ customers({asked}, first: 1) {{ nodes {{ __typename }} pageInfo {{ hasNextPage endCursor }} }} }}"
    await _hide_others(desk, ada)
    shown = await party.ask(token, page)
    assert len(shown["data"]["customers"]["nodes"]) == 1
    (one,) = await _disclosed(desk.platform, ada)
    assert set(one.fields) & {"EmailAddress.address", "Customer.familyName"}, "what was matched was disclosed too"
    total = await party.ask(token, f"{{ customers({asked}) {{ totalCount }} }}")
    assert total["data"]["customers"] is None or total["data"]["customers"]["totalCount"] is None
    assert {error["extensions"]["code"] for error in total["errors"]} == {"OUTSIDE_GRANT"}
    await _restrict(desk.platform, ada)
    told = await party.ask(token, page)
    nobody = {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
    assert (told["data"]["customers"], told.get("extensions", {}).get("withheld")) == (nobody, None)
    counted = await party.ask(token, '{ customers(filter: {country: {eq: "PW"}}) { totalCount nodes { id } } }')
    assert counted["extensions"]["withheld"]["customers"] >= 1, "how many of a country are withheld tells of nobody"
    assert len(await _disclosed(desk.platform, ada)) == 1


async def _hide_others(desk: Desk, ada: Person) -> None:
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        others = (customer.c.country == "PW", customer.c.id != ada.customer_id)
        await tx.execute(update(customer).where(*others).values(restricted_at=func.now()))
