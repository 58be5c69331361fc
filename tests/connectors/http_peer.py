"""A customer relationship system with the habits of real HTTP APIs: four ways to sign in, three to page, two to erase.

customers   listed by offset, at most two a page whatever is asked for; deleted one by one
notes       listed by cursor; cut one by one (PATCH), after which no search by e-mail finds them
tickets     searched by POST, listed by Link header; erased for an address at once
invoices    kept, one object for a customer number, 404 with a code for a stranger
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.connectors.serving import Call, Raw, answer, hang, serving

KEY, NAME, PASSWORD, TOKEN = "key-of-crm", "crm-user", "päss".encode().hex(), "token-of-crm"
CLIENT, CLIENT_SECRET = "client:1", "secret/of+client"
Row = dict[str, Any]


@dataclass
class Crm:
    """What the peer holds and how it behaves."""

    tables: dict[str, list[Row]] = field(
        default_factory=lambda: {"customers": [], "notes": [], "tickets": [], "invoices": []}
    )
    base: str = ""
    auth: str = "header"
    mode: str = "honest"
    answer: Raw | None = None
    tokens: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    effects: dict[str, int] = field(default_factory=dict)
    canary_calls: int = 0
    number: int = 0

    def add(self, email: str, customer_number: str, mark: str) -> None:
        """Somebody with records everywhere, more than a page of them."""
        for table, count in (("customers", 3), ("notes", 3), ("tickets", 3), ("invoices", 1)):
            for _ in range(count):
                self.number += 1
                row = {"id": self.number, "email": email, "customer": customer_number, "text": f"{table} {mark}"}
                self.tables[table].append(row)

    def of(self, email: str, customer_number: str, *, kept: bool = False) -> list[Row]:
        """Everything about somebody, looked at directly."""
        names = [name for name in self.tables if kept or name != "invoices"]
        rows = [row for name in names for row in self.tables[name]]
        return [row for row in rows if row["email"] == email or (kept and row["customer"] == customer_number)]

    async def respond(self, call: Call) -> Raw:
        if call.path == "/canary":
            self.canary_calls += 1
            return answer(200, {"items": []})
        if call.path == "/token":
            return self._token(call)
        if not self._is_let_in(call):
            return answer(401, {"error": {"code": "WHO_ARE_YOU"}})
        self.calls.append(call)
        if self.mode == "hanging":
            await hang()
        if self.answer is not None:
            return self.answer
        raw = self._route(call)
        if call.method != "GET" and not call.path.endswith("/search"):
            key = call.headers["idempotency-key"]
            self.effects[key] = self.effects.get(key, 0) + 1
            if self.mode == "dropping" and self.effects[key] == 1:
                return answer(500, b"the answer was lost")
        return raw

    def _token(self, call: Call) -> Raw:
        said = call.headers.get("authorization", "")
        expected = b64encode(b"client%3A1:secret%2Fof%2Bclient").decode()
        form = dict(parse_qsl(call.body.decode()))
        if said != f"Basic {expected}" or form["grant_type"] != "client_credentials":
            return answer(401, {"error": "invalid_client"})
        if self.mode == "odd_tokens":
            return answer(200, {"access_token": "a\nb", "token_type": "bearer"})
        self.tokens.append(f"granted-{len(self.tokens)}-{form['scope']}")
        return answer(200, {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 3600})

    def _is_let_in(self, call: Call) -> bool:
        said = call.headers.get("authorization", "")
        match self.auth:
            case "header":
                return call.headers.get("x-api-key") == KEY
            case "basic":
                return said == "Basic " + b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
            case "bearer":
                return said == f"Bearer {TOKEN}"
            case "client_credentials":
                return bool(self.tokens) and said == f"Bearer {self.tokens[-1]}"
            case _:
                return True

    def _route(self, call: Call) -> Raw:
        _, api, table, *rest = call.path.split("/")
        assert api == "api"
        match call.method, table, rest:
            case "GET", "customers", []:
                return self._customers(call)
            case "GET", "notes", []:
                return self._notes(call)
            case "POST", "tickets", ["search"]:
                return self._tickets(call)
            case "GET", "invoices", [number]:
                return self._invoice(unquote(number))
            case "POST", "tickets", ["say"]:
                return answer(200, {"success": False, "reason": "It is Sunday"})
            case "POST", "tickets", ["erase"]:
                return self._erase("tickets", lambda row: row["email"] == call.json["who"]["email"])
            case "DELETE", "customers", [number]:
                return self._erase("customers", lambda row: row["id"] == int(number))
            case "PATCH", "customers", [number]:
                return self._correct(int(number), call.json)
            case "PATCH", "notes", [number]:
                return self._cut(int(number), call.json)
            case _:
                return answer(404, b"<html>no such page</html>")

    def _customers(self, call: Call) -> Raw:
        email = call.asked.get("email")
        rows = [row for row in self.tables["customers"] if self.mode == "ignores_filter" or row["email"] == email]
        start = int(call.asked["offset"])
        return answer(200, {"items": rows[start : start + 2]})

    def _notes(self, call: Call) -> Raw:
        rows = [row for row in self.tables["notes"] if row["email"] == call.asked["filter[email]"]]
        start = int(call.asked.get("after", "0"))
        more = start + 2 < len(rows)
        if self.mode == "circling":
            return answer(200, {"data": rows, "meta": {"next": "0"}})
        if self.mode == "no_cursor":
            return answer(200, {"data": rows[:2], "meta": {}})
        return answer(200, {"data": rows[start : start + 2], "meta": {"next": str(start + 2) if more else None}})

    def _tickets(self, call: Call) -> Raw:
        rows = [row for row in self.tables["tickets"] if row["email"] == call.json["email"]]
        start = int(call.asked.get("page", "0"))
        links = ['<https://crm.invalid/first>; rel="first"; title="a, <b>"']
        if start + 2 < len(rows):
            there = "http://elsewhere.invalid" if self.mode == "link_elsewhere" else ""
            links.append(f'<{there}/api/tickets/search?page={start + 2}>; rel="prefetch next"')
        return answer(200, rows[start : start + 2], link=", ".join(links))

    def _invoice(self, number: str) -> Raw:
        found = next((row for row in self.tables["invoices"] if row["customer"] == number), None)
        if found is None:
            return answer(404, {"error": {"code": "NO_SUCH_CUSTOMER"}})
        return answer(200, {"invoice": found})

    def _erase(self, table: str, goes: Any) -> Raw:
        if self.mode == "contract" and table == "tickets":
            return answer(409, {"error": {"code": "OPEN_TICKET", "message": "Eve still waits"}})
        if self.mode != "deletes_nothing":
            self.tables[table] = [row for row in self.tables[table] if not goes(row)]
        return answer(204, b"")

    def _correct(self, number: int, body: Any) -> Raw:
        for row in self.tables["customers"]:
            if row["id"] == number and self.mode != "corrects_nothing":
                row.update(body)
        return answer(200, {"id": number})

    def _cut(self, number: int, body: Any) -> Raw:
        assert body == {"email": None, "text": "erased", "note": number}, json.dumps(body)
        for row in self.tables["notes"]:
            if row["id"] == number:
                row.update(email=None, text="erased", customer="")
        return answer(200, {"id": number})


@contextmanager
def served_crm() -> Iterator[Crm]:
    """Serve a peer for the length of the block."""
    crm = Crm()
    with serving(crm.respond) as base:
        crm.base = base
        yield crm


def description(crm: Crm, **changes: Any) -> dict[str, Any]:
    """The peer as a description."""
    collections = {
        "customers": {
            "read": {
                "path": "/customers",
                "query": {"email": "{email}"},
                "records": "/items",
                "pages": {"by": "offset", "limit": "limit", "size": 100},
                "match": "/email",
            },
            "erase": {"path": "/customers/{record/id}"},
            "updates": {
                "Customer.familyName": {"at": "/text", "path": "/customers/{record/id}", "body": {"text": "{new}"}}
            },
        },
        "notes": {
            "read": {
                "path": "/notes",
                "query": {"filter[email]": "{email}"},
                "records": "/data",
                "pages": {"by": "cursor", "cursor": "after", "next": "/meta/next"},
                "match": "/email",
            },
            "erase": {
                "method": "PATCH",
                "path": "/notes/{record/id}",
                "body": {"email": None, "text": "erased", "note": "{record/id}"},
                "done": [{"status": 200}],
            },
        },
        "tickets": {
            "read": {
                "method": "POST",
                "path": "/tickets/search",
                "body": {"email": "{email}"},
                "records": "",
                "pages": {"by": "link"},
            },
            "erase": {
                "method": "POST",
                "path": "/tickets/erase",
                "body": {"who": {"email": "{email}"}},
                "done": [{"status": 204}],
                "otherwise": [
                    {
                        "status": 409,
                        "at": "/error/code",
                        "equals": "OPEN_TICKET",
                        "state": "refused",
                        "code": "OPEN_TICKET",
                    }
                ],
            },
        },
        "invoices": {
            "issuer": "crm",
            "read": {
                "path": "/invoices/{customer_number}",
                "records": "/invoice",
                "nothing": [{"status": 404, "at": "/error/code", "equals": "NO_SUCH_CUSTOMER"}],
            },
            "keeps": "Tax law, 10 years",
        },
    }
    return {"url": f"{crm.base}/api", "timeout_s": 5, "auth": {"type": "header"}, "collections": collections, **changes}
