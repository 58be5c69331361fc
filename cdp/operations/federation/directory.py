"""What a provider says about itself: its endpoints and its keys, remembered for a while.

Keys are read again when a token names one we do not know, at most once a second, so that a rotation there needs nothing
here and nobody can make us ask in a loop. Sources: OpenID Connect Discovery 1.0; Core section 10.1.1 (key rotation).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cdp.core.db import Database
from cdp.core.errors import Unavailable
from cdp.core.http import AnswerTooLarge, CallFailed, Outbound, TargetForbidden
from cdp.core.platform import Platform
from cdp.operations.federation.provider import Provider

REMEMBERED_S = 3600.0
KEYS_AT_MOST_EVERY_S = 1.0
TIMEOUT_S = 10.0
LARGEST_BYTES = 256 * 1024
# Asymmetric and in wide use; never what a token asks for (RFC 8725 section 3.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")


class ProviderUnavailable(Unavailable):
    """The service you sign in with does not answer; try again in a moment."""

    code = "PROVIDER_UNAVAILABLE"


class ProviderBroken(Unavailable):
    """The service you sign in with answers in a way we can not trust."""

    code = "PROVIDER_BROKEN"


@dataclass(frozen=True)
class Endpoints:
    """Where a provider is asked what; the optional ones are None where it has none."""

    authorization: str
    token: str
    jwks: str
    userinfo: str | None
    end_session: str | None
    auth_methods: frozenset[str]
    names_itself: bool
    algorithms: tuple[str, ...]


class Directory:
    """One provider's description and keys, as this process knows them."""

    def __init__(self, outbound: Outbound, provider: Provider, *, timeout_s: float = TIMEOUT_S) -> None:
        self._outbound = outbound
        self._timeout_s = timeout_s
        self._provider = provider
        self._endpoints: Endpoints | None = None
        self._endpoints_at = float("-inf")
        self._keys: KeySet | None = None
        self._keys_at = float("-inf")
        self._reading = asyncio.Lock()

    async def endpoints(self) -> Endpoints:
        """Read the description, or remember it. Raises ProviderUnavailable, ProviderBroken."""
        async with self._reading:
            if self._endpoints is None or time.monotonic() - self._endpoints_at > REMEMBERED_S:
                address = f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration"
                self._endpoints = self._described(await self.fetch("GET", address))
                self._endpoints_at = time.monotonic()
            return self._endpoints

    async def keys(self, *, but: KeySet | None = None) -> KeySet:
        """The provider's keys; those it has now when ``but`` are the ones that did not fit."""
        endpoints = await self.endpoints()
        async with self._reading:
            age_s = time.monotonic() - self._keys_at
            is_outdated = but is not None and self._keys is but and age_s > KEYS_AT_MOST_EVERY_S
            if self._keys is None or is_outdated or age_s > REMEMBERED_S:
                self._keys = key_set(await self.fetch("GET", endpoints.jwks))
                self._keys_at = time.monotonic()
            return self._keys

    async def fetch(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> dict[str, Any]:
        """Call the provider and read its JSON object; an OAuth error is one too.

        Raises ProviderUnavailable, ProviderBroken.
        """
        given = {"Accept": "application/json", **(headers or {})}
        try:
            answer = await self._outbound.request(
                method,
                url,
                headers=given,
                content=content,
                timeout_s=self._timeout_s,
                max_bytes=LARGEST_BYTES,
                may_be_inside=True,
            )
        except (CallFailed, AnswerTooLarge, TargetForbidden) as error:
            raise ProviderUnavailable from error
        if answer.status >= 500:
            raise ProviderUnavailable
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise ProviderBroken from error
        if not isinstance(found, dict) or (answer.status != 200 and "error" not in found):
            raise ProviderBroken
        return found

    def _described(self, found: Mapping[str, Any]) -> Endpoints:
        if found.get("issuer") != self._provider.issuer:
            raise ProviderBroken
        needed = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        userinfo, end_session = found.get("userinfo_endpoint"), found.get("end_session_endpoint")
        optional = [one for one in (userinfo, end_session) if one is not None]
        scheme = urlsplit(self._provider.issuer).scheme
        for address in (*needed, *optional):
            if not isinstance(address, str) or urlsplit(address).scheme not in {scheme, "https"}:
                raise ProviderBroken
        signed_with = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        algorithms = tuple(one for one in ALGORITHMS if one in signed_with)
        if not algorithms:
            raise ProviderBroken
        methods = frozenset(found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"])
        names_itself = found.get("authorization_response_iss_parameter_supported") is True
        authorization, token, jwks = map(str, needed)
        return Endpoints(authorization, token, jwks, userinfo, end_session, methods, names_itself, algorithms)


_directories: WeakKeyDictionary[Database, dict[str, Directory]] = WeakKeyDictionary()


def directory_of(platform: Platform, provider: Provider) -> Directory:
    """The directory of a provider, one a process; it lives as long as the platform's database."""
    known = _directories.setdefault(platform.db, {})
    if provider.issuer not in known:
        known[provider.issuer] = Directory(platform.outbound, provider)
    return known[provider.issuer]


def key_set(found: Mapping[str, Any]) -> KeySet:
    """The signing keys of a JWK set; one of a kind we do not know hides no other. Raises ProviderBroken."""
    keys = []
    for one in found.get("keys") or ():
        if isinstance(one, dict) and one.get("use", "sig") == "sig":
            try:
                keys += KeySet.import_key_set({"keys": [one]}).keys
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    if not keys:
        raise ProviderBroken
    return KeySet(keys)
