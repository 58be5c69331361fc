"""Foreign pages: only named origins, only where tokens are read, never with cookies."""

import httpx
import pytest

from cdp.core.settings import Settings
from cdp.endpoints.cors import OriginInvalid, origins_of
from tests.browser import BASE, serving

SHOP, OTHER = "https://shop.example", "https://evil.example"
ASKING = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


async def asked(settings: Settings, origins: str, method: str, path: str, **headers: str) -> httpx.Response:
    async with (
        serving(settings.model_copy(update={"cors_origins": origins})) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client,
    ):
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize("path", ["/graphql", "/oauth/token"])
async def test_a_named_origin_may_ask_with_a_token(settings: Settings, path: str):
    answer = await asked(settings, f"{SHOP}, http://localhost:3000", "OPTIONS", path, origin=SHOP, **ASKING)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert {"authorization", "content-type"} <= set(answer.headers["access-control-allow-headers"].lower().split(", "))
    assert "access-control-allow-credentials" not in answer.headers
    answer = await asked(settings, SHOP, "POST", path, origin=SHOP, **{"content-type": "application/json"})
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", SHOP + ".evil.example", "http://shop.example", SHOP + ":8443"])
async def test_any_other_origin_may_not(settings: Settings, origin: str):
    answer = await asked(settings, SHOP, "OPTIONS", "/graphql", origin=origin, **ASKING)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


async def test_pages_are_for_nobody_else_and_by_default_nothing_is(settings: Settings):
    for origins, path in ((SHOP, "/account"), (SHOP, "/oauth/authorize"), ("", "/graphql"), ("", "/oauth/token")):
        answer = await asked(settings, origins, "OPTIONS", path, origin=SHOP, **ASKING)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("setting", ["*", "https://*.example", "shop.example", "https://a@b", SHOP + "/", "null"])
def test_an_origin_is_a_scheme_and_a_host(setting: str):
    with pytest.raises(OriginInvalid):
        origins_of(setting)
    assert origins_of("") == []
