"""How a kind signs in to another system over HTTP: a header, basic, a bearer token, or OAuth client credentials.

A token fetched with client credentials is kept in this process until shortly before it ends, one for each system and
set of secrets, and dropped when the system no longer takes it.
Source: RFC 6749 section 4.4, https://www.rfc-editor.org/rfc/rfc6749; RFC 6750, https://www.rfc-editor.org/rfc/rfc6750
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import Code, Json, Outcome, State, System
from cdp.connectors.calls import call, require_secrets, require_url, strict_json, trouble
from cdp.core.http import MAX_BODY_BYTES, Answer, Outbound
from cdp.core.platform import Platform

EARLY_S = 30
DEFAULT_LIFE_S = 300
MAX_LIFE_S = 24 * 3600
_CLOSED = ConfigDict(extra="forbid")
_TOKENS: WeakKeyDictionary[Outbound, dict[str, tuple[str, float]]] = WeakKeyDictionary()


@dataclass(frozen=True, config=_CLOSED)
class NoAuth:
    """The system asks for nothing."""

    type: Literal["none"]


@dataclass(frozen=True, config=_CLOSED)
class HeaderAuth:
    """A key in a header. ``secrets``: ``key``."""

    type: Literal["header"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,60}$")] = "X-Api-Key"


@dataclass(frozen=True, config=_CLOSED)
class BasicAuth:
    """Name and password (RFC 7617). ``secrets``: ``username``, ``password``."""

    type: Literal["basic"]


@dataclass(frozen=True, config=_CLOSED)
class BearerAuth:
    """A token that does not end. ``secrets``: ``token``."""

    type: Literal["bearer"]


@dataclass(frozen=True, config=_CLOSED)
class ClientCredentials:
    """A token from an authorization server. ``secrets``: ``client_id``, ``client_secret``."""

    type: Literal["client_credentials"]
    token_url: str
    scope: str = ""
    audience: str = ""


Auth: TypeAlias = Annotated[
    NoAuth | HeaderAuth | BasicAuth | BearerAuth | ClientCredentials, Field(discriminator="type")
]

_NEEDED: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "header": frozenset({"key"}),
    "basic": frozenset({"username", "password"}),
    "bearer": frozenset({"token"}),
    "client_credentials": frozenset({"client_id", "client_secret"}),
}


class Grant:
    """What a system wants to see with every call."""

    def __init__(
        self, system: System, platform: Platform, auth: Auth, secrets: Mapping[str, Json], *, timeout_s: float
    ) -> None:
        self._platform = platform
        self._auth = auth
        self._timeout_s = timeout_s
        self._secrets = require_secrets(secrets, _NEEDED[auth.type])
        if isinstance(auth, ClientCredentials):
            require_url(auth.token_url, "auth.token_url", platform)
        sealed = system.secrets_sealed or b""
        self._place = hashlib.sha256(f"{system.id}{auth!r}".encode() + sealed).hexdigest()

    async def headers(self) -> Mapping[str, str] | Outcome:
        """The headers that sign a call in, or why they can not be had."""
        secret = self._secrets
        match self._auth:
            case NoAuth():
                return {}
            case HeaderAuth(name=name):
                return {name: secret["key"]}
            case BasicAuth():
                return {"Authorization": _basic(secret["username"], secret["password"])}
            case BearerAuth():
                return {"Authorization": f"Bearer {secret['token']}"}
            case ClientCredentials() as credentials:
                token = self._kept() or await self._fetch(credentials)
                return token if isinstance(token, Outcome) else {"Authorization": f"Bearer {token}"}

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Answer | Outcome:
        """Make a call signed in; once more with a new token if the system no longer takes the one we had."""
        for may_renew in (True, False):
            signed = await self.headers()
            if isinstance(signed, Outcome):
                return signed
            answer = await call(
                self._platform,
                method,
                url,
                headers={**headers, **signed},
                content=content,
                timeout_s=self._timeout_s,
                max_bytes=max_bytes,
            )
            if not (isinstance(answer, Answer) and answer.status == 401 and self._drop() and may_renew):
                break
        return answer

    def _drop(self) -> bool:
        """Forget the token; whether a new one could be had."""
        if not isinstance(self._auth, ClientCredentials):
            return False
        return _TOKENS.get(self._platform.outbound, {}).pop(self._place, None) is not None

    def _kept(self) -> str | None:
        token, ends = _TOKENS.get(self._platform.outbound, {}).get(self._place, ("", 0.0))
        return token if ends > self._platform.clock().timestamp() else None

    async def _fetch(self, credentials: ClientCredentials) -> str | Outcome:
        form = {"grant_type": "client_credentials", "scope": credentials.scope, "audience": credentials.audience}
        # RFC 6749, 2.3.1: both halves are form-encoded before they become basic credentials
        client = (quote(self._secrets["client_id"], safe=""), quote(self._secrets["client_secret"], safe=""))
        answer = await call(
            self._platform,
            "POST",
            credentials.token_url,
            headers={
                "Authorization": _basic(*client),
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
            content=urlencode({name: value for name, value in form.items() if value}).encode(),
            timeout_s=self._timeout_s,
        )
        if isinstance(answer, Outcome):
            return answer
        return self._keep(answer)

    def _keep(self, answer: Answer) -> str | Outcome:
        if answer.status in {400, 401, 403}:
            return Outcome(State.FAILED, Code.NOT_ALLOWED)
        if answer.status != 200:
            return trouble(answer)
        try:
            said = strict_json(answer.body)
        except ValueError:
            said = None
        token = said.get("access_token") if isinstance(said, dict) else None
        kind = said.get("token_type") if isinstance(said, dict) else None
        if not isinstance(token, str) or not _is_token(token) or str(kind).lower() != "bearer":
            return Outcome(State.FAILED, "BAD_TOKEN_ANSWER")
        life = said.get("expires_in") if isinstance(said, dict) else None
        life_s = min(life, MAX_LIFE_S) if isinstance(life, int) else DEFAULT_LIFE_S
        ends = self._platform.clock().timestamp() + life_s - EARLY_S
        _TOKENS.setdefault(self._platform.outbound, {})[self._place] = (token, ends)
        return token


def _is_token(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def _basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()
