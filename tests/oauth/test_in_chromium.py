"""The flow in a real browser: policies that forbid an app's address at the end of a form would show nowhere else."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.oauth import clients
from tests import peers
from tests.oauth.conftest import REDIRECT, Program, new_verifier
from tests.site import PASSWORD, listening

pytestmark = pytest.mark.browser


@pytest.fixture
async def profile() -> AsyncIterator[BrowserContext]:
    """A fresh browser profile in which the app's address answers, wherever the network ends."""
    chromium = shutil.which("chromium") or peers.missing("chromium", "apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        peers.took_part(f"chromium {browser.version}")
        context = await browser.new_context()
        await context.route("https://shop.example/**", lambda route: route.fulfill(body="<h1>Shop</h1>"))
        yield context
        await browser.close()


@pytest.mark.parametrize("first_party", [True, False])
async def test_a_person_comes_back_to_the_app(settings, profile, first_party):
    async with listening(settings) as (base, platform):
        async with platform.db.transaction(Role.WORKER) as tx:
            added = await clients.add(tx, SYSTEM, "Corner shop", redirect_uris=[REDIRECT], first_party=first_party)
        email = f"{new_verifier()[:8].lower()}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True))
        page = await profile.new_page()
        violations: list[str] = []
        page.on("console", lambda message: violations.append(message.text) if "Policy" in message.text else None)
        await page.goto(base + Program(added.client.client_id, None, None).request(new_verifier()))
        await _sign_in(page, email)
        if not first_party:
            await page.get_by_role("button", name="Allow", exact=True).click()
        await page.wait_for_url(f"{REDIRECT}?**")
        assert "code=" in page.url
        assert await page.get_by_role("heading").inner_text() == "Shop"
        assert not violations


async def _sign_in(page: Page, email: str) -> None:
    await page.get_by_label("E-mail address or user name").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()
