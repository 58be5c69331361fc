"""Security headers on every page there is, walked from the list of routes, over https, for strangers and for insiders.

Source: OWASP HTTP Security Response Headers Cheat Sheet,
https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from cdp.access.viewer import Actor
from cdp.web.routes import PAGES
from tests.browser import serving, submit, visitor
from tests.site import PASSWORD

BASE = "https://data.example"
SHOWN = [page for page in PAGES if page.show]
EXACT = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


@pytest.fixture(scope="module")
async def secure(settings) -> AsyncIterator[Starlette]:
    async with serving(settings.model_copy(update={"base_url": BASE})) as app:
        yield app


@pytest.fixture(scope="module")
async def insiders(secure, new_customer, new_staff) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """A signed-in browser for each realm, and a stranger's."""
    async with (
        visitor(secure, base=BASE, address="203.0.113.61") as customer,
        visitor(secure, base=BASE, address="203.0.113.62") as agent,
        visitor(secure, base=BASE, address="203.0.113.63") as stranger,
    ):
        await submit(customer, "/account/sign-in", username=await new_customer(), password=PASSWORD)
        await submit(agent, "/console/sign-in", username=await new_staff("agent"), password=PASSWORD)
        yield {Actor.CUSTOMER: customer, Actor.STAFF: agent, "stranger": stranger}


def directives(answer: httpx.Response) -> dict[str, str]:
    """The policy, name by name."""
    parts = answer.headers["content-security-policy"].split(";")
    return {part.split()[0]: " ".join(part.split()[1:]) for part in parts if part.strip()}


@pytest.mark.parametrize("who", ["insider", "stranger"])
@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.path)
async def test_every_page_has_every_header(insiders, page, who):
    browser = insiders[page.actor if who == "insider" else "stranger"]
    path = re.sub(r"{[^}]*}", "ER-2345-6789", page.path)
    async with browser.stream("GET", path) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            text = ""
        else:
            text = (await answer.aread()).decode()
    assert answer.status_code < 500, text
    assert {name: answer.headers.get(name) for name in EXACT} == EXACT
    assert "camera=()" in answer.headers["permissions-policy"]
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    policy = directives(answer)
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    if not answer.headers.get("content-type", "").startswith("text/html"):
        return
    assert answer.headers["cache-control"] == "no-store"
    nonce = re.fullmatch("'nonce-([A-Za-z0-9_-]{20,})'", policy["script-src"])[1]
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    scripts = re.findall(r"<script([^>]*)>", text)
    assert all(f'nonce="{nonce}"' in attributes and "src=" in attributes for attributes in scripts)
    assert not re.search(r"\son[a-z]+=\"|<style|\sstyle=\"|javascript:", text)
    assert not re.search(r'(src|action)="(https?:)?//', text)


@pytest.mark.parametrize(("path", "actor"), [("/account", Actor.CUSTOMER), ("/console", Actor.STAFF)])
async def test_signing_out_clears_the_browser(secure, new_customer, new_staff, path, actor):
    name = await (new_customer() if actor is Actor.CUSTOMER else new_staff("agent"))
    async with visitor(secure, base=BASE) as browser:
        await submit(browser, f"{path}/sign-in", username=name, password=PASSWORD)
        answer = await submit(browser, f"{path}/sign-out")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "strict-transport-security" in answer.headers
