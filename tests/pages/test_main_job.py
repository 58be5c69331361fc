"""The main job as people do it in a browser: look, take away, leave, prove it; without scripts too, and by keyboard."""

import json
import secrets
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from cdp.operations.verification import verify_certificate, verify_package
from tests.pages.conftest import OpenPage, Site
from tests.pages.walking import await_heading, register, sign_in, tab_to
from tests.population import picture
from tests.site import PASSWORD

pytestmark = pytest.mark.browser


async def save(page: Page, link: str, folder: Path) -> Path:
    """Follow a link that downloads; answers where the file is."""
    async with page.expect_download() as coming:
        await page.get_by_role("link", name=link).click()
    download = await coming.value
    path = folder / download.suggested_filename
    await download.save_as(path)
    return path


def altered(path: Path) -> Path:
    """The same certificate with one digit of a count changed."""
    text = path.read_text()
    at = text.index('"records":') + len('"records":{')
    digit = next(n for n in range(at, len(text)) if text[n].isdigit())
    other = path.with_name("altered.json")
    other.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    return other


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_look_take_away_leave_and_prove_it(site: Site, open_page: OpenPage, tmp_path: Path, scripts: bool):
    bystander, bystander_name = await site.newcomer()
    before = await picture(site.platform.db, bystander)
    email = f"grace.{secrets.token_hex(5)}@example.org"
    page = await open_page(java_script_enabled=scripts)

    await register(page, email)
    await site.prove(email)
    site.known_elsewhere(email)
    await sign_in(page, email)
    await expect(page.get_by_role("heading", name="Your data", level=1)).to_be_visible()
    await expect(page.get_by_text("Your orders would be here.")).to_be_visible()
    await expect(page.get_by_text("Customer relations")).to_be_visible()

    await page.get_by_role("link", name="See everything").click()
    await expect(page.get_by_text(email).first).to_be_visible()

    await take_away(page, site, email, tmp_path, scripts=scripts)
    reference = await leave(page, site, email, scripts=scripts)
    certificate = await save(page, "Certificate to check (JSON)", tmp_path)
    paper = await save(page, "Certificate to read (PDF)", tmp_path)
    assert paper.read_bytes().startswith(b"%PDF-")
    assert verify_certificate(certificate.read_bytes(), site.platform.signer.keys()).is_valid
    said = json.loads(certificate.read_bytes())
    assert said["request"]["reference"] == reference
    assert {one["name"] for one in said["systems"]} == {"own", "crm", "newsletter"}
    assert email not in certificate.read_text()

    await prove(page, certificate)
    assert site.in_crm(email) == 0
    assert email not in site.newsletter.people
    await fail_to_sign_in(page, email)
    assert await picture(site.platform.db, bystander) == before
    assert site.in_crm(bystander_name) == 1
    assert bystander_name in site.newsletter.people


async def take_away(page: Page, site: Site, email: str, folder: Path, *, scripts: bool) -> None:
    await page.get_by_role("link", name="Download", exact=True).click()
    await page.get_by_role("button", name="Make a copy of my data").click()
    await await_heading(page, "Your copy is ready", scripts=scripts)
    path = await save(page, "Download the ZIP file", folder)
    assert verify_package(path, site.platform.signer.keys()).is_valid
    with zipfile.ZipFile(path) as package:
        names = set(package.namelist())
        assert {"index.html", "manifest.json", "manifest.sig", "README.txt", "schema.json", "missing.json"} <= names
        ours = "".join(package.read(name).decode() for name in names if name.startswith("data/"))
        assert email in ours
        assert email in package.read("systems/crm/contact.json").decode()
        assert "monthly" in package.read("systems/newsletter/subscription.json").decode()
    await page.reload()
    await expect(page.get_by_text("fetched 1 time")).to_be_visible()


