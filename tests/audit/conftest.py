"""A log with some events and heads, exported, and what somebody outside kept of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdp.access.viewer import SYSTEM
from cdp.cli.audit import LOG_FILE, write_log
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations import audit
from cdp.operations.audit import sequencer
from tests.conftest import fresh_place

ROUNDS = (3, 1, 5, 8)


@dataclass(frozen=True)
class Exported:
    """An exported log of four heads and more, with the platform it came from."""

    platform: Platform
    file: Path

    @property
    def lines(self) -> list[bytes]:
        return self.file.read_bytes().splitlines()

    @property
    def keys(self) -> dict[str, str]:
        return self.platform.signer.keys()


async def happen(platform: Platform, count: int = 1) -> None:
    """So many events, a transaction each."""
    for number in range(count):
        async with platform.db.transaction(Role.WORKER) as tx:
            await audit.record(tx, SYSTEM, "test.made", subject_ref=new_id(), details={"number": number, "part": 0.5})


@pytest.fixture(scope="module")
async def exported(
    running: Settings, worker_name: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Exported]:
    with fresh_place(running, worker_name) as settings:
        platform = Platform.open(settings)
        for count in ROUNDS:
            await happen(platform, count)
            await sequencer.sequence(platform)
        file = tmp_path_factory.mktemp("log") / LOG_FILE
        await write_log(platform, file)
        yield Exported(platform, file)
        await platform.close()
