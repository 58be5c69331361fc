"""One processor over the wire: discovery, certificate, requests and their standing, each answer proven its own."""

import binascii
import json
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate

from cdp.connectors.base import Code, Json, Outcome, Record, State
from cdp.connectors.calls import strict_json, trouble
from cdp.connectors.grants import Grant
from cdp.connectors.opendsr.answers import Accepted, Discovery, Standing, shaped
from cdp.connectors.opendsr.trust import CertificateRefused, SignatureRefused, checked_key, require_signature
from cdp.core.clock import Clock
from cdp.core.http import Answer

RESULTS_MAX_BYTES = 8 * 1024 * 1024
# How long a certificate that was checked is not asked for again; one that changes earlier is found by its signatures.
KEY_FRESH = timedelta(minutes=1)
S = TypeVar("S", Accepted, Standing)


@dataclass(frozen=True)
class CheckedKey:
    """A key whose certificate held at a time, for what was agreed then."""

    key: RSAPublicKey
    at: datetime
    authorities: list[Certificate]


# By address and domain.
_CHECKED: dict[tuple[str, str], CheckedKey] = {}


class Processor:
    """Calls one processor; its certificate is asked for and checked once a minute."""

    def __init__(
        self, url: str, domain: str, controller_id: str, authorities: list[Certificate], *, grant: Grant, clock: Clock
    ) -> None:
        self._url = url.rstrip("/")
        self.domain = domain
        self._controller_id = controller_id
        self._authorities = authorities
        self._grant = grant
        self._clock = clock

    async def discover(self) -> Discovery | Outcome:
        """What the processor says about itself."""
        answer = await self._get(f"{self._url}/discovery")
        if isinstance(answer, Outcome):
            return answer
        return shaped(answer.body, Discovery) if answer.status == 200 else _refused(answer)

    async def key(self) -> RSAPublicKey | Outcome:
        """The key its answers are signed with, from a certificate that holds."""
        known = _CHECKED.get((self._url, self.domain))
        if known and known.authorities == self._authorities and known.at <= self._clock() < known.at + KEY_FRESH:
            return known.key
        fresh = await self._fetched_key()
        if not isinstance(fresh, Outcome):
            _CHECKED[self._url, self.domain] = CheckedKey(fresh, self._clock(), self._authorities)
        return fresh

    async def _fetched_key(self) -> RSAPublicKey | Outcome:
        found = await self.discover()
        if isinstance(found, Outcome):
            return found
        if not self._is_here(found.processor_certificate):
            return Outcome(State.FAILED, "CERTIFICATE_ELSEWHERE")
        answer = await self._get(found.processor_certificate)
        if isinstance(answer, Outcome):
            return answer
        if answer.status != 200:
            return _refused(answer)
        try:
            return checked_key(answer.body, self._authorities, self.domain, self._clock())
        except CertificateRefused:
            return Outcome(State.FAILED, "CERTIFICATE_REFUSED")

    async def standing(self, request_id: UUID) -> Standing | Outcome | None:
        """Where a request stands, None if the processor does not know it."""
        answer = await self._get(f"{self._url}/requests/{request_id}")
        if isinstance(answer, Outcome):
            return answer
        if answer.status in {400, 404}:
            return None
        if answer.status != 200:
            return _refused(answer)
        return await self._signed(answer, Standing, request_id)

    async def open(self, body: dict[str, Json], request_id: UUID) -> Outcome | None:
        """Make a request; None when it was accepted as it was meant."""
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        answer = await self._grant.call("POST", f"{self._url}/requests", headers=headers, content=content)
        if isinstance(answer, Outcome):
            return answer
        if answer.status != 201:
            return _refused(answer)
        accepted = await self._signed(answer, Accepted, request_id)
        if isinstance(accepted, Outcome):
            return accepted
        return None if _decoded(accepted.encoded_request) == content else Outcome(State.FAILED, "REQUEST_MISREAD")

    async def results(self, standing: Standing) -> dict[str, list[Record]] | Outcome:
        """What an access request brought together: records by collection, as many as were announced."""
        if standing.results_url is None:
            return {} if standing.results_count == 0 else Outcome(State.FAILED, "RESULTS_MISSING")
        if not self._is_here(standing.results_url):
            return Outcome(State.FAILED, "RESULTS_ELSEWHERE")
        answer = await self._get(standing.results_url, max_bytes=RESULTS_MAX_BYTES)
        if isinstance(answer, Outcome):
            return answer
        if answer.status != 200:
            return _refused(answer)
        found = _records(answer.body)
        if found is None or standing.results_count not in (None, sum(map(len, found.values()))):
            return Outcome(State.FAILED, Code.BAD_ANSWER)
        return found

    async def _get(self, url: str, *, max_bytes: int = 1024 * 1024) -> Answer | Outcome:
        return await self._grant.call("GET", url, headers={"Accept": "application/json"}, max_bytes=max_bytes)

    async def _signed(self, answer: Answer, shape: type[S], request_id: UUID) -> S | Outcome:
        refused = await self._unproven(answer)
        if refused and _CHECKED.pop((self._url, self.domain), None):
            refused = await self._unproven(answer)  # its certificate may have changed since
        if refused:
            return refused
        said = shaped(answer.body, shape)
        if isinstance(said, Outcome):
            return said
        is_ours = said.controller_id == self._controller_id and said.subject_request_id == str(request_id)
        return said if is_ours else Outcome(State.FAILED, "ANSWER_OF_ANOTHER_REQUEST")

    async def _unproven(self, answer: Answer) -> Outcome | None:
        key = await self.key()
        if isinstance(key, Outcome):
            return key
        try:
            require_signature(answer, key, self.domain)
        except SignatureRefused:
            return Outcome(State.FAILED, "SIGNATURE_REFUSED")
        return None

    def _is_here(self, url: str) -> bool:
        """Whether an address is on the server that was configured: our credentials go along."""
        try:
            there, here = urlsplit(url), urlsplit(self._url)
            return (there.scheme, there.netloc) == (here.scheme, here.netloc)
        except ValueError:
            return False


def _refused(answer: Answer) -> Outcome:
    return Outcome(State.FAILED, Code.NOT_ALLOWED) if answer.status == 403 else trouble(answer)


def _decoded(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _records(body: bytes) -> dict[str, list[Record]] | None:
    try:
        said = strict_json(body)
    except ValueError:
        return None
    collections = {"results": said} if isinstance(said, list) else said
    if not isinstance(collections, dict):
        return None
    found: dict[str, list[Record]] = {}
    for name, rows in collections.items():
        records = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None
        if records is None or not isinstance(rows, list) or len(records) != len(rows):
            return None
        found[name] = records
    return found
