"""A service behind the GDPR API, written from its contract: it checks tokens as the provider library does.

``mode`` makes it misbehave in one way; ``public`` gives the keys of the issuer it trusts.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.connectors.serving import Call, Raw, answer, hang, serving

AUDIENCE = "https://berths.example/gdpr"
CLIENT, CLIENT_SECRET = "platform", "a secret of the token endpoint"


@dataclass
class Service:
    """What the service holds and how it behaves."""

    public: Callable[[], Mapping[str, Any]]
    issuer: str
    people: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    base: str = ""
    mode: str = "honest"
    legacy_claim: str = ""
    granted: list[str] = field(default_factory=list)
    answer: Raw | None = None
    delete_answer: Raw | None = None
    calls: list[tuple[str, str, str]] = field(default_factory=list)

    async def respond(self, call: Call) -> Raw:
        if call.path == "/token":
            self.granted.append(f"granted-token-{len(self.granted)}-long-enough")
            return answer(200, {"access_token": self.granted[-1], "token_type": "Bearer", "expires_in": 600})
        prefix, person = call.path.rsplit("/", 1)
        assert prefix == "/gdpr-api/v1/user"
        if self.mode != "trusting" and not self._is_allowed(call, person):
            return answer(401, b"")
        self.calls.append((call.method, person, call.query))
        if self.mode == "hanging":
            await hang()
        if self.answer is not None:
            return self.answer
        return self._query(person) if call.method == "GET" else self._delete(call, person)

    def _is_allowed(self, call: Call, person: str) -> bool:
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if self.granted:
            return kind == "Bearer" and token == self.granted[-1]
        try:
            claims = jwt.decode(token, KeySet.import_key_set(dict(self.public())), ["RS256"]).claims
        except (JoseError, ValueError):
            return False
        scope = "gdprquery" if call.method == "GET" else "gdprdelete"
        if self.legacy_claim:
            scopes = [one.removeprefix("berths.") for one in claims.get(self.legacy_claim, [])]
        else:
            scopes = [s for one in claims["authorization"]["permissions"] for s in one["scopes"]]
        return (
            kind == "Bearer"
            and claims["iss"] == self.issuer
            and claims["aud"] == AUDIENCE
            and claims["iat"] <= time.time() < claims["exp"] <= time.time() + 301
            and claims["sub"] == person
            and scopes == [scope]
            and claims["loa"] == "substantial"
        )

    def _query(self, person: str) -> Raw:
        if person not in self.people:
            return (
                answer(200, {"key": "BERTHS", "children": []}) if self.mode == "knows_everybody" else answer(204, b"")
            )
        reservations = [
            {"key": "RESERVATION", "children": [{"key": "BOAT", "value": text}, {"key": "LENGTH", "value": 7.5}]}
            for text in self.people[person]["reservations"]
        ]
        name = {"key": "NAME", "value": self.people[person]["name"][0]}
        if self.mode == "half":
            name = {"key": "NAME", "value": None, "error": "the register does not answer"}
        return answer(200, {"key": "BERTHS", "children": [name, {"key": "RESERVATIONS", "children": reservations}]})

    def _delete(self, call: Call, person: str) -> Raw:
        if self.delete_answer is not None:
            return self.delete_answer
        if call.asked.get("dry_run") == "true" and self.mode != "ignores_dry_run":
            return answer(204, b"")
        if self.mode == "forgets_and_404":
            return answer(204 if self.people.pop(person, None) else 404, b"")
        if self.mode != "deletes_nothing":
            gone = self.people.pop(person, None)
            if self.mode == "dropping" and gone:
                return answer(500, b"the answer was lost")
        return answer(204, b"")


@contextmanager
def served_service(public: Callable[[], Mapping[str, Any]], issuer: str) -> Iterator[Service]:
    """Serve a service for the length of the block."""
    service = Service(public, issuer)
    with serving(service.respond) as base:
        service.base = base
        yield service
