"""Every page, light and dark: nothing axe objects to, one first heading, no scrolling sideways at 320 px."""

import secrets

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, expect
from sqlalchemy import insert

from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.tables.event import event
from tests.pages.conftest import OpenPage, Site
from tests.pages.walking import await_heading, follow, sign_in
from tests.population import LONG_AGO, Person
from tests.site import PASSWORD

pytestmark = pytest.mark.browser

WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 320, "height": 700}
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


OPEN_TO_ALL = (
    "/account/sign-in",
    "/account/register",
    "/account/verify-email",
    "/account/forgotten-password",
    "/account/forgotten-password?sent=1",
    "/account/new-password",
    "/account/sign-out",
    "/privacy/request",
    "/privacy/request?sent=1",
    "/privacy/request/confirm",
    "/privacy/request/file",
    "/verify",
    "/device",
    "/account/requests/ER-2345",
)


async def objections(page: Page) -> list[str]:
    if await page.evaluate("typeof axe") == "undefined":
        await page.evaluate(AXE_SCRIPT)
    # What axe likes is not sent: that is nearly all it says.
    options = {"runOnly": STANDARDS, "resultTypes": ["violations"]}
    found = await page.evaluate("options => axe.run(options).then(said => said.violations)", options)
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


async def inspect(page: Page) -> None:
    """Hold the page as it stands against what every page must be."""
    await expect(page.locator("h1")).to_have_count(1)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = await objections(page)
        assert not found, f"{page.url} in {scheme}:\n" + "\n".join(found)
    await page.set_viewport_size(NARROW)
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"], f"{page.url} is {width} px wide"
    await page.set_viewport_size(WIDE)


async def test_axe_is_not_asleep(open_page: OpenPage):
    page = await open_page()
    await page.goto("/verify")
    await page.evaluate("""() => {
        document.querySelector("main").append(document.createElement("img"));
        document.querySelector(".lead").style.color = "#bbb";
    }""")
    assert {one.partition(":")[0] for one in await objections(page)} == {"image-alt", "color-contrast"}


async def test_pages_for_everybody(open_page: OpenPage):
    page = await open_page(viewport=WIDE)
    for path in OPEN_TO_ALL:
        await page.goto(path)
        await inspect(page)
    await page.get_by_label("Status key").fill("not the key")
    await page.get_by_role("button", name="Show the request").click()
    await expect(page.get_by_role("alert")).to_contain_text("This key does not open this request.")
    await inspect(page)
    await page.goto("/verify")
    await page.get_by_label("Or its text").fill('{"kind": "something else"}')
    await follow(page, page.get_by_role("button", name="Check it"))
    await inspect(page)
    await page.goto("/no/such/page")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    await inspect(page)


async def test_pages_of_a_customer(site: Site, open_page: OpenPage):
    _, email = await site.newcomer()
    page = await open_page(viewport=WIDE)
    await sign_in(page, email)
    lists = ("orders", "activity", "requests")
    folders = (
        "",
        "/data",
        "/download",
        "/export",
        "/security",
        "/security/password",
        "/security/authenticator",
        "/security/passkeys",
        "/delete",
        "/rights",
        "/rights/restrict",
        "/rights/object",
        "/sharing",
        "/sharing/new",
        "/transfers",
        "/preferences",
        *(f"/data/{one}" for one in lists),
    )
    for folder in folders:
        await page.goto(f"/account{folder}")
        await inspect(page)
    await page.goto("/account/data")
    await follow(page, page.get_by_role("link", name="Correct it").first)
    await inspect(page)
    await follow(page, page.get_by_role("link", name="Correct given name"))
    await inspect(page)
    await page.goto("/account/sign-in?reauth=1")
    await inspect(page)
    await page.goto("/account/download")
    await follow(page, page.get_by_role("button", name="Make a copy of my data"))
    await inspect(page)
    await await_heading(page, "Your copy is ready")
    await page.get_by_text("What is in it").click()
    await inspect(page)
    await page.get_by_role("button", name="Remove it now").click()
    await expect(page.get_by_role("heading", name="This copy is gone")).to_be_visible()
    await inspect(page)


async def test_pages_of_a_deletion(site: Site, open_page: OpenPage):
    _, email = await site.newcomer()
    site.newsletter.mode = "honest"
    page = await open_page(viewport=WIDE)
    await sign_in(page, email)
    await page.goto("/account/delete")
    await page.get_by_role("button", name="Delete my account").click()
    assert await page.locator("#confirmation:invalid").count() == 1
    await page.get_by_label("Type DELETE to confirm").fill("no")
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.locator("#problems")).to_be_focused()
    await inspect(page)
    await page.get_by_label("Type DELETE to confirm").fill("DELETE")
    await follow(page, page.get_by_role("button", name="Delete my account"))
    await inspect(page)
    await await_heading(page, "Your data is deleted")
    await inspect(page)


async def test_light_and_dark_are_a_choice_that_stays(open_page: OpenPage):
    page = await open_page(java_script_enabled=False, color_scheme="light")
    await page.goto("/account/register")
    await page.get_by_label("Colours").select_option("dark")
    await page.get_by_role("button", name="Apply").click()
    await page.wait_for_url("**/account/register")
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    await page.goto("/verify")
    assert await page.locator("html").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_a_long_list_goes_page_by_page(site: Site, open_page: OpenPage, scripts: bool):
    person, email = await site.newcomer()
    await look_around(site, person, times=59)
    page = await open_page(java_script_enabled=scripts)
    await sign_in(page, email)
    await page.goto("/account/data")
    await page.get_by_role("link", name="All 60 activity").click()
    place = page.locator("#place")
    seen = []
    for text in ("1 to 25 of 60", "26 to 50 of 60", "51 to 60 of 60"):
        await expect(place).to_contain_text(text)
        seen += await page.locator("#rows-activity td[data-label=Page]").all_inner_texts()
        if text != "51 to 60 of 60":
            await page.locator("#next").click()
    assert len(seen) == len(set(seen)) == 60
    await page.locator("#first").click()
    await expect(place).to_contain_text("1 to 25 of 60")
    await page.go_back()
    await expect(place).to_contain_text("51 to 60 of 60")


async def look_around(site: Site, person: Person, *, times: int) -> None:
    rows = [
        {
            "id": new_id(),
            **person.origin,
            "type": "page",
            "page": f"/{secrets.token_hex(4)}/{n}",
            "occurred_at": LONG_AGO,
        }
        for n in range(times)
    ]
    async with site.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(event), rows)


async def test_a_page_says_moments_in_the_readers_own_time(site: Site, open_page: OpenPage):
    _, email = await site.newcomer()
    page = await open_page()
    await sign_in(page, email)
    await page.goto("/account/data")
    moment = page.locator("#orders-list + table time").first
    await expect(moment).to_have_text("15 Jan 2026, 10:00")  # 9:00 UTC is 10:00 in Berlin
    assert await moment.get_attribute("datetime") == "2026-01-15T09:00:00.000000Z"
    assert PASSWORD not in await page.content()
