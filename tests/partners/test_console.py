"""The console of partners without scripts: a partner, a grant until it ends, an order from paper to disclosure."""

import json
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.operations.oauth import clients
from cdp.operations.partners.partners import partner
from cdp.tables.audit import audit_event
from cdp.tables.partner import disclosure, partner_grant
from cdp.tables.sharing import legal_order
from tests.browser import forms, submit, visitor
from tests.partners.conftest import SYSTEM, Desk
from tests.population import Person, make_person, picture

HOME, NEW = "/console/partners", "/console/partners/new"
WRIT = {"file": ("writ.pdf", b"%PDF-1.7 a court's order", "application/pdf")}


async def rows(desk: Desk, statement: Any) -> list[Any]:
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        return [*await tx.all(statement)]


async def audited(desk: Desk, object_id: Any) -> list[str]:
    mine = select(audit_event.c.action).where(audit_event.c.object_id == object_id).order_by(audit_event.c.id)
    return [row.action for row in await rows(desk, mine) if row.action != "customer.read"]


async def hire(signed_in: Any, new_staff: Any, *roles: str) -> list[httpx.AsyncClient]:
    return [await signed_in(await new_staff(role), page="/console/sign-in") for role in roles]


async def press(browser: httpx.AsyncClient, action: str, **fields: str) -> httpx.Response:
    """Press a button of the overview for one row."""
    csrf = forms(await browser.get(HOME))[action]["csrf"]
    return await browser.post(action, data={"csrf": csrf, **fields})


async def added(desk: Desk, browser: httpx.AsyncClient) -> Any:
    """A partner added by form, with a program of its own."""
    code = f"c-{secrets.token_hex(6)}"
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        asked = {"confidential": True, "grant_types": ["client_credentials"], "scopes": ["partner:read"]}
        made = await clients.add(tx, SYSTEM, "Partner", redirect_uris=[], **asked)
    given = {"code": code, "name": f"Firm {code}", "contact": "it@firm.example", "client_id": made.client.client_id}
    done = await submit(browser, NEW, **given)
    assert (done.status_code, done.headers["location"]) == (303, HOME), done.text
    (row,) = await rows(desk, select(partner).where(partner.c.code == code))
    return row


async def test_a_partner_is_added_and_wrong_ones_are_not(desk: Desk, new_staff: Any, signed_in: Any) -> None:
    (browser,) = await hire(signed_in, new_staff, "administrator")
    row = await added(desk, browser)
    assert await audited(desk, row.id) == ["partner.added"]
    assert row.name in (await browser.get(HOME)).text
    usual = {"code": "fresh-one", "name": "Fresh", "contact": "it@firm.example", "client_id": ""}
    for wrong, where in (
        ({"code": row.code}, "code"),
        ({"code": "Not a code"}, "code"),
        ({"client_id": "nobody"}, "client_id"),
    ):
        refused = await submit(browser, NEW, **{**usual, **wrong})
        assert (refused.status_code, f'id="{where}-problem"' in refused.text) in {(422, True), (409, True)}, wrong
    assert await rows(desk, select(partner).where(partner.c.code == "fresh-one")) == []


async def test_a_grant_goes_from_proposal_to_revocation(desk: Desk, new_staff: Any, signed_in: Any) -> None:
    maker, second, third = await hire(signed_in, new_staff, "administrator", "supervisor", "privacy_officer")
    row = await added(desk, maker)
    here = f"{HOME}/{global_id('Partner', row.id)}/grants/new"
    asked = await maker.get(here)
    assert "What does it do for us?" in asked.text
    page = f"{here}?function=email_contact"
    shown = await maker.get(page)
    assert 'value="EmailAddress.address"' in shown.text
    assert 'value="PostalAddress.line1"' not in shown.text
    ticks = {"purpose": "orders", "action": "read", "legal_basis": "contract", "contract_reference": "C-1"}
    fields = {**forms(shown)[here], **ticks, "field": ["Customer.givenName", "EmailAddress.address"]}
    for wrong, where in (
        ({"field": ["PostalAddress.line1"]}, "fields"),
        ({"purpose": []}, "purposes"),
        ({"purpose": "promotions"}, "legal_basis"),
        ({"retention_days": "long"}, "purposes"),
        ({"valid_until": "2020-01-01"}, "purposes"),
    ):
        refused = await maker.post(here, data={**fields, **wrong})
        assert (refused.status_code, f'id="{where}-problem"' in refused.text) == (422, True), wrong
    assert (await maker.post(here, data=fields)).status_code == 303
    mine = select(partner_grant).where(partner_grant.c.partner_id == row.id)
    (grant,) = await rows(desk, mine)
    assert (grant.fields, grant.retention_days, grant.status) == (
        ["Customer.givenName", "EmailAddress.address"],
        30,
        "proposed",
    )
    one = {"id": global_id("PartnerGrant", grant.id)}
    csrf = forms(await maker.get(HOME))[f"{HOME}/grant/refuse"]["csrf"]
    own = await maker.post(f"{HOME}/grant/agree", data={"csrf": csrf, **one})
    assert own.status_code == 422
    for browser in (second, third):
        assert (await press(browser, f"{HOME}/grant/agree", **one)).status_code == 303
    assert [found.status for found in await rows(desk, mine)] == ["active"]
    assert (await press(second, f"{HOME}/grant/revoke", **one, reason="Over.")).status_code == 303
    assert [found.status for found in await rows(desk, mine)] == ["revoked"]
    assert await audited(desk, grant.id) == [
        f"partner_grant.{word}" for word in ("proposed", "endorsed", "approved", "revoked")
    ]


