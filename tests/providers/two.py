"""Two platforms on loopback: one calls with our connectors, the other answers with our providers.

``caller`` is an application whose tokens the other takes; ``home`` the platform that is called, with a worker that a
test lets work: ``async with two.working(): …``.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import insert

from cdp.connectors.base import Identifier, Subject
from cdp.core.db import Role
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from cdp.operations.oauth.tokens import issuer_of
from cdp.tables.customer import IdentityType, identity
from tests.connectors.conformance import SECRET as DYING
from tests.engine import Engine
from tests.population import Person, make_person, picture

AUDIENCE = "https://home.example/gdpr"
NUMBERING = "city-profile"
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
                await self.engine.work()
                await asyncio.sleep(0.05)

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
