"""A customer database behind a webhook, served by uvicorn on a free port: the receiving side, written from the README.

``mode`` makes it misbehave in one way; ``calls`` are the bodies it accepted.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.connectors.serving import Raw, serving

SECRET = "a secret both sides of the webhook know"


@dataclass
class Peer:
    """What the peer holds and how it behaves."""

    people: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    remembered: dict[str, Raw] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    effects: dict[str, int] = field(default_factory=dict)
    mode: str = "honest"
    answer: Raw | None = None
    url: str = ""
    canary_calls: int = 0

    async def respond(self, path: str, headers: dict[str, str], body: bytes) -> Raw:
        """Answer one call."""
        if path == "/canary":
            self.canary_calls += 1
            return _json(200, {"state": "done"})
        if self.mode != "trusting" and not _signed(headers, body):
            return _json(401, {"state": "refused", "code": "BAD_SIGNATURE"})
        call = json.loads(body)
        assert headers["idempotency-key"] == call["key"]
        self.calls.append(call)
        if self.mode == "hanging":
            await asyncio.sleep(30)
        if self.answer is not None:
            return self.answer
        if self.mode == "dropping" and call["step"] == "erase" and call["key"] not in self.remembered:
            self._settle(call)
            return 500, {}, b"the answer was lost"
        return self._settle(call)

    def _settle(self, call: dict[str, Any]) -> Raw:
        if call["step"] != "erase":
            return _json(200, self._step(call))
        if call["key"] not in self.remembered:
            self.effects[call["key"]] = self.effects.get(call["key"], 0) + 1
            self.remembered[call["key"]] = _json(200, self._step(call))
        return self.remembered[call["key"]]

    def _step(self, call: dict[str, Any]) -> dict[str, Any]:
        known = [one["value"] for one in call["subject"]["identifiers"] if one["value"] in self.people]
        held = [self.people[value] for value in known]
        counts = {name: len(rows) for person in held for name, rows in person.items()}
        done = {"key": call["key"], "state": "done"}
        match call["step"]:
            case "probe":
                return done
            case "read":
                return {**done, "records": {name: rows for person in held for name, rows in person.items()}}
            case "check":
                return {**done, "records": counts}
            case "update":
                return {**done, **self._updated(held, call["changes"])}
            case "erase":
                if self.mode != "deletes_nothing":
                    self.people = {value: rows for value, rows in self.people.items() if value not in known}
                return {**done, "records": counts}
            case _:
                return {**done, "found": sum(counts.values())}

    def _updated(self, held: list[dict[str, list[dict[str, Any]]]], changes: list[dict[str, Any]]) -> dict[str, int]:
        changed = unchanged = 0
        for row in (row for person in held for rows in person.values() for row in rows):
            for change in changes:
                if row.get(change["field"]) == change["old"]:
                    if self.mode == "changes_nothing":
                        unchanged += 1
                    else:
                        row[change["field"]] = change["new"]
                        changed += 1
        return {"changed": changed, "unchanged": unchanged}


def _json(status: int, value: object) -> Raw:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


def _signed(headers: dict[str, str], body: bytes) -> bool:
    timestamp = headers.get("cdp-timestamp", "")
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    given = headers.get("cdp-signature", "").removeprefix("v1=")
    fresh = timestamp.isdigit() and abs(time.time() - int(timestamp)) < 300
    return fresh and hmac.compare_digest(given, expected)


@contextmanager
def served() -> Iterator[Peer]:
    """Serve a peer from a thread for the length of the block."""
    peer = Peer()
    with serving(lambda call: peer.respond(call.path, call.headers, call.body)) as base:
        peer.url = f"{base}/hook"
        yield peer
