"""Preferences: what was ticked is written with its words, what was not touched stays, and stopping takes one button."""

import re

import httpx
from sqlalchemy import select

from cdp.core.db import Role
from cdp.operations.reference import PURPOSES
from cdp.operations.requests import requests
from cdp.tables.consent import Channel, ConsentAction, consent
from tests.browser import forms
from tests.population import Person, audited, picture
from tests.web.account.conftest import Desk

PAGE = "/account/preferences"


async def ledger(desk: Desk, person: Person) -> list[tuple[str, Channel, ConsentAction, str]]:
    mine = select(consent).where(consent.c.customer_id == person.customer_id).order_by(consent.c.recorded_at)
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        return [(row.purpose, row.channel, row.action, row.wording) for row in await tx.all(mine)]


def ticked(page: httpx.Response) -> set[str]:
    boxes = re.findall(r'<input type="checkbox"[^>]*>', page.text)
    return {re.search(r'value="([^"]+)"', box).group(1) for box in boxes if " checked" in box}


async def save(browser: httpx.AsyncClient, *agree: str, **fields: str) -> httpx.Response:
    csrf = forms(await browser.get(PAGE))[PAGE]["csrf"]
    return await browser.post(PAGE, data={"csrf": csrf, "agree": list(agree), **fields})


async def test_yes_and_no_are_kept_with_the_words_that_were_shown(desk: Desk):
    person, browser = await desk.newcomer()
    bystander, _ = await desk.newcomer()
    before, was = await picture(desk.engine.platform.db, bystander), await ledger(desk, person)
    shown = await browser.get(PAGE)
    start = ticked(shown)
    answer = await save(browser, *start, "information:post", "site_improvement:any")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?done=saved")
    added = (await ledger(desk, person))[len(was) :]
    texts = {one.code: f"{one.title}: {one.description}" for one in PURPOSES}
    assert sorted(added) == [
        ("information", Channel.POST, ConsentAction.GIVEN, f"{texts['information']} By post."),
        ("site_improvement", Channel.ANY, ConsentAction.GIVEN, texts["site_improvement"]),
    ]
    page = await browser.get(answer.headers["location"])
    assert ticked(page) == start | {"information:post", "site_improvement:any"}
    assert "Saved. It counts from now on." in page.text
    await save(browser, *start)
    assert {one[2] for one in (await ledger(desk, person))[-2:]} == {ConsentAction.WITHDRAWN}
    assert ticked(await browser.get(PAGE)) == start
    assert {"consent.given", "consent.withdrawn"} <= set(await audited(desk.engine.platform.db, person))
    assert await picture(desk.engine.platform.db, bystander) == before


async def test_what_nobody_touched_and_what_is_no_choice_write_nothing(desk: Desk):
    person, browser = await desk.newcomer()
    was = await ledger(desk, person)
    start = ticked(await browser.get(PAGE))
    assert (await save(browser, *start)).headers["location"] == f"{PAGE}?done=same"
    assert (await save(browser, *start, "orders:any", "promotions:fax", "<b>")).headers["location"].endswith("same")
    assert await ledger(desk, person) == was


async def test_one_button_stops_all_marketing_and_nothing_else(desk: Desk):
    _, browser = await desk.newcomer()
    await save(browser, "promotions:email", "promotions:sms", "information:post", "site_improvement:any")
    answer = await save(browser, "promotions:email", "promotions:phone", stop="marketing")
    assert answer.headers["location"] == f"{PAGE}?done=stopped"
    assert ticked(await browser.get(PAGE)) == {"site_improvement:any"}


async def test_an_account_that_is_being_deleted_changes_no_more(desk: Desk):
    person, browser = await desk.newcomer()
    async with desk.engine.platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        await requests.open_erasure(tx, desk.engine.viewer(person), desk.engine.platform)
    was = await ledger(desk, person)
    assert (await browser.get(PAGE)).headers["location"].startswith("/account/sign-in")
    answer = await save(await desk.sign_in(person.email), "promotions:sms")
    assert answer.status_code == 409
    assert "while a deletion is under way" in answer.text
    assert await ledger(desk, person) == was


async def test_strangers_sign_in_and_a_browser_may_ask_not_to_sell(desk: Desk):
    stranger = await desk.stranger()
    assert (await stranger.get(PAGE)).headers["location"].startswith("/account/sign-in?next=")
    _, browser = await desk.newcomer()
    assert "Global Privacy Control" not in (await browser.get(PAGE)).text
    assert "Global Privacy Control" in (await browser.get(PAGE, headers={"sec-gpc": "1"})).text
