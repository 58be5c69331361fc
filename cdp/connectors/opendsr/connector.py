"""OpenDSR 2.0 as the controller: requests under ids of ours, asked after until they are completed, every answer proven.

Source: https://github.com/opengdpr/OpenDSR, specification 2.0
"""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import (
    Code,
    ConfigurationInvalid,
    Evidence,
    Identifier,
    Json,
    Outcome,
    Page,
    Problem,
    State,
    Subject,
    System,
    Unfinished,
)
from cdp.connectors.calls import configured, open_secrets, require_url
from cdp.connectors.grants import Auth, Grant, NoAuth
from cdp.connectors.opendsr.answers import Discovery, Standing, unfinished
from cdp.connectors.opendsr.processor import Processor
from cdp.connectors.opendsr.trust import authorities_in
from cdp.core.clock import iso
from cdp.core.platform import Platform
from cdp.tables.customer import IdentityType

PAGE_RECORDS = 500
_VERIFY = re.compile(r":verify((?::\d+)?)$")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Identity:
    """One of our types of identifiers, and how the processor wants it."""

    type: IdentityType
    issuer: str = ""
    identity_type: Annotated[str, Field(pattern=r"^[a-z_]{1,60}$")]
    identity_format: Literal["raw", "md5", "sha1", "sha256"] = "raw"

    def of(self, known: Identifier) -> dict[str, Json]:
        """An identifier in the processor's words; hashes are of the normalised value, in hex."""
        value = known.value
        if self.identity_format != "raw":
            value = hashlib.new(self.identity_format, value.encode(), usedforsecurity=False).hexdigest()
        return {
            "identity_type": self.identity_type,
            "identity_value": value,
            "identity_format": self.identity_format,
        }


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Agreement:
    """``configuration``. ``proof``: count by requests of access, or believe a signed ``completed``."""

    url: str
    controller_id: Annotated[str, Field(min_length=1, max_length=200)]
    identities: Annotated[tuple[Identity, ...], Field(min_length=1)]
    domain: str = ""
    authorities: str = ""
    regulation: Literal["gdpr", "ccpa"] = "gdpr"
    proof: Literal["access", "status"] = "access"
    auth: Auth = Field(default_factory=lambda: NoAuth(type="none"))
    poll_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 15.0


