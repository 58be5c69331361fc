"""How a person gets through the pages: the same steps with and without scripts, by mouse or by keyboard alone."""

import asyncio

from playwright.async_api import Locator, Page, expect

from tests.site import PASSWORD

PATIENCE_MS = 60_000
MOST_TABS = 80


async def register(page: Page, email: str) -> None:
    await page.goto("/account/register")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("First name").fill("Grace")
    await page.get_by_label("I have read and accept").check()
    await page.get_by_role("button", name="Create account").click()
    await page.wait_for_url("**/account/sign-in?registered=1")


async def sign_in(page: Page, username: str) -> None:
    """Through the form, like anybody."""
    await page.goto("/account/sign-in")
    await page.get_by_label("E-mail address or user name").fill(username)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/account")


async def await_heading(page: Page, name: str, *, scripts: bool = True) -> None:
    """Wait until the page says it: by itself with scripts, by its link "Look again" without."""
    heading = page.get_by_role("heading", name=name)
    if scripts:
        await expect(heading).to_be_visible(timeout=PATIENCE_MS)
        return
    for _ in range(PATIENCE_MS // 500):
        if await heading.count():
            return
        await asyncio.sleep(0.5)
        await follow(page, page.get_by_role("link", name="Look again"))
    raise AssertionError(f"the page never said: {name}")


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called ``name``, as a screen reader would say it; it must be seen."""
    passed: list[str] = []
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        found = await page.evaluate(
            """() => {
                const at = document.activeElement;
                const label = at.labels && at.labels.length ? at.labels[0].textContent : at.textContent;
                const style = getComputedStyle(at);
                const box = at.getBoundingClientRect();
                return {
                  name: (label || at.getAttribute("aria-label") || "").trim().replace(/\\s+/g, " "),
                  isMarked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
                  isInView: box.bottom > 0 && box.top < innerHeight,
                };
            }"""
        )
        passed.append(found["name"])
        if found["name"].startswith(name):
            assert found["isMarked"], f"the focus on {name} can not be seen"
            assert found["isInView"], f"{name} has the focus but is out of sight"
            return
    raise AssertionError(f"Tab never reached {name}; it passed {passed}")


async def follow(page: Page, link: Locator) -> None:
    """Click it, and go on when the page it leads to has come: a click alone does not wait for one."""
    async with page.expect_navigation():
        await link.click()
