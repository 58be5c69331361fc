"""Corrections from where the value is shown, restrictions and objections, each by plain forms and with a reference."""

from html import unescape

import pytest
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.operations.requests import objections, restrictions
from cdp.tables.customer import customer
from cdp.tables.order import sales_order
from cdp.tables.request import RequestStatus
from tests.browser import forms, submit
from tests.population import Person, picture
from tests.web.account.conftest import Desk


def address(person: Person) -> str:
    return f"/account/correct/{global_id('Customer', person.customer_id)}"


async def given_name(desk: Desk, person: Person) -> str:
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(customer.c.given_name).where(customer.c.id == person.customer_id))


async def test_a_value_is_corrected_from_where_it_is_shown(desk: Desk):
    person, browser = await desk.newcomer()
    bystander, _ = await desk.newcomer()
    before = await picture(desk.engine.platform.db, bystander)
    assert address(person) in unescape((await browser.get("/account/data")).text)
    assert f"{address(person)}?field=givenName" in unescape((await browser.get(address(person))).text)
    answer = await submit(
        browser, f"{address(person)}?field=givenName", action=address(person), new="Adelaide", reason="Passport"
    )
    assert answer.status_code == 303
    reference = answer.headers["location"].rpartition("/")[2]
    assert "Your correction" in (await browser.get(answer.headers["location"])).text
    await desk.engine.work()
    assert await given_name(desk, person) == "Adelaide"
    assert await desk.engine.status(reference) is RequestStatus.COMPLETED
    assert {"request.opened", "value.corrected"} <= set(await desk.engine.audited(person))
    assert await picture(desk.engine.platform.db, bystander) == before


async def test_what_an_order_says_waits_for_somebody(desk: Desk):
    person, browser = await desk.newcomer()
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        order_id = await tx.scalar(select(sales_order.c.id).where(sales_order.c.customer_id == person.customer_id))
    page = f"/account/correct/{global_id('Order', order_id)}"
    shown = (await browser.get(f"{page}?field=billingCity")).text
    assert "Somebody here looks at it first" in shown
    answer = await submit(browser, f"{page}?field=billingCity", action=page, new="Bremen")
    assert await desk.engine.status(answer.headers["location"].rpartition("/")[2]) is RequestStatus.RECEIVED


async def test_nothing_new_is_said_so(desk: Desk):
    person, browser = await desk.newcomer()
    answer = await submit(browser, f"{address(person)}?field=givenName", action=address(person))
    assert answer.status_code == 422
    assert "The new value is the old one." in answer.text


@pytest.mark.parametrize("suffix", ["?field=passwordHash", "?field=__class__"])
async def test_what_is_not_correctable_is_not_there(desk: Desk, suffix):
    person, browser = await desk.newcomer()
    assert (await browser.get(address(person) + suffix)).status_code == 404
    assert (await browser.get("/account/correct/nonsense")).status_code == 404
    assert (await browser.get(f"/account/correct/{global_id('Session', person.customer_id)}")).status_code == 404


async def test_nobody_corrects_somebody_else(desk: Desk):
    person, _ = await desk.newcomer()
    eve, browser = await desk.newcomer()
    before = await given_name(desk, person)
    assert (await browser.get(f"{address(person)}?field=givenName")).status_code == 404
    filled = forms(await browser.get(f"{address(eve)}?field=givenName"))[address(eve)]
    answer = await browser.post(address(person), data={**filled, "old": before, "new": "Mallory"})
    assert answer.status_code == 404
    assert await given_name(desk, person) == before


async def test_a_restriction_holds_at_once_and_is_joined(desk: Desk):
    person, browser = await desk.newcomer()
    bystander, _ = await desk.newcomer()
    first = await submit(browser, "/account/rights/restrict", reason="Wrong address")
    again = await submit(browser, "/account/rights/restrict")
    assert first.headers["location"] == again.headers["location"]
    assert "Your data is kept and not used" in (await browser.get(first.headers["location"])).text
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await restrictions.is_in_force(tx, person.customer_id)
        assert not await restrictions.is_in_force(tx, bystander.customer_id)
    assert "customer.restricted" in await desk.engine.audited(person)


async def test_an_objection_to_marketing_stops_it(desk: Desk):
    person, browser = await desk.newcomer()
    bystander, _ = await desk.newcomer()
    answer = await submit(browser, "/account/rights/object", purpose="promotions")
    assert "It is done" in (await browser.get(answer.headers["location"])).text
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        assert await objections.rests(tx, person.customer_id, "promotions")
        assert not await objections.rests(tx, bystander.customer_id, "promotions")
    assert "marketing.stopped" in await desk.engine.audited(person)


@pytest.mark.parametrize(("purpose", "said"), [("", "Choose what we should stop."), ("orders", "nothing to object to")])
async def test_what_can_not_be_objected_to_is_said(desk: Desk, purpose, said):
    _, browser = await desk.newcomer()
    answer = await submit(browser, "/account/rights/object", **({"purpose": purpose} if purpose else {}))
    assert answer.status_code == 422
    assert said in answer.text


@pytest.mark.parametrize("path", ["/account/rights/restrict", "/account/rights/object"])
async def test_a_stale_session_signs_in_again_first(desk: Desk, path):
    person, browser = await desk.newcomer()
    await desk.grow_stale(person)
    assert (await browser.get(path)).headers["location"].startswith("/account/sign-in?")