async def test_an_order_goes_from_paper_to_one_disclosure(desk: Desk, new_staff: Any, signed_in: Any) -> None:
    maker, second, third = await hire(signed_in, new_staff, "privacy_officer", "supervisor", "privacy_officer")
    person, bystander = await make_person(desk.platform.db), await make_person(desk.platform.db)
    before = await picture(desk.platform.db, bystander)
    page = f"/console/customers/{global_id('Customer', person.customer_id)}"
    assert f"{page}/order" in (await maker.get(page)).text
    shown = await maker.get(f"{page}/order")
    case = f"12 O {secrets.token_hex(4)}"
    usual = {**forms(shown)[f"{page}/order"], "authority": "A court", "case_ref": case, "law": "ZPO § 142"}
    usual = {**usual, "field": ["Customer.givenName", "EmailAddress.address"]}
    unsaid = await maker.post(f"{page}/order", data=usual)
    assert (unsaid.status_code, 'id="fields-problem"' in unsaid.text) == (422, True), "without the order itself"
    past = {"silent_until": (desk.platform.clock() - timedelta(days=2)).date().isoformat()}
    for wrong in ({"field": []}, past, {"silent_until": "soon"}):
        refused = await maker.post(f"{page}/order", data={**usual, **wrong}, files=WRIT)
        assert refused.status_code == 422, wrong
    assert (await maker.post(f"{page}/order", data=usual, files=WRIT)).status_code == 303
    mine = select(legal_order).where(legal_order.c.case_ref == case)
    (order,) = await rows(desk, mine)
    one = {"id": global_id("LegalOrder", order.id)}
    csrf = {"csrf": forms(await maker.get(HOME))[f"{HOME}/order/refuse"]["csrf"]}
    early = await maker.post(f"{HOME}/orders/disclose", data={**csrf, **one})
    assert early.status_code == 409
    for browser in (second, third):
        assert (await press(browser, f"{HOME}/order/agree", **one)).status_code == 303
    given = await press(maker, f"{HOME}/orders/disclose", **one)
    assert (given.status_code, given.headers["cache-control"]) == (200, "no-store")
    found = json.loads(given.text)["customer"]
    assert found["contacts"] == {"emails": [{"address": person.email}]}
    again = await maker.post(f"{HOME}/orders/disclose", data={**csrf, **one})
    assert again.status_code == 409
    told = await rows(desk, select(disclosure).where(disclosure.c.order_id == order.id))
    assert [(row.customer_id, row.recipient) for row in told] == [(person.customer_id, "A court")]
    words = ("proposed", "endorsed", "approved", "disclosed")
    assert await audited(desk, order.id) == [f"legal_order.{word}" for word in words]
    assert await picture(desk.platform.db, bystander) == before


@pytest.mark.parametrize("role", ["agent", "analyst"])
async def test_nobody_else_gets_a_form(desk: Desk, new_staff: Any, signed_in: Any, person: Person, role: str) -> None:
    (browser,) = await hire(signed_in, new_staff, role)
    row = await desk.partner()
    pages = (
        NEW,
        f"{HOME}/{global_id('Partner', row.id)}/grants/new",
        f"/console/customers/{global_id('Customer', person.customer_id)}/order",
    )
    csrf = forms(await browser.get("/console/graphql"))
    for page in pages:
        assert (await browser.get(page)).status_code == 403, page
    token = next((one["csrf"] for one in csrf.values() if "csrf" in one), "")
    for page in (*pages, f"{HOME}/orders/disclose"):
        assert (await browser.post(page, data={"csrf": token})).status_code in {403, 404}, page


@pytest.fixture
async def person(desk: Desk) -> Person:
    return await make_person(desk.platform.db)


async def test_strangers_are_sent_to_sign_in(desk: Desk, app: Any) -> None:
    async with visitor(app) as browser:
        assert (await browser.get(NEW)).status_code == 303
