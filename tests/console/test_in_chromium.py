"""The console in a real browser: by keyboard alone, without scripts, under axe, and GraphiQL within the policy."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from cdp.core.db import Database, Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.requests import requests
from cdp.tables.request import privacy_request
from tests.console.test_customer import page_of
from tests.console.test_merging import twin_of
from tests.pages.conftest import Watched, browser
from tests.pages.test_every_page import STANDARDS, WIDE, inspect
from tests.pages.walking import follow, tab_to
from tests.population import Person
from tests.site import PASSWORD, listening

__all__ = ["browser"]

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="module")
async def address(settings: Settings) -> AsyncIterator[str]:
    async with listening(settings) as (url, _):
        yield url


@pytest.fixture
async def open_page(address: str, browser: Browser) -> AsyncIterator[OpenPage]:
    """A fresh browser profile; when it closes, nothing may have left the origin or broken the policy."""
    async with AsyncExitStack() as stack:
        watching: list[Watched] = []

        async def make(**options: object) -> Page:
            context = await browser.new_context(base_url=address, locale="en-GB", **options)
            stack.push_async_callback(context.close)
            watched = Watched(context, address)
            watching.append(watched)
            context.on("request", lambda request: watched.note(request.url))
            context.on("page", watched.follow)
            return await context.new_page()

        yield make
        assert not [one for watched in watching for one in watched.strangers], "a request left the origin"
        assert not [one for watched in watching for one in watched.complaints], "the browser complained"


async def sign_in(page: Page, username: str) -> None:
    await page.goto("/console/sign-in")
    await page.locator("#username").fill(username)
    await page.locator("#password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url("**/console")


async def look_up(page: Page, typed: str) -> None:
    await page.locator("#q").fill(typed)
    await follow(page, page.get_by_role("button", name="Search"))


async def test_search_reveal_and_an_erasure_by_keyboard_alone(
    db: Database, open_page: OpenPage, new_staff, person: Person
):
    page = await open_page(viewport=WIDE, reduced_motion="reduce")
    keys = page.keyboard
    await page.goto("/console/sign-in")
    await tab_to(page, "User name")
    await keys.type(await new_staff("agent"))
    await tab_to(page, "Password")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Customers", level=1)).to_be_visible()
    await keys.press("/")
    await expect(page.locator("#q")).to_be_focused()
    await keys.type(person.email)
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="By e-mail address")).to_be_visible()
    assert person.email not in page.url
    await tab_to(page, "Ada Family")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ada Family")
    assert await page.get_by_text(person.email).count() == 0
    await tab_to(page, "Case number")
    await keys.type("CASE-99")
    await keys.press("Enter")
    await expect(page.get_by_text(person.email)).to_be_visible()
    await expect(page.locator("[data-left]")).to_be_focused()
    await tab_to(page, "Erasure")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Open a request")).to_be_visible()
    await tab_to(page, "Reason")
    await keys.type("She asked by phone.")
    await tab_to(page, "Proof of who they are")
    await keys.press("Space")
    await tab_to(page, "What was shown or said")
    await keys.type("Called back on the number we hold.")
    await tab_to(page, "Open the request")
    await keys.press("Enter")
    await expect(page.get_by_text("waits for a colleague")).to_be_visible()
    await tab_to(page, "Erasure ER-")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Erasure ER-")
    async with db.transaction(Role.WORKER) as tx:
        mine = privacy_request.select().where(privacy_request.c.customer_id == person.customer_id)
        row = await tx.first(mine)
    assert row is not None
    assert row.reason == "She asked by phone."


async def test_when_the_minute_is_over_the_page_masks_itself(open_page: OpenPage, new_staff, person: Person):
    page = await open_page()
    await page.clock.install()
    await sign_in(page, await new_staff("agent"))
    await page.goto(page_of(person))
    await page.get_by_label("Case number").fill("CASE-1")
    await page.get_by_role("button", name="Show for 1 minute").click()
    await expect(page.get_by_text(person.email)).to_be_visible()
    await page.clock.run_for(62_000)
    await expect(page.locator("[data-masked-again]")).to_have_text("The details are masked again.")
    assert person.email not in await page.content()


async def test_without_scripts_it_all_works(open_page: OpenPage, new_staff, person: Person):
    page = await open_page(java_script_enabled=False)
    await sign_in(page, await new_staff("agent"))
    await look_up(page, person.email)
    await page.get_by_role("link", name="Ada Family").click()
    await page.get_by_label("Case number").fill("CASE-1")
    await page.get_by_role("button", name="Show for 1 minute").click()
    await expect(page.get_by_text(person.email)).to_be_visible()
    await page.get_by_role("link", name="GraphQL").click()
    await expect(page.get_by_text("This page alone needs scripts")).to_be_visible()


async def test_every_page_light_dark_and_narrow(platform: Platform, open_page: OpenPage, new_staff, person: Person):
    viewer = person.viewer(authenticated_at=platform.clock())
    async with platform.db.transaction(Role.CUSTOMER, subject=person.customer_id) as tx:
        opened = await requests.open_erasure(tx, viewer, platform)
    page = await open_page(viewport=WIDE)
    await sign_in(page, await new_staff("supervisor"))
    await inspect(page)
    await look_up(page, "family")
    await inspect(page)
    await look_up(page, "nobody@example.net")
    await inspect(page)
    await look_up(page, "x")
    await expect(page.locator("#problems")).to_be_focused()
    await inspect(page)
    await page.goto(page_of(person))
    await inspect(page)
    await page.get_by_label("Case number").fill("no case")
    await follow(page, page.get_by_role("button", name="Show for 1 minute"))
    await inspect(page)
    await page.get_by_label("Case number").fill("CASE-1")
    await follow(page, page.get_by_role("button", name="Show for 1 minute"))
    await inspect(page)
    await page.goto(f"{page_of(person)}/open")
    await inspect(page)
    for view in ("open", "mine"):
        await page.goto(f"/console/requests?view={view}")
        await inspect(page)
    await page.goto(f"/console/requests/{opened.reference}")
    await page.get_by_text("Take two months more").click()
    await inspect(page)
    stale = await page.context.new_page()
    await stale.goto(f"/console/requests/{opened.reference}")
    await follow(page, page.get_by_role("button", name="Hand over"))
    await stale.get_by_role("button", name="Hand over").click()
    await expect(stale.get_by_role("alert")).to_contain_text("This has changed meanwhile")
    await inspect(stale)
    await page.goto("/console/customers/nobody")
    await inspect(page)


async def test_two_records_are_compared_merged_and_taken_apart(
    platform: Platform, open_page: OpenPage, new_staff, person: Person
):
    twin = await twin_of(platform.db, person)
    page = await open_page(viewport=WIDE)
    await sign_in(page, await new_staff("supervisor"))
    await page.goto(page_of(person))
    await inspect(page)
    await follow(page, page.get_by_role("link", name="Compare with Adele"))
    await expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    await inspect(page)
    await page.get_by_label("Why are they the same?").fill("She moved house.")
    await follow(page, page.get_by_role("button", name="Merge them"))
    await expect(page.get_by_role("heading", name="Merges")).to_be_visible()
    await follow(page, page.get_by_role("link", name="Undo this merge"))
    await inspect(page)
    await page.get_by_label("Why are they two?").fill("They are sisters.")
    await follow(page, page.get_by_role("button", name="Undo the merge"))
    await page.goto(page_of(twin))
    await expect(page.get_by_role("heading", name="Adele")).to_be_visible()


async def test_graphiql_runs_under_the_policy(open_page: OpenPage, new_staff, person: Person):
    page = await open_page(viewport=WIDE)
    await sign_in(page, await new_staff("agent"))
    await page.goto("/console/graphql")
    await expect(page.get_by_role("tab", name="WhoAmI")).to_be_visible()
    await page.get_by_role("button", name="Execute query").click()
    await expect(page.locator(".result-window")).to_contain_text('"customers"')
    await page.get_by_role("button", name="Show Documentation Explorer").click()
    await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Root Types")
    found = await Axe().run(page, context={"exclude": [["#graphiql"]]}, options={"runOnly": STANDARDS})
    assert not found.response["violations"]
    await page.keyboard.press("/")
    assert await page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
    await page.set_viewport_size({"width": 320, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    kept = await page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert kept == "{}", "what is typed stays in memory"
