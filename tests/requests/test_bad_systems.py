"""Systems that can not work, or lie: refused when they are connected, found by a check, or seen as failed with why."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.operations import systems
from cdp.operations.requests import certificates
from cdp.operations.systems import Registration, SystemRefused
from cdp.tables.audit import audit_event
from cdp.tables.request import RequestStatus, TaskStatus
from tests.connectors.serving import Call, Raw, answer, serving
from tests.connectors.webhook_peer import SECRET, Peer, served
from tests.engine import Engine
from tests.population import make_person, picture

HUGE = answer(500, b"x" * 10_000_000)
SHAPELESS = answer(200, {"ok": True})


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


class Register:
    """An HTTP system that says 204 to every deletion, and deletes nothing."""

    def __init__(self) -> None:
        self.emails: set[str] = set()
        self.finds_everybody = False
        self.deletions = 0

    async def respond(self, call: Call) -> Raw:
        if call.method == "DELETE":
            self.deletions += 1
            return answer(204, b"")
        email = call.asked["email"]
        is_known = self.finds_everybody or email in self.emails
        return answer(200, {"items": [{"id": 7, "email": email}] if is_known else []})


@contextmanager
def registered() -> Iterator[tuple[Register, Registration]]:
    register = Register()
    with serving(register.respond) as base:
        people = {
            "read": {"path": "/people", "query": {"email": "{email}"}, "records": "/items", "match": "/email"},
            "erase": {"path": "/people/{record/id}"},
        }
        configuration = {"url": base, "auth": {"type": "none"}, "collections": {"people": people}}
        yield register, Registration("register", "Register", "http", configuration, {})


def hook(peer: Peer) -> Registration:
    configuration = {"url": peer.url, "timeout_s": 5, "identifiers": ["email"]}
    return Registration("newsletter", "Newsletter", "webhook", configuration, {"secret": SECRET})


def database(folder: Path, **client: Any) -> Registration:
    """A file with one table, and a mapping that ``client`` changes."""
    file = folder / "shop.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS client (email TEXT NOT NULL, spent INTEGER)")
    table: dict[str, Any] = {"name": "client", "rows": "delete", "identities": [{"type": "email", "column": "email"}]}
    configuration = {"url": f"sqlite:///{file}", "mapping": {"tables": [table | client]}}
    return Registration("shop", "Shop", "sql", configuration, {})


async def refused(engine: Engine, wanted: Registration) -> list[str]:
    """Codes of what was found; nothing is connected."""
    with pytest.raises(SystemRefused) as refusal:
        await systems.add(engine.platform, SYSTEM, wanted)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert [one.name for one in await systems.listed(tx)] == ["own"]
    problems = refusal.value.extensions["problems"]
    assert all(problem["at"] and problem["message"] for problem in problems)
    return [problem["code"] for problem in problems]


async def test_a_mapping_with_a_reference_into_nothing_is_refused(engine: Engine, tmp_path: Path) -> None:
    lost = [{"columns": ["spent"], "table": "order", "keys": ["id"]}]
    assert await refused(engine, database(tmp_path, references=lost)) == ["REFERENCE_UNRESOLVED"]


async def test_a_strategy_its_column_can_not_take_is_refused(engine: Engine, tmp_path: Path) -> None:
    kept = {"rows": "keep", "retention": {"basis": "Tax law"}, "columns": {"email": "keyed_hash", "spent": "hash"}}
    assert await refused(engine, database(tmp_path, **kept)) == ["COLUMN_TYPE"]


async def test_a_system_that_knows_somebody_nobody_knows_is_refused(engine: Engine) -> None:
    with registered() as (register, wanted):
        register.finds_everybody = True
        assert await refused(engine, wanted) == ["NOBODY_FOUND"]
        assert register.deletions == 0


@pytest.mark.parametrize(
    ("raw", "code"), [(HUGE, "ANSWER_TOO_LARGE"), (SHAPELESS, "BAD_ANSWER"), (answer(404, b""), "BAD_ANSWER")]
)
async def test_a_system_that_answers_otherwise_is_refused(engine: Engine, peer: Peer, raw: Raw, code: str) -> None:
    peer.answer = raw
    assert (await refused(engine, hook(peer)))[0] == code


async def test_a_system_that_leads_elsewhere_is_refused_and_not_followed(engine: Engine, peer: Peer) -> None:
    peer.answer = answer(307, b"", location=peer.url.replace("/hook", "/canary"))
    assert (await refused(engine, hook(peer)))[0] == "REDIRECTED"
    assert peer.canary_calls == 0


async def test_a_check_finds_what_went_wrong_since(engine: Engine, tmp_path: Path) -> None:
    await systems.add(engine.platform, SYSTEM, database(tmp_path))
    assert await systems.check(engine.platform, SYSTEM, "shop") == ()
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("ALTER TABLE client RENAME COLUMN email TO address")
    assert {problem.code for problem in await systems.check(engine.platform, SYSTEM, "shop")} == {"COLUMN_MISSING"}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        checks = select(audit_event.c.outcome).where(audit_event.c.action == "system.checked")
        assert [row.outcome for row in await tx.all(checks.order_by(audit_event.c.occurred_at))] == ["ok", "refused"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [(HUGE, "ANSWER_TOO_LARGE"), (SHAPELESS, "BAD_ANSWER"), (answer(307, b"", location="{canary}"), "REDIRECTED")],
    ids=["huge", "shapeless", "redirect"],
)
async def test_a_system_that_turns_bad_is_failed_with_why(engine: Engine, peer: Peer, raw: Raw, code: str) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    await systems.add(engine.platform, SYSTEM, hook(peer))
    before = await picture(engine.platform.db, bystander)
    status, headers, body = raw
    canary = peer.url.replace("/hook", "/canary")
    peer.answer = status, {name: value.format(canary=canary) for name, value in headers.items()}, body
    opened = await engine.open_erasure(ada)
    await engine.work()
    outcomes = await engine.outcomes(opened.reference)
    assert outcomes["newsletter.check"] == (TaskStatus.FAILED, code)
    assert await engine.status(opened.reference) is RequestStatus.NEEDS_ATTENTION
    assert "own.erase" not in outcomes
    assert peer.canary_calls == 0
    assert await picture(engine.platform.db, bystander) == before


async def test_204_for_a_deletion_that_did_not_happen_is_no_success(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    with registered() as (register, wanted):
        await systems.add(engine.platform, SYSTEM, wanted)
        register.emails = {ada.email, bystander.email}
        opened = await engine.open_erasure(ada)
        await engine.work()
        outcomes = await engine.outcomes(opened.reference)
        assert outcomes["register.erase"] == (TaskStatus.DONE, "ERASED")
        assert outcomes["register.verify"] == (TaskStatus.FAILED, "LEFT_BEHIND")
        assert register.deletions == 1
    assert await engine.status(opened.reference) is RequestStatus.NEEDS_ATTENTION
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await certificates.of_request(tx, opened.id) is None
    assert (await picture(engine.platform.db, ada))["customer"]
    assert await picture(engine.platform.db, bystander) == before
