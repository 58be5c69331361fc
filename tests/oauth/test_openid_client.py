"""npm ``openid-client``, a strict client nobody here wrote, against a real server over loopback."""

import asyncio
import json
import secrets
from asyncio.subprocess import PIPE, Process
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from cdp.access.viewer import SYSTEM, Viewer
from cdp.core.db import Role, Tx
from cdp.operations.accounts.accounts import Registration, register
from cdp.operations.oauth import clients
from cdp.operations.partners import grants, partners
from cdp.operations.partners.grants import Terms
from cdp.operations.partners.partners import NewPartner
from cdp.tables.partner import PartnerFunction
from cdp.tables.policy import LegalBasis
from tests import node
from tests.browser import forms
from tests.oauth.conftest import REDIRECT, new_verifier
from tests.partners.conftest import colleague
from tests.site import PASSWORD, listening

FOLDER = Path(__file__).parent / "openid_client"
HELD = [
    "discovery",
    "code with PKCE",
    "refresh",
    "replayed refresh token refused",
    "replayed code refused",
    "revocation",
    "plain, dropped and wrong PKCE refused",
    "wrong redirect refused",
    "DPoP",
    "client credentials with private_key_jwt",
    "pushed request",
    "introspection",
    "logout",
]
KEYS = {
    "RS256": (RSAKey.generate_key(2048), {"name": "RSASSA-PKCS1-v1_5", "hash": "SHA-256"}),
    "ES256": (ECKey.generate_key("P-256"), {"name": "ECDSA", "namedCurve": "P-256"}),
    "Ed25519": (OKPKey.generate_key("Ed25519"), {"name": "Ed25519"}),
}


@pytest.mark.filterwarnings("error")
async def test_a_strict_client_finds_nothing_wrong(settings):
    node.install(FOLDER, "openid-client")
    async with listening(settings) as (base, platform):
        wanted = {"base": base, "redirect": REDIRECT, "clients": await _clients(platform)}
        email = f"{new_verifier()[:8].lower()}@example.org"
        await register(platform, Registration(email, PASSWORD, accepts_policy=True))
        async with httpx.AsyncClient(base_url=base) as browser:
            await _sign_in(browser, email)
            client = await asyncio.create_subprocess_exec(
                node.BINARY, str(FOLDER / "client.mjs"), json.dumps(wanted), stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            try:
                async with asyncio.timeout(90):
                    held = await _serve(client, browser)
            finally:
                if client.returncode is None:
                    client.kill()
                errors = (await client.communicate())[1].decode()
    assert held == HELD, errors


async def _serve(client: Process, browser: httpx.AsyncClient) -> list[str]:
    """Be the browser of a client until it is done; what held."""
    held: list[str] = []
    assert client.stdin is not None
    assert client.stdout is not None
    async for line in client.stdout:
        said = json.loads(line)
        if "held" in said:
            held.append(said["held"])
        elif "open" in said:
            client.stdin.write((await _visit(browser, said["open"]) + "\n").encode())
    return held


async def _visit(browser: httpx.AsyncClient, address: str) -> str:
    """Follow redirects on our host; where the app's begins, or a page was shown."""
    answer = await browser.get(address)
    while answer.is_redirect:
        address = answer.headers["location"]
        if urlsplit(address).hostname == urlsplit(REDIRECT).hostname:
            return address
        answer = await browser.get(address)
    return str(browser.base_url.join("/refused" if answer.status_code == 400 else "/shown"))


async def _sign_in(browser: httpx.AsyncClient, email: str) -> None:
    page = await browser.get("/account/sign-in")
    fields = {**forms(page)["/account/sign-in"], "username": email, "password": PASSWORD}
    assert (await browser.post("/account/sign-in", data=fields)).status_code == 303


async def _clients(platform) -> dict[str, object]:
    officers = [await colleague(platform, "privacy_officer") for _ in range(3)]
    async with platform.db.transaction(Role.WORKER) as tx:
        shared = {"redirect_uris": [REDIRECT], "post_logout_redirect_uris": [f"{REDIRECT}/bye"], "first_party": True}
        public = await clients.add(tx, SYSTEM, "Phone", **shared)
        secret = await clients.add(tx, SYSTEM, "Shop", **shared, confidential=True, requires_pushed=True)
        programs = []
        for name, (key, algorithm) in KEYS.items():
            added = await clients.add(
                tx,
                SYSTEM,
                f"Partner {name}",
                redirect_uris=[],
                grant_types=["client_credentials"],
                jwks={"keys": [key.as_dict(private=False)]},
                authorization_types=["partner_access"],
            )
            detail = await _granted(tx, platform, officers, added.client.client_id)
            known = {"id": added.client.client_id, "details": [detail]}
            programs.append({**known, "jwk": key.as_dict(private=True), "algorithm": algorithm})
    return {
        "public": public.client.client_id,
        "secret": {"id": secret.client.client_id, "secret": secret.secret},
        "keys": programs,
    }


async def _granted(tx: Tx, platform, officers: list[Viewer], client_id: str) -> dict[str, str]:
    """What a program may ask for: a grant in force of a partner of its own."""
    proposer, second, third = officers
    partner = NewPartner(f"p-{secrets.token_hex(4)}", "Partner", "privacy@partner.example", client_id)
    partner_id = await partners.add(tx, proposer, platform, partner)
    now = platform.clock()
    lasts = (now - timedelta(hours=1), now + timedelta(days=1))
    terms = Terms(
        PartnerFunction.EMAIL_CONTACT,
        frozenset({"orders"}),
        frozenset({"EmailAddress.address"}),
        LegalBasis.CONTRACT,
        *lasts,
        retention_days=30,
        contract_reference="C-1",
    )
    grant_id = await grants.propose(tx, proposer, platform, partner_id, terms)
    for viewer in (second, third):
        await grants.agree(tx, viewer, platform, grant_id)
    return {"type": "partner_access", "purpose": "orders", "grant": str(grant_id)}
