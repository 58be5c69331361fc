"""Signed JSON over HTTP: one POST a step, an HMAC over time and body, answers taken only in their exact shape.

The signature follows the widely used scheme of a timestamp joined to the raw body by a dot; see README.md.
"""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import (
    Change,
    Code,
    ConfigurationInvalid,
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
from cdp.connectors.calls import call, configured, open_secrets, require_url
from cdp.connectors.webhook.answers import Copied, Counted, D, Looked, Tried, Updated, done, evidence_of, names_subject
from cdp.core.http import MAX_BODY_BYTES, Answer
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.tables.customer import IdentityType

READ_MAX_BYTES = 8 * 1024 * 1024
PAGE_RECORDS = 500
MIN_SECRET_LENGTH = 32
Signing: TypeAlias = Callable[[str, bytes], str]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Endpoint:
    """``configuration``: where to post, and which types of identifiers the system needs to find somebody."""

    url: str
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 15.0
    identifiers: Annotated[tuple[IdentityType, ...], Field(min_length=1)] = (IdentityType.EMAIL,)


class Webhook:
    """One URL. ``secrets``: ``secret``, at least 32 characters, known to both sides."""

    def __init__(self, system: System, platform: Platform) -> None:
        self._system = system
        self._platform = platform
        self._endpoint = _endpoint(system, platform)
        self._secret = _secret(system, platform)

    async def read(self, subject: Subject, key: str) -> AsyncIterator[Page]:
        """Yield what the system answers, at most 8 MiB."""
        said = await self._ask("read", subject, key, Copied)
        if isinstance(said, Outcome):
            raise Unfinished(said)
        for name, records in said.records.items():
            for start in range(0, len(records), PAGE_RECORDS):
                yield Page(name, records[start : start + PAGE_RECORDS])

    async def check(self, subject: Subject, key: str) -> Outcome:
        """Ask what would go and what would stay."""
        return self._counted(subject, await self._ask("check", subject, key, Counted), Code.FOUND)

    async def erase(self, subject: Subject, key: str) -> Outcome:
        """Ask for the erasure; waiting means the same call again later."""
        return self._counted(subject, await self._ask("erase", subject, key, Counted), Code.ERASED)

    async def verify(self, subject: Subject, key: str) -> Outcome:
        """Ask what is found now; only an explicit zero is done."""
        said = await self._ask("verify", subject, key, Looked)
        if isinstance(said, Outcome):
            return said
        if names_subject(subject, said):
            return Outcome(State.FAILED, Code.BAD_ANSWER)
        retained = tuple(kept.retained() for kept in said.retained)
        evidence = {**evidence_of(said), "found": said.found}
        if said.found:
            return Outcome(State.FAILED, Code.LEFT_BEHIND, evidence, retained, {"found": said.found})
        return Outcome(State.DONE, Code.NOTHING_LEFT, evidence, retained)

    async def update(self, subject: Subject, key: str, changes: Sequence[Change]) -> Outcome:
        """Hand over the new values; done only if none is left that still says the old one."""
        told: list[Json] = [
            {"object": one.object, "field": one.field, "old": one.old, "new": one.new} for one in changes
        ]
        said = await self._ask("update", subject, key, Updated, changes=told)
        if isinstance(said, Outcome):
            return said
        if said.unchanged:
            return Outcome(State.FAILED, Code.LEFT_BEHIND, records={"unchanged": said.unchanged})
        code = Code.CORRECTED if said.changed else Code.NOTHING_FOUND
        return Outcome(State.DONE, code, records={"values": said.changed})

    async def probe(self) -> tuple[Problem, ...]:
        """Call the system about nobody, once signed and once with a wrong signature, which it must refuse."""
        key = f"probe:{new_id()}"
        body = self._body("probe", key, ())
        said = await self._call(body, key, self._signature)
        outcome = said if isinstance(said, Outcome) else done(said, Tried, key)
        if isinstance(outcome, Outcome):
            return (Problem(outcome.code, "url", "The system did not answer a signed probe as documented"),)
        forged = await self._call(body, key, lambda timestamp, content: "0" * 64)  # noqa: ARG005
        if isinstance(forged, Answer) and forged.status not in {401, 403}:
            return (Problem("SIGNATURE_NOT_CHECKED", "url", "The system took a call with a wrong signature"),)
        return ()

    def _counted(self, subject: Subject, said: Counted | Outcome, code: Code) -> Outcome:
        if isinstance(said, Outcome):
            return said
        if names_subject(subject, said):
            return Outcome(State.FAILED, Code.BAD_ANSWER)
        retained = tuple(kept.retained() for kept in said.retained)
        touched = any(said.records.values()) or any(kept.records for kept in retained)
        code = code if touched else Code.NOTHING_FOUND
        return Outcome(State.DONE, code, evidence_of(said), retained, said.records)

    async def _ask(
        self, step: str, subject: Subject, key: str, shape: type[D], *, changes: list[Json] | None = None
    ) -> D | Outcome:
        known = tuple(one for one in subject.proven if one.type in self._endpoint.identifiers)
        if not known:
            return Outcome(State.UNSUPPORTED, Code.NO_IDENTIFIER)
        more: dict[str, Json] = {"changes": changes} if changes is not None else {}
        if subject.callback is not None:
            more["callback"] = {"url": subject.callback.url, "token": subject.callback.token}
        body = self._body(step, key, known, request=str(subject.request_id), more=more)
        limit = READ_MAX_BYTES if step == "read" else MAX_BODY_BYTES
        answer = await self._call(body, key, self._signature, max_bytes=limit)
        return answer if isinstance(answer, Outcome) else done(answer, shape, key)

    def _body(
        self,
        step: str,
        key: str,
        known: tuple[Identifier, ...],
        *,
        request: str | None = None,
        more: Mapping[str, Json] | None = None,
    ) -> bytes:
        identifiers: list[Json] = [{"type": one.type, "value": one.value, "issuer": one.issuer} for one in known]
        return json.dumps(
            {
                "key": key,
                "request": request,
                "system": self._system.name,
                "step": step,
                "subject": {"identifiers": identifiers},
                **(more or {}),
            },
            ensure_ascii=False,
        ).encode()

    async def _call(self, body: bytes, key: str, sign: Signing, *, max_bytes: int = MAX_BODY_BYTES) -> Answer | Outcome:
        timestamp = str(int(self._platform.clock().timestamp()))
        headers: Mapping[str, str] = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": key,
            "CDP-Timestamp": timestamp,
            "CDP-Signature": f"v1={sign(timestamp, body)}",
        }
        return await call(
            self._platform,
            "POST",
            self._endpoint.url,
            headers=headers,
            content=body,
            timeout_s=self._endpoint.timeout_s,
            max_bytes=max_bytes,
        )

    def _signature(self, timestamp: str, body: bytes) -> str:
        return hmac.new(self._secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _endpoint(system: System, platform: Platform) -> Endpoint:
    endpoint = configured(Endpoint, system.configuration)
    require_url(endpoint.url, "url", platform)
    return endpoint


def _secret(system: System, platform: Platform) -> bytes:
    secret = open_secrets(system, platform).get("secret")
    if not isinstance(secret, str) or len(secret) < MIN_SECRET_LENGTH:
        text = f"The secret both sides sign with has at least {MIN_SECRET_LENGTH} characters"
        raise ConfigurationInvalid((Problem("SECRET_MISSING", "secrets.secret", text),))
    return secret.encode()