class OpenDsr:
    """One processor. ``secrets``: what ``auth`` needs."""

    def __init__(self, system: System, platform: Platform) -> None:
        agreement = configured(Agreement, system.configuration)
        require_url(agreement.url, "url", platform)
        domain = (agreement.domain or str(urlsplit(agreement.url).hostname)).lower()
        self._agreement = replace(agreement, domain=domain)
        self._platform = platform
        self._system = system
        grant = Grant(system, platform, agreement.auth, open_secrets(system, platform), timeout_s=agreement.timeout_s)
        try:
            authorities = authorities_in(agreement.authorities)
        except ValueError as error:
            raise ConfigurationInvalid((Problem("VALUE_INVALID", "authorities", "This is not PEM"),)) from error
        self._processor = Processor(
            agreement.url, domain, agreement.controller_id, authorities, grant=grant, clock=platform.clock
        )

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:
        """Yield the results of a request of access."""
        standing = await self._settled(subject, key, "access")
        found = standing if isinstance(standing, Outcome) else await self._processor.results(standing)
        if isinstance(found, Outcome):
            raise Unfinished(found)
        for name, records in found.items():
            for start in range(0, len(records), PAGE_RECORDS):
                yield Page(name, records[start : start + PAGE_RECORDS])

    async def check(self, subject: Subject, key: str) -> Outcome:
        """Count by a request of access; without one, say that the processor takes erasures."""
        if self._agreement.proof == "access":
            return _counted(await self._count(subject, key), Code.FOUND)
        if not self._identities(subject):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        found = await self._processor.discover()
        if isinstance(found, Outcome):
            return found
        offered = "erasure" in found.supported_subject_request_types
        return Outcome(State.DONE, "ERASURE_OFFERED") if offered else Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Request the erasure and wait until it is completed."""
        count = await self._count(subject, f"{key}:count") if self._agreement.proof == "access" else None
        if isinstance(count, Outcome):
            return count
        standing = await self._settled(subject, key, "erasure")
        if isinstance(standing, Outcome):
            return standing
        if count is None:
            return Outcome(State.DONE, "COMPLETED", _evidence(standing))
        return replace(_counted(count, Code.ERASED), evidence=_evidence(standing))

    async def verify(self, subject: Subject, key: str) -> Outcome:
        """Count again; or, where that was not agreed, see that the erasure still is completed and signed."""
        if self._agreement.proof == "status":
            return await self._confirmed(subject, key)
        count = await self._count(subject, key)
        if isinstance(count, Outcome):
            return count
        if count:
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records={"results": count})
        return Outcome(State.DONE, Code.NOTHING_LEFT)

    async def _confirmed(self, subject: Subject, key: str) -> Outcome:
        """Whether the erasure of the same round is completed, by a signed answer."""
        if not self._identities(subject):
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        standing = await self._processor.standing(self._id_of(subject, _VERIFY.sub(r":erase\1", key), "erasure"))
        if standing is None:
            return Outcome(State.FAILED, "REQUEST_UNKNOWN")
        if isinstance(standing, Outcome):
            return standing
        still = unfinished(standing, self._agreement.domain, poll_s=self._agreement.poll_s)
        return still or Outcome(State.DONE, "CONFIRMED", _evidence(standing))

    async def probe(self) -> tuple[Problem, ...]:
        """Ask what the processor offers, check its certificate, and ask after a request that was never made."""
        found = await self._processor.discover()
        if isinstance(found, Outcome):
            return (Problem(found.code, "url", "Discovery was not answered as specified"),)
        problems = list(self._unsupported(found))
        key = await self._processor.key()
        if isinstance(key, Outcome):
            problems.append(Problem(key.code, "authorities", "The certificate of the processor does not hold"))
        standing = await self._processor.standing(uuid4())
        if isinstance(standing, Outcome):
            problems.append(Problem(standing.code, "url", "A request that was never made is not simply unknown"))
        elif standing:
            problems.append(Problem("NOBODY_FOUND", "url", "The processor knows a request that was never made"))
        return tuple(problems)

    def _unsupported(self, found: Discovery) -> list[Problem]:
        wanted = {"erasure"} | ({"access"} if self._agreement.proof == "access" else set())
        problems = [
            Problem(Code.NOT_OFFERED, "proof", f"The processor takes no requests of type {missing}")
            for missing in sorted(wanted - {*found.supported_subject_request_types})
        ]
        offered = {(one.identity_type, one.identity_format) for one in found.supported_identities}
        problems += [
            Problem("IDENTITY_NOT_SUPPORTED", f"identities.{number}", "The processor finds nobody by this")
            for number, one in enumerate(self._agreement.identities)
            if (one.identity_type, one.identity_format) not in offered
        ]
        return problems

    async def _count(self, subject: Subject, key: str) -> int | Outcome:
        standing = await self._settled(subject, key, "access")
        if isinstance(standing, Outcome):
            return standing
        return Outcome(State.FAILED, "NOT_COUNTED") if standing.results_count is None else standing.results_count

    async def _settled(self, subject: Subject, key: str, kind: Literal["access", "erasure"]) -> Standing | Outcome:
        """A completed request, opened if the processor does not know it yet."""
        identities = self._identities(subject)
        if not identities:
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        request_id = self._id_of(subject, key, kind)
        standing = await self._processor.standing(request_id)
        if standing is None:
            body: dict[str, Json] = {
                "regulation": self._agreement.regulation,
                "subject_request_id": str(request_id),
                "subject_request_type": kind,
                "submitted_time": iso(self._platform.clock()),
                "subject_identities": list(identities),
                "api_version": "2.0",
            }
            refused = await self._processor.open(body, request_id)
            if refused:
                return refused
            standing = await self._processor.standing(request_id)
        if standing is None:
            return Outcome(State.FAILED, "REQUEST_UNKNOWN")
        if isinstance(standing, Outcome):
            return standing
        return unfinished(standing, self._agreement.domain, poll_s=self._agreement.poll_s) or standing

    def _identities(self, subject: Subject) -> list[dict[str, Json]]:
        return [
            one.of(known)
            for one in self._agreement.identities
            for known in subject.proven
            if (known.type, known.issuer) == (one.type, one.issuer)
        ]

    def _id_of(self, subject: Subject, key: str, kind: str) -> UUID:
        """The same id for the same effect, and nobody else can guess it."""
        name = f"{self._system.id}:{key}:{kind}".encode()
        return UUID(bytes=hmac.digest(subject.secret, name, "sha256")[:16], version=4)


def _counted(count: int | Outcome, code: Code) -> Outcome:
    if isinstance(count, Outcome):
        return count
    return Outcome(State.DONE, code if count else Code.NOTHING_FOUND, records={"results": count})


def _evidence(standing: Standing) -> dict[str, Evidence]:
    return {"subject_request_id": standing.subject_request_id}
