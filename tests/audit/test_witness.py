"""Signed heads leave the house once a period, survive a witness that is away, and catch a history made anew."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from cdp.cli.audit import LOG_FILE, write_log
from cdp.core.db import Role
from cdp.core.mail import mailer
from cdp.core.platform import Platform
from cdp.operations.audit import sequencer, witness
from cdp.operations.verification import verify_log
from cdp.tables.audit import WitnessKind, audit_witness
from tests.audit.conftest import happen

ADDRESS = "auditor@example.org"
BOTH = [WitnessKind.STORE, WitnessKind.MAIL]


def with_settings(platform: Platform, **changes: Any) -> Platform:
    return replace(platform, settings=platform.settings.model_copy(update=changes))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere"


@pytest.fixture
def platform(fresh_platform: Platform, store: Path) -> Platform:
    return with_settings(
        fresh_platform,
        audit_witness_url=store.as_uri(),
        audit_witness_mail=ADDRESS,
        audit_witness_every=timedelta(0),
        task_timeout_s=2.0,
    )


async def grow(platform: Platform, count: int) -> None:
    await happen(platform, count)
    await sequencer.sequence(platform)


def kept(store: Path) -> list[str]:
    return sorted(path.name.split("-")[0].lstrip("0") for path in store.rglob("*.json"))


def mails(platform: Platform) -> list[Path]:
    return sorted((platform.settings.state_dir / "outbox").glob("*.eml"))


async def rows(platform: Platform) -> dict[str, tuple[int, bool]]:
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(select(audit_witness))
    return {row.kind: (row.size, row.sent_at is not None) for row in found}


async def test_each_new_head_goes_out_once(platform: Platform, store: Path) -> None:
    assert await witness.send_due(platform) == []
    await grow(platform, 3)
    assert await witness.send_due(platform) == BOTH
    assert await witness.send_due(platform) == []
    await grow(platform, 2)
    assert await witness.send_due(platform) == BOTH
    assert kept(store) == ["3", "5"]
    assert len(mails(platform)) == 2
    assert await rows(platform) == {"store": (5, True), "mail": (5, True)}


async def test_not_before_its_time(platform: Platform, store: Path) -> None:
    await grow(platform, 1)
    await witness.send_due(platform)
    await grow(platform, 1)
    hourly = with_settings(platform, audit_witness_every=timedelta(hours=1))
    assert await witness.send_due(hourly) == []
    assert kept(store) == ["1"]


async def test_nobody_is_named_so_nothing_is_sent(fresh_platform: Platform) -> None:
    await grow(fresh_platform, 1)
    assert await witness.send_due(fresh_platform) == []
    assert await rows(fresh_platform) == {}


async def test_two_workers_send_one(platform: Platform, store: Path) -> None:
    await grow(platform, 4)
    sent = await asyncio.gather(*(witness.send_due(platform) for _ in range(3)))
    assert sorted(kind for one in sent for kind in one) == sorted(BOTH)
    assert kept(store) == ["4"]


async def test_a_witness_that_is_away_gets_it_later_and_holds_nobody_up(platform: Platform, store: Path) -> None:
    """Refused, and silent until the time-out; the other witness is served, and the lease decides when to come back."""

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    await grow(platform, 1)
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hanging = mailer(f"smtp://127.0.0.1:{port}", "log@example.org", Path())
    away = with_settings(replace(platform, mailer=hanging), task_timeout_s=0.3)
    assert await witness.send_due(away) == [WitnessKind.STORE]
    server.close()
    assert (await rows(platform))["mail"] == (0, False)
    assert await witness.send_due(platform) == [], "leased still"
    await _expire(platform)
    refused = replace(platform, mailer=mailer("smtp://127.0.0.1:1", "log@example.org", Path()))
    assert await witness.send_due(refused) == []
    await _expire(platform)
    assert await witness.send_due(platform) == [WitnessKind.MAIL]
    assert kept(store) == ["1"]


async def _expire(platform: Platform) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(audit_witness.update().values(lease_until=None))


async def test_a_store_that_refuses(platform: Platform, tmp_path: Path) -> None:
    await grow(platform, 1)
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    broken = with_settings(platform, audit_witness_url=(tmp_path / "file").as_uri(), audit_witness_mail="")
    assert await witness.send_due(broken) == []
    assert (await rows(platform))["store"] == (0, False)


async def test_the_operator_rewrites_history_and_is_caught(platform: Platform, store: Path, tmp_path: Path) -> None:
    """Owner of the database, holder of the key: everything is made again, and only the witnesses know better."""
    keys, file = platform.signer.keys(), tmp_path / LOG_FILE
    await grow(platform, 5)
    await witness.send_due(platform)
    (mail,) = mails(platform)
    await write_log(platform, file)
    assert verify_log(file, keys, witnesses=[store, mail]).is_valid
    with psycopg.connect(platform.settings.database_owner_url, autocommit=True) as owner:
        for table in ("audit_event", "audit_leaf", "audit_node", "audit_head"):
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only")
        for table in ("audit_leaf", "audit_node", "audit_head"):
            owner.execute(f"DELETE FROM {table}")
        owner.execute("ALTER TABLE audit_event NO FORCE ROW LEVEL SECURITY")
        owner.execute("DELETE FROM audit_event WHERE details ->> 'number' = '3'")
        owner.execute("INSERT INTO audit_pending SELECT id FROM audit_event")
    await grow(platform, 6)
    await write_log(platform, file)
    assert verify_log(file, keys).is_valid
    for one in (store, mail):
        report = verify_log(file, keys, witnesses=[one])
        assert not report.is_valid
        assert any("was rewritten" in problem for problem in report.problems)
    await witness.send_due(platform)
    assert len(kept(store)) == 2, "what was witnessed first is still there"
