"""Deletions over eight systems while everything fails: peers, workers, the API, the doorbell, the database.

What is looked at in the end is the peers themselves, the log, and what was left of the people.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Row, select

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.cli.audit import LOG_FILE, write_log
from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.core.sign import Verdict, check
from cdp.operations.oauth import clients, grants
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.proofs.log import LogCheck
from cdp.tables.audit import audit_event
from cdp.tables.request import RequestStatus, TaskStatus, privacy_request
from tests.engine import QUICK, Engine, opened
from tests.faults.estate import Estate, estate, hashed
from tests.faults.house import House, PostgresServer, all_closed, break_servers, kill_now_and_then, own_postgres
from tests.faults.recovery import Recovery
from tests.population import Person, make_person, picture
from tests.processes import Valkey
from tests.seaweed import Seaweed, seaweed

SEED = int(os.environ.get("CDP_TEST_SEED", "20261122"))
DELETIONS = int(os.environ.get("CDP_TEST_DELETIONS", "40"))
# From then on nobody is killed any more; the peers' troubles go on until the last request is over.
VIOLENCE_S = max(25.0, 0.5 * DELETIONS)
PATIENCE_S = 240.0 * max(1.0, DELETIONS / 60)
# A claim of a dead worker is found by the next sweep after its lease; the rest is for a machine that is busy and for
# the time Postgres itself was away.
SLACK_S = 30.0
LIVELY = QUICK | {
    "lease_s": 6.0,
    "sweep_s": 1.0,
    "retry_base_s": 0.1,
    "retry_longest_s": 1.0,
    "task_timeout_s": 8.0,
    "max_attempts": 1_000,
    "system_concurrency": 24,
    "audit_sequence_s": 1.0,
    "cooling_off": timedelta(0),
    "residual_every": timedelta(seconds=3),
    "access_token_ttl_s": 86_400,
    "step_up_max_age_s": 86_400,
}
ERASE = 'mutation { requestErasure(input: {confirmation: "DELETE"}) { request { reference } } }'

pytestmark = [pytest.mark.faults, pytest.mark.timeout(PATIENCE_S + 180)]


@pytest.fixture
def postgres(stack_folder: Path) -> Iterator[PostgresServer]:
    with own_postgres(stack_folder) as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    (tmp_path / "bell").mkdir()
    server = Valkey(tmp_path / "bell")
    yield server
    server.stop()


@pytest.fixture
def weed() -> Iterator[Seaweed]:
    with seaweed() as running:
        yield running


@pytest.fixture
async def engine(postgres: PostgresServer, valkey: Valkey, tmp_path: Path) -> AsyncIterator[Engine]:
    probe = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    here = {"redis_url": valkey.url, "state_dir": tmp_path / "state", "port": port, "allow_private_targets": True}
    here["objects_url"] = (tmp_path / "objects").as_uri()
    async for one in opened(postgres.settings.model_copy(update=LIVELY | here)):
        yield one


@pytest.fixture
def house(engine: Engine, postgres: PostgresServer, valkey: Valkey, tmp_path: Path) -> Iterator[House]:
    (tmp_path / "logs").mkdir()
    one = House(engine.platform.settings, postgres, valkey, tmp_path / "logs")
    yield one
    one.close()


@pytest.fixture
def systems(engine: Engine, other_postgres_url: str, weed: Seaweed, tmp_path: Path) -> Iterator[Estate]:
    with estate(engine.platform, other_postgres_url, weed, tmp_path, seed=SEED) as found:
        yield found


@dataclass(frozen=True)
class Asking:
    """Somebody, and the token an app of theirs asks with."""

    person: Person
    token: str


async def settle(engine: Engine, systems: Estate, count: int) -> list[Asking]:
    people = []
    for number in range(count):
        person = await make_person(engine.platform.db)
        systems.settle_in(person, number + 1)
        people.append(Asking(person, await token_of(engine, person)))
    return people


async def token_of(engine: Engine, person: Person) -> str:
    platform = engine.platform
    now, scope = platform.clock(), " ".join(sorted(CUSTOMER_SCOPES))
    viewer = Viewer(Actor.CUSTOMER, customer_id=person.customer_id, authenticated_at=now)
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.ensure_command_line(tx)
        grant = await grants.open_grant(tx, viewer, client, scope, now=now)
    return issuer_of(platform).access_token(grant, scope)


async def ask(settings: Settings, who: Asking) -> str:
    """Ask for the deletion until the API says that it was taken; the request's reference."""
    deadline = time.monotonic() + PATIENCE_S
    said = "nothing"
    async with httpx.AsyncClient(base_url=settings.url, timeout=10, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                headers = {"authorization": f"Bearer {who.token}"}
                answer = await client.post("/graphql", json={"query": ERASE}, headers=headers)
                said = answer.text
                reference: str = answer.json()["data"]["requestErasure"]["request"]["reference"]
            except (httpx.HTTPError, KeyError, TypeError, ValueError):
                await asyncio.sleep(0.3)
            else:
                return reference
    raise AssertionError(said)


async def rage(engine: Engine, house: House, leaving: list[Asking], recovery: Recovery) -> list[str]:
    """Everybody asks while everything fails; the references once every request is over."""
    stop, chance = asyncio.Event(), random.Random(SEED)
    watching = asyncio.gather(recovery.watch(), house.tend())
    violence = asyncio.gather(kill_now_and_then(house, recovery, chance, stop), break_servers(house, stop))
    asyncio.get_running_loop().call_later(VIOLENCE_S, stop.set)
    references = []
    for who in leaving:
        references.append(await ask(engine.platform.settings, who))
        await asyncio.sleep(chance.uniform(0.0, VIOLENCE_S / DELETIONS))

    try:
        await all_closed(engine, references, within_s=PATIENCE_S)
    except TimeoutError as error:
        raise AssertionError(await unfinished(engine, references)) from error
    stop.set()
    await violence
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await recovery.look()
    return references


async def unfinished(engine: Engine, references: list[str]) -> str:
    """Where the requests stand that are not over, and why."""
    lines = []
    for reference in references:
        row = await engine.request(reference)
        if row.key_id is not None:
            left = {n: f"{o} ({r.attempt})" for n, o, r in await _open_tasks(engine, reference)}
            lines.append(f"{reference} {row.status}: {left}")
    return "\n".join(lines)


async def _open_tasks(engine: Engine, reference: str) -> list[tuple[str, str, Row[Any]]]:
    found = await engine.tasks(reference)
    return [(f"{n}.{s}", f"{r.status} {r.code}", r) for (n, s), r in found.items() if r.status is not TaskStatus.DONE]


async def test_deletions_survive_everything_failing_at_once(
    engine: Engine, house: House, systems: Estate, tmp_path: Path
) -> None:
    print(f"seed {SEED}, {DELETIONS} deletions")
    await systems.connect(engine.platform)
    people = await settle(engine, systems, DELETIONS + 2)
    leaving, staying = people[:-2], [one.person for one in people[-2:]]
    before = [(await picture(engine.platform.db, one), systems.left_of(one)) for one in staying]
    house.open()
    systems.be_calm(False)
    recovery = Recovery(engine)
    references = await rage(engine, house, leaving, recovery)
    systems.be_calm(True)

    await everything_ended(engine, systems, leaving, references)
    await once_each(engine, systems, leaving, references)
    await no_stale_claim_was_settled(engine)
    assert [(await picture(engine.platform.db, one), systems.left_of(one)) for one in staying] == before
    assert systems.ledger_rows() == dict.fromkeys(systems.databases, DELETIONS + 2)
    await no_key_lives_on(engine)
    await the_log_holds(engine, tmp_path)
    settings = engine.platform.settings
    bound_s = settings.lease_s + settings.sweep_s
    assert recovery.orphans == {}, "what a dead worker had in hand was never taken up"
    assert max(recovery.took_s, default=0.0) <= bound_s + SLACK_S
    for plan in systems.plans:
        print(f"{plan.name}: {dict(plan.met)}")
    worst = f"at worst {max(recovery.took_s, default=0.0):.1f} s"
    print(
        f"{house.kills} killed; {len(recovery.took_s)} claims of the dead taken up, {worst}; lease + sweep {bound_s} s"
    )


async def everything_ended(engine: Engine, systems: Estate, leaving: list[Asking], references: list[str]) -> None:
    assert len(set(references)) == len(leaving)
    for who, reference in zip(leaving, references, strict=True):
        row = await engine.request(reference)
        assert row.status is RequestStatus.COMPLETED, (reference, await engine.outcomes(reference))
        assert systems.left_of(who.person) == {}
        held = {table for table, rows in (await picture(engine.platform.db, who.person)).items() if rows}
        assert held == {"audit_event"}, reference
        issued = await engine.certificate(reference)
        assert check(engine.document(issued), engine.platform.signer.keys()) is Verdict.VALID


async def once_each(engine: Engine, systems: Estate, leaving: list[Asking], references: list[str]) -> None:
    """The webhook honours the key, OpenDSR the id of the request; the service forgets somebody at most once."""
    opened_for: Counter[str] = Counter()
    for request in systems.processor.requests.values():
        if request.kind == "erasure":
            opened_for.update(request.values)
    for who, reference in zip(leaving, references, strict=True):
        row = await engine.request(reference)
        assert systems.webhook.effects[f"{row.id}:webhook:erase"] == 1
        assert opened_for[hashed(who.person.email)] == 1
        assert systems.service.gone[str(who.person.customer_id)] == 1
        actions = await engine.audited(who.person)
        for once in ("request.completed", "customer.erased", "erasure.journalled", "request.closed"):
            assert actions.count(once) == 1, (once, reference)
        assert sum("deleted" in letter.splitlines()[0] for letter in engine.letters(who.person)) == 1
    assert set(systems.webhook.effects.values()) == {1}


async def no_stale_claim_was_settled(engine: Engine) -> None:
    """Claims of one task settle in the order of their fences, and none after one that ended the task."""
    settled = select(audit_event.c.object_id, audit_event.c.action, audit_event.c.details)
    settled = settled.where(audit_event.c.object_type == "RequestTask").order_by(audit_event.c.occurred_at)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(settled)
    still_open = {f"task.{status.value}" for status in (TaskStatus.RETRYING, TaskStatus.WAITING)}
    fences: dict[str, int] = {}
    ended: set[str] = set()
    for row in rows:
        task = str(row.object_id)
        assert task not in ended, "a task was settled after it had ended"
        assert row.details["fence"] > fences.get(task, 0), "an older claim settled after a newer one"
        fences[task] = row.details["fence"]
        if row.action not in still_open:
            ended.add(task)
    assert ended == set(fences)


async def no_key_lives_on(engine: Engine) -> None:
    """An API that died between making a key and committing its request leaves a key of nothing; no other is left."""
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        known = {f"request-{row.id}" for row in await tx.all(select(privacy_request.c.id))}
    assert known.isdisjoint(engine.keys("request-"))


async def the_log_holds(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / LOG_FILE
    await write_log(engine.platform, file)
    found = LogCheck(engine.platform.signer.keys())
    with file.open("rb") as log:
        found.run(log)
    assert (found.problems, found.verdict) == ([], Verdict.VALID)
