"""What we hold, on pages: everything with its origin, in plain words, page by page, and never anybody else's."""

from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import insert, update

import cdp.web
from cdp.access.authorization_types import AREAS
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import CustomerId, global_id, new_id
from cdp.operations.accounts.accounts import Registration, register
from cdp.tables.customer import customer
from cdp.tables.event import event
from cdp.web.account.categories import CATEGORIES, LISTINGS, PAGED
from cdp.web.words import RECORDS
from tests.population import LONG_AGO
from tests.site import PASSWORD
from tests.web.account.conftest import Desk

WEB = Path(cdp.web.__file__).parent
# The console reads as staff: its own tests open each of its pages.
DOCUMENTS = sorted(path for path in WEB.rglob("*.graphql") if path.parent.name != "console")


async def test_every_value_is_there_with_where_it_came_from(desk: Desk):
    person, browser = await desk.newcomer()
    shown = unescape((await browser.get("/account/data")).text)
    mark = person.email.split(".")[1].split("@")[0]
    for value in (person.email, f"Street {mark}", f"SO-{mark}", f"Question {mark}", "Yes, send me offers.", "dark"):
        assert value in shown
    assert "Registration" in shown
    assert "tests; policy 2026-01" in shown
    assert "10 years after the order, by law" in shown


async def test_a_name_is_text_and_never_markup(desk: Desk):
    person, browser = await desk.newcomer()
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        mine = update(customer).where(customer.c.id == person.customer_id)
        await tx.execute(mine.values(given_name='<script>alert("x")</script>'))
    for path in ("/account", "/account/data"):
        shown = (await browser.get(path)).text
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert" in shown


@pytest.mark.parametrize("listing", PAGED, ids=lambda one: one.slug)
async def test_each_long_list_has_a_page(desk: Desk, listing):
    _, browser = await desk.newcomer()
    answer = await browser.get(f"/account/data/{listing.slug}")
    assert answer.status_code == 200
    assert listing.title in answer.text


@pytest.mark.parametrize("slug", ["nothing", "you", "emails", "__class__"])
async def test_what_is_no_long_list_has_none(desk: Desk, slug):
    _, browser = await desk.newcomer()
    assert (await browser.get(f"/account/data/{slug}")).status_code == 404


async def test_pages_follow_one_another_and_a_cursor_is_only_for_who_got_it(desk: Desk):
    person, browser = await desk.newcomer()
    _, other = await desk.newcomer()
    rows = [
        {"id": new_id(), **person.origin, "type": "page", "page": f"/page-{n}", "occurred_at": LONG_AGO}
        for n in range(29)
    ]
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(event), rows)
    first = (await browser.get("/account/data/activity")).text
    assert "1 to 25 of 30 records of activity" in first
    following = unescape(first.partition('id="next"')[2].partition('href="')[2].partition('"')[0])
    second = (await browser.get(following)).text
    assert "26 to 30 of 30 records of activity" in second
    assert 'id="next"' not in second
    stolen = await other.get(following)
    assert stolen.status_code == 400
    assert "/page-" not in stolen.text


@pytest.mark.parametrize("query", ["after=garbage", "after=", "from=-1", "from=1e9", "from=99999999999999", "x=y"])
async def test_an_odd_address_is_answered_calmly(desk: Desk, query):
    _, browser = await desk.newcomer()
    answer = await browser.get(f"/account/data/orders?{query}")
    assert answer.status_code == (400 if "garbage" in query else 200)


async def test_a_newcomer_reads_what_would_be_here(desk: Desk):
    await register(desk.engine.platform, Registration("new@example.org", PASSWORD, accepts_policy=True))
    browser = await desk.sign_in("new@example.org")
    overview = (await browser.get("/account")).text
    assert "Your orders would be here." in overview
    assert "Nobody but us: no other system is connected." in overview
    assert "What you ask us would be here." in (await browser.get("/account/data")).text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
async def test_a_pages_document_fits_the_schema_and_is_one_statement(desk: Desk, path):
    viewer = Viewer(Actor.CUSTOMER, customer_id=CustomerId(new_id()), scopes=CUSTOMER_SCOPES)
    flags = {one.slug: True for one in PAGED}
    variables = {"data": {"first": 5, "whole": True, **flags}, "package": {"reference": "EX-2222-2222"}}
    variables |= {"correct": {"id": global_id("Customer", new_id())}, "sharing": {"first": 5}}
    variables["share"] = dict.fromkeys(AREAS, True)
    plan, _ = desk.app.state.reader.compile(path.read_text(), viewer, variables.get(path.stem, {}))
    assert plan.sql.count(";") == 0
    assert not plan.denied
    assert path.with_suffix(".html").exists()


def test_every_category_says_why_and_every_list_can_be_counted():
    for category in CATEGORIES:
        assert category.why
        assert category.kept
    assert {one.table.name for one in LISTINGS.values()} <= RECORDS.keys()
