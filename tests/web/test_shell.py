"""The shell around every page: guarded routes, headers, errors, static files."""

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from cdp.app import build
from cdp.web.assets import ASSETS
from cdp.web.guard import Allow, Page
from cdp.web.routes import PAGES
from tests.browser import forms, title, visitor

# What answers without a page's guard, and why that is right.
UNGUARDED = {
    "/graphql": "its own door: bearer token, or session with CSRF token",
    "/oauth/": "protocol: clients prove themselves",
    "/bulk/export": "protocol: bearer tokens, checked by the operations",
    "/transfers": "protocol: bearer tokens of programs, checked by the operations",
    "/v1/tasks/": "protocol: systems prove themselves by the bearer token of their task",
    "/gdpr-api/": "protocol: bearer tokens of the profile service",
    "/opendsr/": "protocol: controllers by their clients' tokens",
    "/opengdpr_requests": "the same under its old name",
    "/.well-known/": "public documents",
    "/livez": "operation",
    "/readyz": "operation",
    "/metrics": "operation",
    "/static/": "public files",
}


def _pages(app: Starlette) -> dict[str, Page]:
    """Routes that go through the guard."""
    found = {}
    for route in app.routes:
        page = getattr(getattr(route, "endpoint", None), "__self__", None)
        if isinstance(route, Route) and isinstance(page, Page):
            found[route.path] = page
    return found


def _address(page: Page) -> str:
    return re.sub(r"{[^}]*}", "ER-2345-6789", page.path)


def test_every_route_is_guarded_or_says_why_not(app):
    guarded = _pages(app)
    strange = [
        route.path
        for route in app.routes
        if route.path not in guarded and not any(route.path.startswith(prefix) for prefix in UNGUARDED)
    ]
    assert not strange
    assert set(guarded) == {page.path for page in PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if page.allow is not Allow.ANYONE], ids=lambda page: page.path)
async def test_nobody_sees_a_page_without_signing_in(app, page):
    realm = "/console" if page.allow is Allow.STAFF else "/account"
    async with visitor(app) as stranger:
        for method in (["GET"] if page.show else []) + (["POST"] if page.submit else []):
            answer = await stranger.request(method, _address(page))
            assert answer.status_code == 303
            assert answer.headers["location"].startswith(f"{realm}/sign-in?next=%2F")


@pytest.mark.parametrize("page", [page for page in PAGES if page.submit], ids=lambda page: page.path)
async def test_no_page_takes_a_forged_form(app, new_customer, new_staff, signed_in, page):
    name, at = (
        (await new_staff("agent"), "/console/sign-in")
        if page.actor == "staff"
        else (await new_customer(), "/account/sign-in")
    )
    browser = await signed_in(name, page=at)
    for fields in ({}, {"csrf": "A" * 43}):
        answer = await browser.post(_address(page), data=fields)
        assert (answer.status_code, "CSRF_REFUSED" in answer.text) == (403, True)


async def test_every_answer_has_its_headers(app):
    async with visitor(app) as browser:
        answers = [
            await browser.get(path)
            for path in ("/account/sign-in", "/nowhere", "/livez", "/oauth/jwks", ASSETS["app.css"].address)
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


async def test_scripts_carry_the_nonce_of_their_page_and_nothing_is_inline(app):
    async with visitor(app) as browser:
        one, other = await browser.get("/account/sign-in"), await browser.get("/account/sign-in")
    nonce = re.search("'nonce-([^']+)'", one.headers["content-security-policy"])[1]
    assert nonce not in other.text
    scripts = re.findall("<script([^>]*)>([^<]*)</script>", one.text)
    assert scripts
    assert all(f'nonce="{nonce}"' in attributes and not body for attributes, body in scripts)
    assert not re.search(r"\son[a-z]+=|<style|\sstyle=|https?://", one.text)


async def test_errors_are_pages_for_people_and_json_for_programs(app):
    async with visitor(app) as browser:
        page = await browser.get("/nowhere")
        program = await browser.get("/nowhere", headers={"accept": "application/json"})
        wrong = await browser.put("/account/sign-in", headers={"accept": "*/*"})
    assert (page.status_code, program.status_code, wrong.status_code) == (404, 404, 405)
    assert title(page).startswith("There is nothing here")
    assert page.headers["x-request-id"] in page.text
    assert program.json() == {
        "code": "NOT_FOUND",
        "message": "There is nothing here, or it is not yours.",
        "requestId": program.headers["x-request-id"],
    }
    assert wrong.json()["code"] == "METHOD_NOT_ALLOWED"


async def test_a_bug_says_nothing_about_itself(settings, capfd):
    async def broken(_):
        raise ValueError("ada.lovelace@example.org")

    app = build(settings)
    async with app.router.lifespan_context(app):
        app.router.routes.append(Route("/broken", broken))
        async with visitor(app) as browser:
            page = await browser.get("/broken")
            program = await browser.get("/broken", headers={"accept": "application/json"})
    assert (page.status_code, program.json()["code"]) == (500, "INTERNAL")
    written = capfd.readouterr()
    for text in (page.text, program.text, written.out, written.err):
        assert "lovelace" not in text
        assert "Traceback" not in text
    assert "ValueError" in written.err
    assert program.json()["requestId"] in written.err


async def test_static_files_are_kept_for_ever_under_an_address_that_changes(app):
    async with visitor(app) as browser:
        for asset in ASSETS.values():
            answer = await browser.get(asset.address)
            assert (answer.status_code, answer.content) == (200, asset.body)
            assert "immutable" in answer.headers["cache-control"]
        assert (await browser.get("/static/app.css")).status_code == 404
        assert (await browser.get("/static/..%2Froutes.py")).status_code == 404


async def test_colours_are_remembered_without_scripts(app):
    async with visitor(app) as browser:
        page = await browser.get("/account/sign-in")
        fields = {**forms(page)["/display"], "theme": "dark"}
        answer = await browser.post("/display", data=fields)
        assert answer.headers["location"] == "/account/sign-in"
        assert 'data-theme="dark"' in (await browser.get("/account/sign-in")).text
        await browser.post("/display", data={**fields, "theme": '"><script>'})
        assert "data-theme" not in (await browser.get("/account/sign-in")).text


async def test_operation(app, fresh_settings):
    async with visitor(app) as probe:
        assert (await probe.get("/livez")).status_code == 200
        assert (await probe.get("/readyz")).status_code == 200
        await probe.get("/account/sign-in?next=/ada.lovelace")
        metrics = await probe.get("/metrics")
    assert 'cdp_http_requests_total{method="GET",route="/account/sign-in",status="200"}' in metrics.text
    assert "lovelace" not in metrics.text


async def test_not_ready_without_the_database(settings):
    app = build(settings)
    async with app.router.lifespan_context(app):
        state = app.state.platform
        await state.db.close()
        state.db.url = settings.database_url.replace("cdp_", "gone_")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as probe:
            answer = await probe.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNREACHABLE")
            assert (await probe.get("/livez")).status_code == 200
