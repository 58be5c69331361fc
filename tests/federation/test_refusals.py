"""What a provider, or somebody who plays one, may not get away with; and what its absence looks like."""

import asyncio
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.errors import Unavailable
from cdp.core.http import Outbound
from cdp.core.settings import Realms
from cdp.operations.federation.directory import KEYS_AT_MOST_EVERY_S, Directory
from cdp.operations.federation.provider import ProviderMisconfigured, provider_of
from cdp.tables.audit import audit_event
from tests.browser import serving
from tests.connectors.serving import answer, hang
from tests.connectors.serving import serving as peer

NOW = time.time()


@pytest.fixture
async def tamper(outside):
    """Let the provider sign claims it should not: ``await tamper(nonce="x")``; None leaves one out."""

    async def make(**claims: object) -> None:
        await outside.control(tampered=claims)

    yield make
    await outside.control(tampered=None)


async def last_refusal(platform) -> str:
    async with platform.db.transaction(Role.WORKER) as tx:
        newest = select(audit_event.c.code).where(audit_event.c.action == "session.refused")
        return await tx.scalar(newest.order_by(audit_event.c.id.desc()).limit(1))


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": ["cdp", "another client"]},
        {"aud": ["cdp", "another client"], "azp": "another client"},
        {"azp": "another client"},
        {"aud": None},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": "soon"},
        {"iat": NOW + 3600},
        {"iat": None},
        {"auth_time": None},
        {"auth_time": NOW - 365 * 86400},
        {"auth_time": NOW + 3600},
        {"sub": "somebody else"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 300},
        {"alg": "HS256"},
    ],
    ids=",".join,  # the same names in every process, whatever the time
)
async def test_a_proof_that_does_not_hold(platform, surf, newcomer, tamper, claims):
    login, _ = await newcomer()
    await tamper(**claims)
    browser = await surf()
    refused = await browser.sign_in(login)
    assert (refused.status_code, "ID_TOKEN_INVALID" in refused.text) == (401, True), refused.text
    assert browser.client.cookies.get("cdp_session") is None
    assert await last_refusal(platform) == "ID_TOKEN_INVALID"
    assert login not in refused.text


async def test_two_audiences_are_fine_when_we_are_the_party(surf, newcomer, tamper):
    login, _ = await newcomer()
    await tamper(aud=["cdp", "another client"], azp="cdp")
    assert (await (await surf()).sign_in(login)).status_code == 303


async def test_a_step_up_that_the_provider_did_not_do(surf, newcomer, tamper):
    login, _ = await newcomer()
    browser = await surf()
    await browser.sign_in(login)
    await browser.submit("/account/sign-in/welcome", policy="yes")
    await tamper(auth_time=NOW - 3000)
    refused = await browser.sign_in(login, page="/account/sign-in/provider?reauth=1")
    assert (refused.status_code, "ID_TOKEN_INVALID" in refused.text) == (401, True)


async def test_keys_rotate(surf, newcomer, outside):
    login, _ = await newcomer()
    assert (await (await surf()).sign_in(login)).status_code == 303
    await asyncio.sleep(KEYS_AT_MOST_EVERY_S)
    await outside.control(key="second")
    browser = await surf()
    assert (await browser.sign_in(login)).headers["location"] == "/account/sign-in/welcome"


async def _begun(browser) -> dict[str, str]:
    """Parameters the provider was sent; the browser keeps the cookie."""
    sent = await browser.get("/account/sign-in/provider")
    return {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"state": "x" * 43}, "PROVIDER_FLOW_LOST"),
        ({"state": ""}, "PROVIDER_FLOW_LOST"),
        ({"state": "ü"}, "PROVIDER_FLOW_LOST"),
        ({"iss": "https://evil.example"}, "PROVIDER_FLOW_LOST"),
        ({"code": "x" * 5000}, "PROVIDER_FLOW_LOST"),
        ({"error": "access_denied"}, "PROVIDER_REFUSED"),
        ({"code": "made-up"}, "PROVIDER_REFUSED"),
    ],
)
async def test_an_answer_that_is_none(surf, outside, changed, code):
    browser = await surf()
    asked = await _begun(browser)
    given = {"state": asked["state"], "iss": outside.issuer, **changed}
    refused = await browser.get(f"/account/sign-in/callback?{urlencode(given)}")
    assert (refused.status_code, code in refused.text) == (401, True), refused.text


async def test_the_issuer_must_name_itself_where_it_says_it_does(surf):
    """The mix-up attack: another provider's answer passed off as this one's (RFC 9207)."""
    browser = await surf()
    asked = await _begun(browser)
    refused = await browser.get(f"/account/sign-in/callback?{urlencode({'state': asked['state'], 'code': 'x'})}")
    assert "PROVIDER_FLOW_LOST" in refused.text


