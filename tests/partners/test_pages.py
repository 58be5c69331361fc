"""Pages: a customer sees who saw what and hands on a link; whoever has it reads; staff decide about partners."""

import re
from html import unescape

import httpx
from sqlalchemy import select
from starlette.applications import Starlette

from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.tables.account import account
from cdp.tables.partner import disclosure, partner_grant
from tests.browser import forms, submit, visitor
from tests.partners.conftest import Desk


async def _share(browser: httpx.AsyncClient) -> str:
    page = "/account/sharing/new"
    made = await submit(browser, page, recipient="My adviser", purpose="Taxes", area="identities", hours="24")
    assert made.status_code == 200, made.text
    found = re.search(r"https?://[^<\s]+(/share/[^<\s]+)", unescape(made.text))
    assert found is not None
    return found[1]


async def test_a_link_is_made_handed_on_opened_and_taken_back(
    app: Starlette, desk: Desk, new_customer, signed_in
) -> None:
    name = await new_customer()
    browser = await signed_in(name)
    path = await _share(browser)
    async with visitor(app) as adviser:
        shown = await adviser.get(path)
        assert (shown.status_code, shown.headers["referrer-policy"]) == (200, "no-referrer")
        assert name not in shown.text, "a look at the address opens nothing"
        assert "0 ×" in (await browser.get("/account/sharing")).text
        opened = await submit(adviser, path)
        assert opened.headers["cache-control"] == "no-store"
        assert name in unescape(opened.text)
        listed = unescape((await browser.get("/account/sharing")).text)
        assert "My adviser" in listed
        assert "1 ×" in listed
        link = forms(await browser.get("/account/sharing"))["/account/sharing/revoke"]
        taken = await browser.post("/account/sharing/revoke", data=link)
        assert taken.status_code == 303
        gone = await adviser.get(path)
        assert gone.status_code == 404
        assert "does not open anything" in gone.text
        assert (await adviser.get("/share/unknown")).status_code == 404
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        mine = select(account.c.customer_id).where(account.c.username == name)
        found = await tx.all(select(disclosure.c.recipient).where(disclosure.c.customer_id.in_(mine)))
    assert [row.recipient for row in found] == ["My adviser"]


async def test_a_form_that_shares_nothing_says_so(new_customer, signed_in) -> None:
    browser = await signed_in(await new_customer())
    refused = await submit(browser, "/account/sharing/new", recipient="X", purpose="Y", hours="24")
    assert refused.status_code == 422
    assert "Choose at least one" in refused.text


async def test_staff_agree_to_a_grant_and_revoke_it(desk: Desk, new_staff, signed_in) -> None:
    party = await desk.partner()
    grant_id = await desk.propose(party)
    await desk.agree(grant_id, desk.second)
    browser = await signed_in(await new_staff("supervisor"), page="/console/sign-in")
    page = await browser.get("/console/partners")
    assert party.name in page.text
    fields = {"csrf": forms(page)["/console/partners/grant/agree"]["csrf"], "id": global_id("PartnerGrant", grant_id)}
    assert (await browser.post("/console/partners/grant/agree", data=fields)).status_code == 303

    async def status() -> str:
        async with desk.platform.db.transaction(Role.WORKER) as tx:
            return str(await tx.scalar(select(partner_grant.c.status).where(partner_grant.c.id == grant_id)))

    assert await status() == "active"
    again = await browser.post("/console/partners/grant/agree", data=fields)
    assert (again.status_code, await status()) == (422, "active")
    unexplained = await browser.post("/console/partners/grant/revoke", data=fields)
    assert (unexplained.status_code, await status()) == (422, "active")
    assert (await browser.post("/console/partners/grant/burn", data=fields)).status_code == 404
    done = await browser.post("/console/partners/grant/revoke", data={**fields, "reason": "The contract has ended."})
    assert (done.status_code, await status()) == (303, "revoked")


async def test_agents_decide_nothing_about_partners(desk: Desk, new_staff, signed_in) -> None:
    grant_id = await desk.propose(await desk.partner())
    browser = await signed_in(await new_staff("agent"), page="/console/sign-in")
    assert (await browser.get("/console/partners")).status_code == 403
    csrf = forms(await browser.get("/console"))["/console/sign-out"]["csrf"]
    fields = {"csrf": csrf, "id": global_id("PartnerGrant", grant_id)}
    assert (await browser.post("/console/partners/grant/agree", data=fields)).status_code == 403
