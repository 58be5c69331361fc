"""Addresses of the authorization server."""

from collections.abc import Sequence

from starlette.routing import Route

from cdp.endpoints.oauth.authorize import authorize
from cdp.endpoints.oauth.device import authorize_device
from cdp.endpoints.oauth.discovery import configuration, jwks
from cdp.endpoints.oauth.logout import logout
from cdp.endpoints.oauth.par import push
from cdp.endpoints.oauth.registration import register
from cdp.endpoints.oauth.token import introspect, revoke, token
from cdp.endpoints.oauth.userinfo import userinfo
from cdp.operations.oauth.clients import AUTHORIZE_PATH

routes: Sequence[Route] = (
    Route("/oauth/token", token, methods=["POST"]),
    Route(AUTHORIZE_PATH, authorize, methods=["GET", "POST"]),
    Route("/oauth/par", push, methods=["POST"]),
    Route("/oauth/register", register, methods=["POST"]),
    Route("/oauth/userinfo", userinfo, methods=["GET", "POST"]),
    Route("/oauth/revoke", revoke, methods=["POST"]),
    Route("/oauth/introspect", introspect, methods=["POST"]),
    Route("/oauth/device_authorization", authorize_device, methods=["POST"]),
    Route("/oauth/logout", logout, methods=["GET", "POST"]),
    Route("/oauth/jwks", jwks, methods=["GET"]),
    Route("/.well-known/openid-configuration", configuration, methods=["GET"]),
    Route("/.well-known/oauth-authorization-server", configuration, methods=["GET"]),
)