async def test_an_answer_in_another_browser_opens_nothing(surf):
    """Nobody is signed in to a foreign account by following an address (login CSRF)."""
    attacker, victim = await surf(), await surf()
    asked = await _begun(attacker)
    await _begun(victim)
    refused = await victim.get(f"/account/sign-in/callback?{urlencode({'state': asked['state'], 'code': 'x'})}")
    assert "PROVIDER_FLOW_LOST" in refused.text
    nothing = await (await surf()).get("/account/sign-in/callback?state=x&code=y")
    assert "PROVIDER_FLOW_LOST" in nothing.text


async def test_a_cookie_of_customers_opens_nothing_for_staff(surf, outside):
    browser = await surf()
    asked = await _begun(browser)
    cookie = browser.client.cookies.get("cdp_provider")
    browser.client.cookies.set("cdp_console_provider", cookie, domain="localhost.local")
    given = urlencode({"state": asked["state"], "code": "x", "iss": outside.issuer})
    assert "PROVIDER_FLOW_LOST" in (await browser.get(f"/console/sign-in/callback?{given}")).text


@pytest.fixture
async def stranger(federated):
    """Ask a provider of the test's own what it is; the code of the refusal."""
    outbound = Outbound(allow_private=True)

    async def ask(respond) -> str:
        with peer(respond) as url:
            provider = provider_of(federated.model_copy(update={"oidc_issuer": url}))
            directory = Directory(outbound, provider, timeout_s=0.5)
            with pytest.raises(Unavailable) as refused:
                await directory.endpoints()
        return refused.value.code

    yield ask
    await outbound.close()


def _described(url: str, **changed: object) -> dict[str, object]:
    names = {"authorization_endpoint": "/a", "token_endpoint": "/t", "jwks_uri": "/k"}
    return {"issuer": url, **{name: url + path for name, path in names.items()}, **changed}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"issuer": "https://evil.example"}, "PROVIDER_BROKEN"),
        ({"token_endpoint": None}, "PROVIDER_BROKEN"),
        ({"token_endpoint": "file:///etc/passwd"}, "PROVIDER_BROKEN"),
        ({"jwks_uri": 7}, "PROVIDER_BROKEN"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "PROVIDER_BROKEN"),
        (b"<html>", "PROVIDER_BROKEN"),
        (b"[" * 50_000, "PROVIDER_BROKEN"),
        (b"x" * 300_000, "PROVIDER_UNAVAILABLE"),
        (500, "PROVIDER_UNAVAILABLE"),
        (404, "PROVIDER_BROKEN"),
        (302, "PROVIDER_BROKEN"),
    ],
    ids=lambda given: str(given)[:40] if not isinstance(given, bytes) else f"{given[:3]}…{len(given)}",
)
async def test_a_provider_that_talks_nonsense(stranger, given, code):
    async def respond(call):
        if isinstance(given, dict):
            return answer(200, _described(f"http://{call.headers['host']}", **given))
        return answer(given, {}) if isinstance(given, int) else answer(200, given)

    assert await stranger(respond) == code


async def test_a_provider_that_never_answers(stranger):
    async def respond(call):
        await hang()

    assert await stranger(respond) == "PROVIDER_UNAVAILABLE"


async def test_a_provider_that_is_gone(federated, surf):
    settings = federated.model_copy(update={"oidc_issuer": "http://127.0.0.1:1"})
    async with serving(settings) as app:
        browser = await surf(app)
        page = await browser.get("/account/sign-in/provider")
        assert (page.status_code, "PROVIDER_UNAVAILABLE" in page.text) == (503, True)
        assert (await browser.get("/account/sign-in")).status_code == 200, "the page itself needs nobody"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"oidc_issuer": "http://provider.example"}, "https"),
        ({"oidc_issuer": "ftp://provider.example"}, "https"),
        ({"oidc_client_id": ""}, "CDP_OIDC_CLIENT_ID"),
        ({"oidc_scopes": "profile"}, "openid"),
        ({"oidc_roles": ""}, "CDP_OIDC_ROLES"),
        ({"oidc_roles": "desk=agent"}, "JSON"),
        ({"oidc_roles": "[1]"}, "JSON"),
        ({"oidc_roles": '{"desk": ["king"]}'}, "king"),
        ({"base_url": "https://data.example"}, "https"),
    ],
    ids=str,
)
def test_settings_that_do_not_add_up(federated, changed, said):
    with pytest.raises(ProviderMisconfigured, match=said):
        provider_of(federated.model_copy(update=changed))


def test_customers_alone_need_no_roles(federated):
    found = provider_of(federated.model_copy(update={"oidc_for": Realms.CUSTOMERS, "oidc_roles": ""}))
    assert found.realms == {"customer"}


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["desk"]}),
        ("roles", {"roles": "desk"}),
        ("realm_access.roles", {"realm_access": {"roles": ["desk", 7]}}),
        ("https://corp.example/roles", {"https://corp.example/roles": ["desk"]}),
    ],
)
def test_roles_are_found_where_providers_keep_them(federated, claim, claims):
    provider = provider_of(federated.model_copy(update={"oidc_roles_claim": claim}))
    assert provider.roles_of(claims) == {"agent"}
    assert provider.roles_of({}) == frozenset()
