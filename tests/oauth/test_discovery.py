"""Discovery says exactly what is there."""

import re

from authlib.oauth2 import rfc8414, rfc9207
from authlib.oidc import rpinitiated
from authlib.oidc.discovery import OpenIDProviderMetadata
from starlette.routing import Route

from cdp.operations.oauth.tokens import issuer_of
from tests.browser import BASE, visitor

WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


async def test_both_documents_are_valid_and_name_their_issuer(app):
    async with visitor(app) as client:
        one, other = [(await client.get(path)).json() for path in WELL_KNOWN]
    assert one == other
    assert one["issuer"] == BASE
    OpenIDProviderMetadata(one).validate(metadata_classes=[rpinitiated.OpenIDProviderMetadata])
    rfc8414.AuthorizationServerMetadata(one).validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert one["code_challenge_methods_supported"] == ["S256"]
    assert one["response_types_supported"] == ["code"]


async def test_every_address_it_names_is_served_and_every_oauth_route_is_named(app):
    async with visitor(app) as client:
        document = (await client.get(WELL_KNOWN[0])).json()
    named = {value.removeprefix(BASE) for key, value in document.items() if re.search("endpoint$|_uri$", key)}
    served = {route.path for route in app.routes if isinstance(route, Route) and route.path.startswith("/oauth/")}
    assert named == served - {"/oauth/register"}, "registration is off unless set"


async def test_keys_are_public_and_private_parts_are_not(app, platform):
    async with visitor(app) as client:
        answer = await client.get("/oauth/jwks")
    keys = answer.json()["keys"]
    assert [key["kid"] for key in keys] == [key.kid for key in issuer_of(platform).keys.key_set]
    assert all(set(key) == {"kty", "n", "e", "kid", "use", "alg"} for key in keys)
    assert "max-age" in answer.headers["cache-control"]
