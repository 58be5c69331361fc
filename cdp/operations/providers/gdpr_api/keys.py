"""The keys of the issuer whose tokens we take, found by its discovery and remembered for a while.

They are read again when a token names one we do not know, at most once a second: a rotation there needs nothing here.
Source: OpenID Connect Discovery 1.0 section 4; Core section 10.1.1 (key rotation).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from joserfc.jwk import KeySet

from cdp.core.db import Database
from cdp.core.errors import Unavailable
from cdp.core.http import AnswerTooLarge, CallFailed, Outbound, TargetForbidden
from cdp.core.platform import Platform
from cdp.operations.federation.directory import KEYS_AT_MOST_EVERY_S, LARGEST_BYTES, REMEMBERED_S, ProviderBroken
from cdp.operations.federation.directory import key_set as read_key_set

TIMEOUT_S = 5.0


class IssuerUnavailable(Unavailable):
    """The keys that would prove this call can not be read now; call again."""

    code = "ISSUER_UNAVAILABLE"


class IssuerKeys:
    """One issuer's keys, as this process knows them."""

    def __init__(self, outbound: Outbound, issuer: str) -> None:
        self._outbound = outbound
        self._issuer = issuer
        self._keys: KeySet | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def keys(self, *, but: KeySet | None = None) -> KeySet:
        """The keys; those it has now when ``but`` are the ones that did not fit. Raises IssuerUnavailable."""
        async with self._reading:
            age_s = time.monotonic() - self._read_at
            is_outdated = but is not None and self._keys is but and age_s > KEYS_AT_MOST_EVERY_S
            if self._keys is None or is_outdated or age_s > REMEMBERED_S:
                self._keys = await self._read()
                self._read_at = time.monotonic()
            return self._keys

    async def _read(self) -> KeySet:
        described = await self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        place = described.get("jwks_uri")
        if described.get("issuer") != self._issuer or not isinstance(place, str):
            raise IssuerUnavailable
        if urlsplit(place).scheme not in {urlsplit(self._issuer).scheme, "https"}:
            raise IssuerUnavailable
        try:
            return read_key_set(await self._fetch(place))
        except ProviderBroken as error:
            raise IssuerUnavailable from error

    async def _fetch(self, url: str) -> Mapping[str, Any]:
        headers = {"Accept": "application/json"}
        try:
            answer = await self._outbound.request(
                "GET", url, headers=headers, timeout_s=TIMEOUT_S, max_bytes=LARGEST_BYTES
            )
            found = json.loads(answer.body) if answer.status == 200 else None
        except (CallFailed, AnswerTooLarge, TargetForbidden, ValueError, RecursionError) as error:
            raise IssuerUnavailable from error
        if not isinstance(found, dict):
            raise IssuerUnavailable
        return found


_known: WeakKeyDictionary[Database, dict[str, IssuerKeys]] = WeakKeyDictionary()


def keys_of(platform: Platform, issuer: str) -> IssuerKeys:
    """The keys of an issuer, one reader a process; it lives as long as the platform's database."""
    issuers = _known.setdefault(platform.db, {})
    if issuer not in issuers:
        issuers[issuer] = IssuerKeys(platform.outbound, issuer)
    return issuers[issuer]
