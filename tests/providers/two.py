"""Two platforms on loopback: one calls with our connectors, the other answers with our providers.

``caller`` is an application whose tokens the other takes; ``home`` the platform that is called, with a worker that a
test lets work: ``async with two.working(): …``.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import insert

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Identifier, Subject
from cdp.core.db import Role
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from cdp.jobs.sweep import sweep
from cdp.operations.oauth import clients
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.providers.opendsr import controllers
from cdp.operations.reference import MAIN_BRAND
from cdp.tables.customer import IdentityType, identity
from tests.connectors.conformance import SECRET as DYING
from tests.engine import Engine
from tests.population import Person, make_person, picture

AUDIENCE = "https://home.example/gdpr"
NUMBERING = "city-profile"
DOMAIN = "opendsr.home.example"
# Whatever is read is noted there.
LOGS = frozenset({"audit_event"})


@dataclass
class Two:
    """The two platforms, and everybody a test has put into the second."""

    caller: Platform
    engine: Engine
    url: str
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def home(self) -> Platform:
        return self.engine.platform

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let the worker of the platform that is called work for the length of a block."""

        async def work() -> None:
            while True:
                await sweep(self.engine.place, concurrency=8)
                await asyncio.sleep(0.1)

        working = asyncio.create_task(work())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def person(self) -> tuple[str, Person]:
        """A customer of the platform that is called, known to the caller by a number."""
        person, number = await make_person(self.home.db), str(new_id())
        await self.number(person, number)
        return number, person

    async def number(self, person: Person, number: str, *, issuer: str = NUMBERING) -> None:
        numbered = {"type": IdentityType.CUSTOMER_NUMBER, "issuer": issuer, "value": number}
        async with self.home.db.transaction(Role.WORKER) as tx:
            await tx.execute(
                insert(identity).values(id=new_id(), **person.origin | {"origin_identity_id": None}, **numbered)
            )
        self.people[number] = person

    async def controller(self, *domains: str, brand: str = MAIN_BRAND, numbering: str = NUMBERING) -> "Controller":
        """A program whose processor the platform is."""
        async with self.home.db.transaction(Role.WORKER) as tx:
            made = await clients.add(
                tx,
                SYSTEM,
                "A shop",
                redirect_uris=(),
                confidential=True,
                grant_types=("client_credentials",),
                scopes=(controllers.SCOPE,),
            )
            name = made.client.client_id
            await controllers.add(tx, SYSTEM, name, brand_code=brand, numbering=numbering, callback_domains=domains)
        return Controller(self.url, name, str(made.secret))

    def subject(self, number: str) -> Subject:
        """That person as the caller's engine knows them."""
        known = Identifier("customer_number", number, NUMBERING, verified=True)
        return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), (known,), DYING)

    async def held(self, person: Person) -> dict[str, list[tuple[Any, ...]]]:
        """Every row about somebody, without what says that it was read."""
        rows = await picture(self.home.db, person)
        return {name: found for name, found in rows.items() if found and name not in LOGS}

    def token(self, number: str, *scopes: str, **changes: object) -> str:
        """A token of the caller about somebody; a claim changed to None is left out."""
        now = int(self.caller.clock().timestamp())
        claims: Mapping[str, object] = {
            "iss": self.caller.settings.url,
            "aud": AUDIENCE,
            "sub": number,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            "loa": "substantial",
            "authorization": {"permissions": [{"scopes": list(scopes or ("gdprquery", "gdprdelete"))}]},
            **changes,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return issuer_of(self.caller).keys.sign(kept, typ="JWT")

    async def ask(
        self, method: str, number: str, *, token: str | None = None, query: str = "", **sent: Any
    ) -> httpx.Response:
        """Call the GDPR API as its caller would."""
        headers = {"Authorization": f"Bearer {token or self.token(number)}"}
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            return await client.request(method, f"/gdpr-api/v1/{number}{query}", headers=headers, **sent)


@dataclass(frozen=True)
class Controller:
    """A controller, and its calls."""

    url: str
    client_id: str
    secret: str = field(repr=False)

    async def token(self) -> str:
        async with httpx.AsyncClient(base_url=self.url) as client:
            form = {"grant_type": "client_credentials", "scope": controllers.SCOPE}
            granted = await client.post("/oauth/token", data=form, auth=(self.client_id, self.secret))
        return str(granted.json()["access_token"])

    async def call(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self.token()}"}
        async with httpx.AsyncClient(base_url=f"{self.url}/opendsr/v2", timeout=30) as client:
            return await client.request(method, path, headers=headers, **sent)

    async def post(self, body: Mapping[str, object], path: str = "/requests") -> httpx.Response:
        return await self.call("POST", path, content=json.dumps(body))

    async def standing(self, request_id: object) -> dict[str, Any]:
        found = await self.call("GET", f"/requests/{request_id}")
        assert found.status_code == 200, found.text
        return dict(found.json())


def request_of(kind: str, *identities: tuple[str, str, str], **changes: object) -> dict[str, Any]:
    """The body of a request; identities are type, value and format. A member changed to None is left out."""
    body = {
        "regulation": "gdpr",
        "subject_request_id": str(uuid4()),
        "subject_request_type": kind,
        "submitted_time": "2026-03-01T10:00:00Z",
        "subject_identities": [
            dict(zip(("identity_type", "identity_value", "identity_format"), one, strict=True)) for one in identities
        ],
        "api_version": "2.0",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}
