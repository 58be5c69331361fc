"""Passkeys as a person meets them: a real browser with an authenticator of its own, under the strict policy."""

import secrets
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext, CDPSession, Page, async_playwright, expect
from sqlalchemy import select

from cdp.core.db import Role
from cdp.operations.accounts.accounts import Registration, register
from cdp.tables.account import account, session
from tests import peers
from tests.site import PASSWORD, listening

pytestmark = pytest.mark.browser
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
async def profile() -> AsyncIterator[BrowserContext]:
    chromium = shutil.which("chromium") or peers.missing("chromium", "apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        peers.took_part(f"chromium {browser.version}")
        yield await browser.new_context()
        await browser.close()


async def plug_in(page: Page) -> tuple[CDPSession, str]:
    """Give the page's browser an authenticator."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    return devtools, added["authenticatorId"]


async def with_password(page: Page, email: str) -> None:
    await page.get_by_label("E-mail address or user name").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()


async def proven_by(platform, email: str) -> list[str]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(session.c.amr).join_from(session, account, account.c.id == session.c.account_id)
        rows = await tx.all(mine.where(account.c.username == email).order_by(session.c.id.desc()))
    return rows[0].amr


async def test_a_passkey_from_making_to_removal(settings, profile):
    async with listening(settings) as (base, platform):
        email = f"{secrets.token_hex(5)}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True))
        page = await profile.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if "Policy" in said.text else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        devtools, device = await plug_in(page)
        await page.goto(f"{base}/account/sign-in?next=/account/security")
        await with_password(page, email)
        await page.get_by_role("link", name="Add a passkey").click()
        await page.get_by_label("Name").fill("This computer")
        await page.get_by_role("button", name="Make the passkey").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page.get_by_role("table", name="Second factor")).to_contain_text("This computer")
        held = await devtools.send("WebAuthn.getCredentials", {"authenticatorId": device})
        assert [one["isResidentCredential"] for one in held["credentials"]] == [True]

        await page.get_by_role("banner").get_by_role("button", name="Sign out").click()
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your data")
        assert await proven_by(platform, email) == ["pop", "user", "mfa"]

        await page.get_by_role("banner").get_by_role("button", name="Sign out").click()
        await with_password(page, email)
        await expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
        await page.get_by_role("button", name="Use your passkey").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your data")
        assert await proven_by(platform, email) == ["pwd", "pop", "mfa"]

        await page.goto(f"{base}/account/sign-in?reauth=1&next=/account/delete")
        await page.get_by_role("button", name="Use a passkey").click()
        await page.wait_for_url("**/account/delete", wait_until="load")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Delete your account")

        await devtools.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
        await page.goto(f"{base}/account/sign-in?reauth=1")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_role("alert")).to_contain_text("That did not work")
        await page.goto(f"{base}/account/security")
        await page.get_by_role("button", name="Remove the passkey This computer").click()
        await expect(page.get_by_role("table", name="Second factor")).not_to_contain_text("This computer")
        assert not complaints


async def test_without_scripts_everything_else_works(settings, profile):
    async with listening(settings) as (base, platform):
        email = f"{secrets.token_hex(5)}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True))
        context = await profile.browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"{base}/account/sign-in?next=/account/security/passkeys")
        await expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
        await with_password(page, email)
        await expect(page.get_by_text("Making a passkey needs JavaScript")).to_be_visible()
        await page.goto(f"{base}/account/security/authenticator")
        await expect(page.get_by_role("img", name="QR code")).to_be_visible()
