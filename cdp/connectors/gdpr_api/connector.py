"""The GDPR API as its caller: one address a person, GET to see, DELETE to erase, ``dry_run`` to ask.

Source: gdpr-api-openapi.yaml 1.1.0 of https://github.com/City-of-Helsinki/open-city-profile
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import (
    Code,
    ConfigurationInvalid,
    Outcome,
    Page,
    Problem,
    State,
    Subject,
    System,
    Unfinished,
)
from cdp.connectors.calls import call, configured, open_secrets, require_secrets, require_url
from cdp.connectors.gdpr_api.answers import Held, held, refusal
from cdp.connectors.gdpr_api.passes import SignedAuth, token
from cdp.connectors.grants import ClientCredentials, Grant
from cdp.core.http import MAX_BODY_BYTES, Answer
from cdp.core.ids import new_id
from cdp.core.platform import Platform

QUERY_MAX_BYTES = 8 * 1024 * 1024
PAGE_RECORDS = 500
_TOKENS = ("$profile_id", "$user_uuid")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
Found: TypeAlias = list[tuple[str, Held | None]]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Service:
    """``configuration``. ``by``: our own id of the customer (the ``sub`` of our tokens) or a customer number."""

    url: str
    auth: Annotated[SignedAuth | ClientCredentials, Field(discriminator="type")]
    by: Literal["customer_id", "customer_number"] = "customer_id"
    issuer: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


class GdprApi:
    """One service. ``secrets``: ``client_id`` and ``client_secret`` where tokens come from a token endpoint."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._platform = platform
        self._service = service = configured(Service, system.configuration)
        _require_address(service.url, platform)
        secrets = open_secrets(system, platform)
        if isinstance(service.auth, SignedAuth):
            require_secrets(secrets, frozenset())
            _require_another(service.auth.audience, platform)
            self._grant = None
        else:
            self._grant = Grant(system, platform, service.auth, secrets, timeout_s=service.timeout_s)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:  # noqa: ARG002
        """Yield the service's nodes as records."""
        found = await self._found(subject)
        if isinstance(found, Outcome):
            raise Unfinished(found)
        for _, known in found:
            if known:
                for start in range(0, len(known.records), PAGE_RECORDS):
                    yield Page(known.collection, known.records[start : start + PAGE_RECORDS])

    async def check(self, subject: Subject, key: str) -> Outcome:
        """Ask with ``dry_run``, and look again: a service that took it for an order is caught here."""
        found = await self._found(subject)
        if isinstance(found, Outcome):
            return found
        for person, known in found:
            if known is None:
                continue
            answer = await self._call("DELETE", person, key=key, dry_run=True)
            if isinstance(answer, Outcome):
                return answer
            if answer.status != 204:
                return refusal(answer, subject)
        again = await self._found(subject)
        if isinstance(again, Outcome):
            return again
        if any(before and not after for (_, before), (_, after) in zip(found, again, strict=True)):
            return Outcome(State.FAILED, "DRY_RUN_ERASED")
        return _done(found, Code.FOUND)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Delete; only 204 is done. 404 is nothing there, if a query says the same."""
        found = await self._found(subject)
        if isinstance(found, Outcome):
            return found
        for person, known in found:
            answer = await self._call("DELETE", person, key=key)
            if isinstance(answer, Outcome):
                return answer
            left = known
            if answer.status == 404 and known is not None:
                looked = await self._look(person)
                if isinstance(looked, Outcome):
                    return looked
                left = looked
            if answer.status != 204 and not (answer.status == 404 and left is None):
                return refusal(answer, subject)
        return _done(found, Code.ERASED)

    async def verify(self, subject: Subject, key: str) -> Outcome:  # noqa: ARG002
        """Query again; only 204 is nothing."""
        found = await self._found(subject)
        if isinstance(found, Outcome):
            return found
        counts = _counts(found)
        if any(known for _, known in found):
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records=counts)
        return Outcome(State.DONE, Code.NOTHING_LEFT)

    async def probe(self) -> tuple[Problem, ...]:
        """Query and rehearse about nobody, which must be 204, and once with a spoilt token, which must be 401."""
        nobody = str(new_id())
        looked = await self._look(nobody)
        if isinstance(looked, Outcome):
            return (Problem(looked.code, "url", "A query about nobody was not answered with 204"),)
        if looked:
            return (Problem("NOBODY_FOUND", "url", "The service holds data about somebody nobody knows"),)
        answer = await self._call("DELETE", nobody, key=f"probe:{nobody}", dry_run=True)
        if isinstance(answer, Outcome) or answer.status != 204:
            code = answer.code if isinstance(answer, Outcome) else Code.BAD_ANSWER
            return (Problem(code, "url", "A dry run about nobody was not answered with 204"),)
        forged = await self._forged(nobody)
        if isinstance(forged, Answer) and forged.status != 401:
            return (Problem("TOKEN_NOT_CHECKED", "auth", "The service took a token with a wrong signature"),)
        return ()

    async def _found(self, subject: Subject) -> Found | Outcome:
        people = self._people(subject)
        if isinstance(people, Outcome):
            return people
        found: Found = []
        for person in people:
            looked = await self._look(person)
            if isinstance(looked, Outcome):
                return looked
            found.append((person, looked))
        return found

    def _people(self, subject: Subject) -> list[str] | Outcome:
        """The ids the service knows this person by."""
        if self._service.by == "customer_id":
            return [str(known) for known in (subject.customer_id, *subject.former_ids)]
        known = [i.value for i in subject.proven if i.type == self._service.by and i.issuer == self._service.issuer]
        if not known:
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        return known if all(map(_ID.fullmatch, known)) else Outcome(State.FAILED, "VALUE_NOT_USABLE")

    async def _look(self, person: str) -> Held | Outcome | None:
        answer = await self._call("GET", person, max_bytes=QUERY_MAX_BYTES)
        return answer if isinstance(answer, Outcome) else held(answer)

    async def _call(
        self,
        method: Literal["GET", "DELETE"],
        person: str,
        *,
        key: str = "",
        dry_run: bool = False,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Answer | Outcome:
        url = _address(self._service.url, person) + ("?dry_run=true" if dry_run else "")
        headers = {"Accept": "application/json"} | ({"Idempotency-Key": key} if key else {})
        if self._grant is not None:
            return await self._grant.call(method, url, headers=headers, max_bytes=max_bytes)
        signed = await self._signed(method, person)
        if isinstance(signed, Outcome):
            return signed
        headers |= signed
        timeout_s = self._service.timeout_s
        return await call(self._platform, method, url, headers=headers, timeout_s=timeout_s, max_bytes=max_bytes)

    async def _forged(self, person: str) -> Answer | Outcome:
        """The answer to a query whose token has a wrong signature."""
        signed = await self._signed("GET", person)
        if isinstance(signed, Outcome):
            return signed
        headers = {"Authorization": signed["Authorization"][:-8] + "AAAAAAAA"}
        url = _address(self._service.url, person)
        return await call(self._platform, "GET", url, headers=headers, timeout_s=self._service.timeout_s)

    async def _signed(self, method: Literal["GET", "DELETE"], person: str) -> Mapping[str, str] | Outcome:
        auth = self._service.auth
        if isinstance(auth, SignedAuth):
            scope = auth.query_scope if method == "GET" else auth.delete_scope
            return {"Authorization": f"Bearer {token(self._platform, auth, person, scope)}"}
        return await self._grant.headers() if self._grant else Outcome(State.FAILED, Code.MISCONFIGURED)


def _address(url: str, person: str) -> str:
    for part in _TOKENS:
        url = url.replace(part, person)
    return url if person in url else url + person


def _require_address(url: str, platform: Platform) -> None:
    require_url(url, "url", platform)
    parts = urlsplit(url)
    if parts.query or parts.fragment or any(part in parts.netloc for part in _TOKENS):
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", "A person's id stands in the path"),))
    if not any(part in url for part in _TOKENS) and not url.endswith("/"):
        text = "Without $profile_id or $user_uuid the id is added to it, so it ends with a slash"
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "url", text),))


def _require_another(audience: str, platform: Platform) -> None:
    """Refuse to sign for ourselves: such a token would open our own API."""
    if audience.startswith(platform.settings.url):
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "auth.audience", "The audience is the service, not us"),))


def _counts(found: Found) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, known in found:
        if known:
            counts[known.collection] = counts.get(known.collection, 0) + len(known.records)
    return counts


def _done(found: Found, code: Code) -> Outcome:
    return Outcome(State.DONE, code if any(k for _, k in found) else Code.NOTHING_FOUND, records=_counts(found))
