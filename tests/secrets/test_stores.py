"""One key store for all hosts: the first one is on record, every other one is refused by a code."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cdp.access.viewer import SYSTEM
from cdp.cli import upkeep
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.probe import Verdict
from cdp.operations.secrets import stores
from cdp.operations.secrets.stores import KeyStoreDiffers
from cdp.operations.starting import prepare
from cdp.tables.audit import audit_event
from cdp.tables.keys import key_store


@pytest.fixture
async def stranger(fresh_settings: Settings, tmp_path: Path):
    """A host of the same installation with a key store of its own."""
    opened = Platform.open(fresh_settings.model_copy(update={"key_store_dir": tmp_path / "keys"}))
    yield opened
    await opened.close()


async def _audited(platform: Platform) -> dict[str, int]:
    mine = select(audit_event.c.action, func.count()).where(audit_event.c.action.startswith("key_store."))
    async with platform.db.transaction(Role.WORKER) as tx:
        return {row[0]: row[1] for row in await tx.all(mine.group_by(audit_event.c.action))}


async def _is_known(platform: Platform) -> bool:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await stores.is_known(tx, platform)


async def test_the_first_one_is_on_record_and_another_one_is_refused(
    fresh_platform: Platform, stranger: Platform
) -> None:
    assert await _is_known(stranger)  # nothing is on record yet
    await prepare(fresh_platform)
    await prepare(fresh_platform)
    assert await _audited(fresh_platform) == {"key_store.recorded": 1}
    for _ in range(2):
        with pytest.raises(KeyStoreDiffers) as refused:
            await prepare(stranger)
        assert refused.value.code == "KEY_STORE_DIFFERS"
    assert (await _is_known(fresh_platform), await _is_known(stranger)) == (True, False)
    assert await _audited(fresh_platform) == {"key_store.recorded": 1}


async def test_a_newer_pepper_or_another_mount_is_the_same_store(fresh_platform: Platform, tmp_path: Path) -> None:
    await prepare(fresh_platform)
    fresh_platform.keys.create("pepper-0002")
    (tmp_path / "mounted").symlink_to(fresh_platform.settings.keys_dir.resolve())
    elsewhere = {"state_dir": tmp_path / "state", "key_store_dir": tmp_path / "mounted"}
    neighbour = Platform.open(fresh_platform.settings.model_copy(update=elsewhere))
    try:
        assert neighbour.pepper.current == 2
        await prepare(neighbour)
    finally:
        await neighbour.close()


async def test_of_two_that_start_first_at_once_one_is_refused(fresh_platform: Platform, stranger: Platform) -> None:
    done = await asyncio.gather(stores.check(fresh_platform), stores.check(stranger), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["KeyStoreDiffers", "NoneType"]
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(key_store)) == 1


async def test_who_has_lost_the_other_one_goes_on_with_this_one(fresh_platform: Platform, stranger: Platform) -> None:
    await stores.check(fresh_platform)
    assert not await stores.adopt(fresh_platform, SYSTEM)
    assert await stores.adopt(stranger, SYSTEM)
    assert not await stores.adopt(stranger, SYSTEM)
    await prepare(stranger)
    with pytest.raises(KeyStoreDiffers):
        await prepare(fresh_platform)
    assert await _audited(stranger) == {"key_store.recorded": 1, "key_store.adopted": 1}


def test_the_doctor_says_so() -> None:
    assert upkeep.key_store(is_known=True).verdict is Verdict.OK
    wrong = upkeep.key_store(is_known=False)
    assert wrong.verdict is Verdict.PROBLEM
    assert "KEY_STORE_DIFFERS" in wrong.found
    assert "CDP_KEY_STORE_DIR" in wrong.remedy


async def cdp(settings: Settings, keys: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb on a host that has its keys elsewhere."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")} | {
        "CDP_ENV": "test",
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": settings.objects_url,
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_KEY_STORE_DIR": str(keys),
    }
    command = [sys.executable, "-m", "cdp", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, check=False, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("verb", ["api", "worker"])
async def test_a_process_with_another_key_store_says_so_and_exits(
    fresh_platform: Platform, tmp_path: Path, verb: str
) -> None:
    await prepare(fresh_platform)
    done = await cdp(fresh_platform.settings, tmp_path / "keys", verb)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "KEY_STORE_DIFFERS" in done.stdout + done.stderr


async def test_an_operator_decides_by_a_word(fresh_platform: Platform, tmp_path: Path) -> None:
    await prepare(fresh_platform)
    doctor = await cdp(fresh_platform.settings, tmp_path / "keys", "doctor", "--json")
    (found,) = [one for one in json.loads(doctor.stdout) if one["name"] == "key store"]
    assert (doctor.returncode, found["verdict"]) == (1, "problem")
    done = await cdp(fresh_platform.settings, tmp_path / "keys", "keys", "adopt", "--yes")
    assert done.returncode == 0, done.stderr
    assert not await _is_known(fresh_platform)
