"""``cdp token`` and ``cdp client``: run as a person runs them, against the worker's database."""

import json
import os
import secrets
import subprocess
import sys

import pytest

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.operations.oauth import clients, registration
from cdp.operations.oauth.tokens import issuer_of, viewer_from_bearer
from tests.oauth.keyring import new_key
from tests.site import app, new_customer, new_staff, platform

__all__ = ["app", "new_customer", "new_staff", "platform"]


def run(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``cdp`` with these arguments against a platform."""
    given = {
        "CDP_ENV": "test",
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": settings.objects_url,
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "cdp", *arguments],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_a_token_of_a_customer_is_accepted(settings, platform, new_customer):
    name = await new_customer()
    done = run(settings, "token", "--user", name.upper(), "--scope", "openid profile:read", "--scope", "privacy:read")
    assert done.returncode == 0, done.stderr
    viewer = await viewer_from_bearer(platform, done.stdout.strip())
    assert viewer.scopes == {"openid", "profile:read", "privacy:read"}
    viewer.require_fresh(platform.clock(), max_age_s=60)
    assert viewer.client_id == clients.COMMAND_LINE


async def test_a_token_of_staff_carries_the_roles(settings, platform, new_staff):
    done = run(settings, "token", "--user", await new_staff("agent"))
    viewer = await viewer_from_bearer(platform, done.stdout.strip())
    assert (viewer.actor, viewer.roles) == (Actor.STAFF, {"agent"})


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (("--user", "nobody@example.org"), {}, 1, "USER_NOT_FOUND"),
        (("--user", "NAME", "--scope", "customers:read"), {}, 1, "UNKNOWN_SCOPE"),
        (("--user", "NAME", "--scope", "everything"), {}, 1, "UNKNOWN_SCOPE"),
        (("--user", "NAME", "--client", "nobody"), {}, 1, "NOT_FOUND"),
        ((), {}, 2, "--user"),
        (
            ("--user", "NAME"),
            {"CDP_ENV": "production", "CDP_BASE_URL": "https://data.example", "CDP_MASTER_KEYS": "a:" + "A" * 43 + "="},
            3,
            "NOT_IN_PRODUCTION",
        ),
    ],
)
async def test_a_token_is_refused(settings, new_customer, arguments, environment, code, said):
    name = await new_customer()
    done = run(settings, "token", *(name if word == "NAME" else word for word in arguments), **environment)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert name not in done.stderr


async def test_a_client_is_added_and_its_secret_works(settings, platform):
    uri = "https://shop.example/callback"
    done = run(settings, "client", "add", "Corner shop", "--redirect-uri", uri, "--confidential")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await clients.find(tx, shown["client_id"])
    assert found is not None
    assert found.check_client_secret(shown["client_secret"])
    assert not found.check_client_secret(secrets.token_urlsafe(32))
    assert (found.redirect_uris, found.first_party) == ((uri,), False)
    public = json.loads(run(settings, "client", "add", "App", "--redirect-uri", "com.example.app:/back").stdout)
    assert "client_secret" not in public
    assert public["token_endpoint_auth_method"] == "none"


@pytest.mark.parametrize(
    "uri",
    [
        "http://shop.example/callback",
        "https://shop.example/callback#part",
        "https://*.shop.example/",
        "https://user@shop.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/back",
        "/callback",
        "https://",
        "https://shöp.example/",
        "https://[::1",
    ],
)
def test_a_dangerous_redirect_address_is_refused(uri):
    with pytest.raises(clients.InvalidRedirect):
        clients.check_redirect_uri(uri)


@pytest.mark.parametrize(
    "uri", ["http://localhost:4000/cb", "http://127.0.0.1/cb", "http://[::1]:1/", "com.example.app:/cb"]
)
def test_those_of_native_apps_are_not(uri):
    assert clients.check_redirect_uri(uri) == uri


def test_an_unsupported_grant_is_refused(settings):
    done = run(settings, "client", "add", "X", "--redirect-uri", "https://x.example/", "--grant", "password")
    assert (done.returncode, "INVALID_GRANT_TYPE" in done.stderr) == (1, True)


async def test_a_program_is_added_by_its_public_keys(settings, platform, tmp_path):
    keys = {"keys": [new_key().as_dict(private=False)]}
    file = tmp_path / "partner.jwks"
    file.write_text(json.dumps(keys), encoding="utf-8")
    given = ("--grant", "client_credentials", "--jwks", str(file), "--scope", "systems:read", "--require-dpop")
    done = run(settings, "client", "add", "Partner", *given, "--authorization-type", "partner_access")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["token_endpoint_auth_method"], "client_secret" in shown) == ("private_key_jwt", False)
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await clients.find(tx, shown["client_id"])
    assert (found.jwks, found.scopes, found.requires_dpop) == (keys, ("systems:read",), True)
    assert (found.grant_types, found.authorization_types) == (("client_credentials",), ("partner_access",))
    nowhere = run(settings, "client", "add", "Shop")
    assert (nowhere.returncode, "--redirect-uri" in nowhere.stderr) == (2, True)


async def test_an_app_is_invited(settings, platform):
    done = run(settings, "client", "invite", "Wren Ltd", "--days", "2")
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["initial_access_token"]
    app = {"client_name": "Wren", "redirect_uris": ["https://wren.example/back"]}
    async with platform.db.transaction(Role.WORKER) as tx:
        added = await registration.register(tx, token, app, now=platform.clock())
        assert await clients.find(tx, added.client.client_id)


def test_the_issuer_of_a_platform_is_one(platform):
    assert issuer_of(platform) is issuer_of(platform)
