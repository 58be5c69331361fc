"""schemathesis over the whole schema, as a customer and as an agent: whatever it thinks of, nothing breaks.

``CDP_FUZZ_SECONDS`` is how long each of the two asks: half a minute in the gate, ten minutes in the soak.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.graphql import nodes

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from cdp.schema.schema import sdl
from cdp.tables.staff import staff
from tests import peers
from tests.browser import BASE, serving
from tests.conftest import fresh_place
from tests.population import make_person

GATE_S, SOAK_S = 30.0, 600.0
EACH = 3
ROLES = ("supervisor", "privacy_officer", "administrator", "analyst")
SCALARS = {
    "DateTime": st.sampled_from(["2026-01-31T12:00:00.000000Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x"]),
    "Date": st.sampled_from(["2026-01-31", "0001-01-01", "2026-02-30", ""]),
    "Decimal": st.sampled_from(["1", "-0.00", "1e9", "NaN", "9" * 60, "x"]),
    "BigInt": st.sampled_from(["1", "-1", str(2**63), "9" * 60, "x"]),
    "JSON": st.text(max_size=20),
}


@dataclass(frozen=True)
class Fuzzed:
    """A server of its own, and a token of each of the two."""

    door: httpx.AsyncClient
    tokens: dict[str, str]


async def token_of(platform: Platform, viewer: Viewer, scopes: frozenset[str]) -> str:
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await ensure_command_line(tx)
        scope = " ".join(sorted(scopes))
        grant = await open_grant(tx, viewer, client, scope, now=platform.clock())
    return issuer_of(platform).access_token(grant, scope)


@pytest.fixture(scope="module")
async def fuzzed(running: Settings, worker_name: str) -> AsyncIterator[Fuzzed]:
    life = {"graphql_budget": 0, "access_token_ttl_s": 86_400, "step_up_max_age_s": 86_400}
    with fresh_place(running, worker_name) as settings:
        async with serving(settings.model_copy(update=life)) as app:
            platform: Platform = app.state.platform
            now, staff_id = platform.clock() - timedelta(seconds=1), new_id()
            values = {"id": staff_id, "username": f"a.{secrets.token_hex(4)}@example.org", "name": "Bo"}
            async with platform.db.transaction(Role.WORKER) as tx:
                await tx.execute(staff.insert().values(**values, password_hash="x", roles=list(ROLES)))
            agent = Viewer(Actor.STAFF, staff_id=staff_id, roles=frozenset(ROLES), authenticated_at=now)
            person = (await make_person(platform.db)).viewer(authenticated_at=now)
            tokens = {
                "customer": await token_of(platform, person, CUSTOMER_SCOPES),
                "agent": await token_of(platform, agent, STAFF_SCOPES),
            }
            transport = httpx.ASGITransport(app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as door:
                yield Fuzzed(door, tokens)


def trouble(answer: httpx.Response) -> str | None:
    """What is wrong with an answer, if anything."""
    codes = [error["extensions"]["code"] for error in answer.json().get("errors", [])]
    return f"{answer.status_code} {codes}" if answer.status_code >= 500 or "INTERNAL" in codes else None


def fuzz(ask: Callable[[str], httpx.Response], seconds: float, first_seed: int) -> tuple[int, dict[str, str]]:
    """Ask every operation in turn until the time is over, each at least once.

    How many documents were asked, and one that went wrong of each operation.
    """
    for name, strategy in SCALARS.items():
        schemathesis.graphql.scalar(name, strategy.map(nodes.String))
    schema = schemathesis.graphql.from_file(sdl())
    operations = [one.ok() for one in schema.get_all_operations()]
    wrong: dict[str, str] = {}
    asked, end, seed = 0, time.monotonic() + seconds, first_seed
    while not asked or time.monotonic() < end:
        for operation in operations:
            if asked > EACH * len(operations) and time.monotonic() >= end:
                break
            seed += 1

            @hypothesis.seed(seed)
            @hypothesis.settings(
                max_examples=EACH,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(operation.as_strategy())
            def one(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                found = trouble(ask(str(case.body)))
                if found is not None:
                    wrong[case.operation.label] = f"{found} {case.body}"

            one()
    return asked, wrong


@pytest.mark.parametrize("who", ["customer", "agent"])
@pytest.mark.timeout(1_800)
async def test_nothing_breaks(fuzzed: Fuzzed, who: str, pytestconfig: pytest.Config):
    is_soak = pytestconfig.getoption("hypothesis_profile", None) == "soak"
    seconds = float(os.environ.get("CDP_FUZZ_SECONDS") or (SOAK_S if is_soak else GATE_S))
    seed = int(pytestconfig.getoption("hypothesis_seed", None) or 1) if is_soak else 1
    headers = {
        "authorization": f"Bearer {fuzzed.tokens[who]}",
        "content-type": "application/json",
        "accept": "application/graphql-response+json",
    }
    loop = asyncio.get_running_loop()

    def ask(document: str) -> httpx.Response:
        body = json.dumps({"query": document}).encode()
        posted = fuzzed.door.post("/graphql", content=body, headers=headers)
        return asyncio.run_coroutine_threadsafe(posted, loop).result(60)

    asked, wrong = await asyncio.to_thread(fuzz, ask, seconds, seed)
    assert wrong == {}, f"seed {seed}"
    assert asked > 50
    peers.took_part(f"schemathesis {schemathesis.__version__}")