async def leave(page: Page, site: Site, email: str, *, scripts: bool) -> str:
    await page.get_by_role("link", name="Delete", exact=True).click()
    await expect(page.get_by_text("1 contact")).to_be_visible()
    await page.get_by_label("Type DELETE to confirm").fill("perhaps")
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.get_by_role("alert")).to_contain_text("Type DELETE or your user name to confirm.")
    assert (await page.title()).startswith("Error: ")
    assert site.in_crm(email) == 1
    await page.get_by_label("Type DELETE to confirm").fill("delete")
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.get_by_role("heading", name="Your deletion", level=1)).to_be_visible()
    await await_heading(page, "Your data is deleted", scripts=scripts)
    if scripts:
        await expect(page.locator("[data-live-summary]")).to_have_text("Done. 3 of 3 systems finished.")
    return page.url.rsplit("/", 1)[1]


async def prove(page: Page, certificate: Path) -> None:
    await page.get_by_role("link", name="Check a certificate").click()
    await page.get_by_role("button", name="Check it").click()
    await expect(page.get_by_role("alert")).to_contain_text("Choose a certificate file, or paste its text.")
    for path, verdict in ((certificate, "This certificate is genuine"), (altered(certificate), "is not genuine")):
        await page.get_by_label("Certificate or addendum file (JSON)").set_input_files(path)
        await page.get_by_role("button", name="Check it").click()
        await expect(page.get_by_role("heading", name=verdict)).to_be_visible()
        await page.get_by_label("Or its text").fill(path.read_text())
        await page.get_by_role("button", name="Check it").click()
        await expect(page.get_by_role("heading", name=verdict)).to_be_visible()


async def fail_to_sign_in(page: Page, email: str) -> None:
    await page.goto("/account/sign-in")
    await page.get_by_label("E-mail address or user name").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def test_the_keyboard_alone_is_enough_to_leave(site: Site, open_page: OpenPage):
    _, email = await site.newcomer()
    page = await open_page()
    await page.goto("/account/delete")
    keys = page.keyboard
    await tab_to(page, "E-mail address or user name")
    await keys.type(email)
    await tab_to(page, "Password")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Delete your account", level=1)).to_be_visible()
    await tab_to(page, "Type DELETE to confirm")
    await keys.type("no")
    await tab_to(page, "Delete my account")
    await keys.press("Enter")
    # The summary of what is wrong has the focus; its link leads to the field.
    await expect(page.locator("#problems")).to_be_focused()
    await tab_to(page, "Type DELETE or your user name")
    await keys.press("Enter")
    await expect(page.locator("#confirmation")).to_be_focused()
    await keys.press("ControlOrMeta+a")
    await keys.type("Delete")
    await tab_to(page, "Delete my account")
    await keys.press("Enter")
    await await_heading(page, "Your data is deleted")
    await tab_to(page, "Certificate to read (PDF)")
    assert site.in_crm(email) == 0


async def test_the_link_in_the_letter_opens_the_status_page_and_leaves_no_key_behind(site: Site, open_page: OpenPage):
    _, email = await site.newcomer()
    page = await open_page()
    await sign_in(page, email)
    await page.goto("/account/delete")
    await page.get_by_label("Type DELETE to confirm").fill(email.upper())
    await page.get_by_role("button", name="Delete my account").click()
    await await_heading(page, "Your data is deleted")
    link, key = letter_link(site, email)
    stranger = await open_page()
    await stranger.goto(link)
    await expect(stranger.get_by_role("heading", name="Your data is deleted")).to_be_visible()
    assert key not in stranger.url
    assert key not in await stranger.evaluate("performance.getEntries().map((entry) => entry.name).join()")
    logged = (site.settings.state_dir / "api.log").read_text()
    assert key not in logged
    assert email not in logged


def letter_link(site: Site, email: str) -> tuple[str, str]:
    """The status link of the letter about a deletion, and the key in it."""
    for path in sorted((site.settings.state_dir / "outbox").glob("*.eml")):
        text = path.read_text().replace("=\n", "").replace("=3D", "=")
        if email in text and "/account/requests/ER-" in text:
            link = next(word for word in text.split() if "/account/requests/ER-" in word)
            return link, link.partition("#")[2]
    raise AssertionError("no letter about the deletion left")
