"""Authlib's authorization server over one request and its transaction.

Source: Authlib 1.9, https://docs.authlib.org/en/stable/oauth2/authorization-server/; it knows Flask and Django only.
"""

import base64
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from anyio import from_thread, to_thread
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from cdp.access.scopes import SCOPES
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.endpoints.oauth.client_auth import by_assertion, methods_for
from cdp.operations.oauth import clients, grants
from cdp.operations.oauth.authorization_details import Details
from cdp.operations.oauth.client_assertions import METHOD
from cdp.operations.oauth.clients import OAuthClient
from cdp.operations.oauth.dpop import SCHEME
from cdp.operations.oauth.grants import Grant
from cdp.operations.oauth.tokens import AccessToken, Issuer, issuer_of, staff_roles

P = ParamSpec("P")
T = TypeVar("T")
Fields = ImmutableMultiDict[str, str]
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class UnreadableForm(InvalidInput):
    """This endpoint reads application/x-www-form-urlencoded, each parameter once."""

    code = "INVALID_REQUEST"


class Payload(OAuth2Payload):  # type: ignore[misc]  # Authlib has no types
    """Parameters of a request as Authlib reads them."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    @property
    def data(self) -> Mapping[str, str]:
        """First value of each parameter."""
        return self._fields

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        """All values of each parameter."""
        values: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in self._fields.multi_items():
            values[name].append(value)
        return values


class ProtocolRequest(OAuth2Request):  # type: ignore[misc]
    """An HTTP request whose form has been read; Authlib may not read it again from its thread."""

    def __init__(self, platform: Platform, request: Request, fields: Fields) -> None:
        # The public address decides whether the transport is secure, not the hop from a proxy to us.
        super().__init__(request.method, platform.settings.url + request.url.path, headers=request.headers)
        self.payload = Payload(fields)
        self._fields = fields

    @property
    def args(self) -> Fields:
        """Parameters of the query."""
        return self._fields

    @property
    def form(self) -> Fields:
        """Parameters of the body."""
        return self._fields


@dataclass
class Answer:
    """What Authlib answers, before it is a response."""

    status: int
    body: object
    headers: list[tuple[str, str]]

    def response(self) -> Response:
        """As HTTP; redirects are 303, so that a posted form is not posted on (RFC 9700 section 4.12)."""
        headers = dict(self.headers)
        if location := headers.get("Location"):
            return RedirectResponse(location, status_code=303, headers={"Cache-Control": "no-store"})
        found = {**headers, **NO_STORE}
        found.pop("Content-Type", None)
        return JSONResponse(self.body, status_code=self.status, headers=found)


class _Tokens(BearerTokenGenerator):  # type: ignore[misc]
    """Tokens; one that rests on authorization details alone has no scope, which Authlib takes for a mistake."""

    @staticmethod
    def get_allowed_scope(client: OAuthClient, scope: str | None) -> str:
        """See Authlib."""
        return "" if scope == "" else str(BearerTokenGenerator.get_allowed_scope(client, scope))


class Server(AuthorizationServer):  # type: ignore[misc]
    """One per request: everything it reads and writes happens in ``tx``."""

    def __init__(self, platform: Platform, tx: Tx) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.platform = platform
        self.tx = tx
        self.issuer: Issuer = issuer_of(platform)
        self.proven_key: str | None = None  # thumbprint of the DPoP proof of this request
        self.agent: AccessToken | None = None  # checked: the ``actor_token`` of this request
        self.narrowed: Details | None = None  # authorization details of this token, where they are not the grant's
        self._tokens = _Tokens(self._access_token, self._refresh_token, self._life_s)
        self.register_token_generator("default", self._token)
        self.register_client_auth_method(METHOD, self._by_assertion)

    def call(self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one of our async operations from Authlib's thread."""
        return from_thread.run(partial(work, *args, **kwargs))

    def query_client(self, client_id: str) -> OAuthClient | None:
        """See Authlib."""
        return self.call(clients.find, self.tx, client_id)

    def authenticate_client(
        self, request: ProtocolRequest, methods: Sequence[str], endpoint: str = "token"
    ) -> OAuthClient:
        """See Authlib; one way to prove oneself at a time. Who fails leaves an event, in the same transaction."""
        try:
            wanted = methods_for(request.form, request.headers, methods)
            client: OAuthClient = super().authenticate_client(request, wanted, endpoint)
        except InvalidClientError:
            self.call(clients.record_refusal, self.tx, _claimed(request))
            raise
        return client

    def _by_assertion(self, query_client: object, request: ProtocolRequest) -> OAuthClient:  # noqa: ARG002 - Authlib's
        address, _, _ = request.uri.partition("?")
        return self.call(by_assertion, self.platform, self.tx, request.form, address)

    def save_token(self, token: Mapping[str, object], request: OAuth2Request) -> None:
        """Nothing to do: a refresh token is written when it is made, an access token is kept nowhere."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: ProtocolRequest) -> ProtocolRequest:
        """It is one already."""
        return request

    def handle_response(
        self, status: int, body: object, headers: list[tuple[str, str]]
    ) -> Answer:  # house-rules: Authlib's name
        """Keep it until the thread is done."""
        return Answer(status, body, headers)

    def _token(self, *, client: OAuthClient, user: Grant, **asked: object) -> dict[str, object]:
        if client.requires_dpop and self.proven_key is None:
            raise InvalidRequestError("This client sends a DPoP proof with every token request.")
        token: dict[str, object] = self._tokens(client=client, user=user, **asked)
        if self.proven_key is not None:
            token["token_type"] = SCHEME
        if details := self._details(user):
            token["authorization_details"] = [dict(detail) for detail in details]
        return token

    def _details(self, grant: Grant) -> Details:
        return grant.details if self.narrowed is None else self.narrowed

    def _access_token(self, client: OAuthClient, grant_type: str, user: Grant, scope: str) -> str:  # noqa: ARG002
        roles = self.call(staff_roles, self.tx, user)
        return self.issuer.access_token(user, scope, roles=roles, details=self._details(user), jkt=self.proven_key)

    def delegated_token(self, grant: Grant) -> tuple[str, int]:
        """A token of a grant in which the agent of this request acts, and how many seconds it lives."""
        assert self.agent is not None, "somebody acts"
        roles = self.call(staff_roles, self.tx, grant)
        token = self.issuer.access_token(grant, grant.scope, roles=roles, jkt=self.proven_key, agent=self.agent)
        return token, self.issuer.delegated_life_s(self.agent)

    def _refresh_token(self, client: OAuthClient, grant_type: str, user: Grant, scope: str) -> str:  # noqa: ARG002
        life_s, now = self.platform.settings.refresh_token_ttl_s, self.platform.clock()
        # Who proves itself at every refresh needs no key beside (RFC 9449 section 5).
        jkt = self.proven_key if client.is_public else None
        return self.call(grants.issue_refresh_token, self.tx, user, client, now=now, life_s=life_s, jkt=jkt)

    def _life_s(self, client: OAuthClient, grant_type: str) -> int:  # noqa: ARG002
        return self.platform.settings.access_token_ttl_s


def _claimed(request: ProtocolRequest) -> str | None:
    """Which client a request says it is from."""
    basic, _ = extract_basic_authorization(request.headers)
    return basic or request.form.get("client_id")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run Authlib beside the event loop."""
    return await to_thread.run_sync(partial(work, *args, **kwargs))


async def read_form(request: Request) -> Fields:
    """The form of a protocol request. Raises UnreadableForm."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise UnreadableForm
    form = await request.form(max_files=0, max_fields=50)
    pairs = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    return Fields(pairs)


def refuse_repeated(fields: Fields) -> None:
    """RFC 6749 section 3.2: parameters are not sent twice."""
    names = [name for name, _ in fields.multi_items()]
    if len(names) != len(set(names)):
        raise InvalidRequestError("A parameter is sent twice.")


def failure(error: OAuth2Error) -> Answer:
    """An error in the shape of RFC 6749 section 5.2."""
    return Answer(*error())


def refuse_unreadable_basic(headers: Headers) -> None:
    """Authlib decodes the Authorization header without a thought about bytes that are no text."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "basic":
            base64.b64decode(value.encode("ascii"), validate=True).decode()
    except ValueError as error:
        raise InvalidClientError(status_code=401) from error
