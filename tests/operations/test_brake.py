"""The brake: waits grow and stay short, an attack from elsewhere does not hold up a known browser."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from cdp.core.db import Database, Role
from cdp.core.keys import KeyStore
from cdp.core.seal import Pepper
from cdp.operations.accounts import brake
from cdp.operations.accounts.brake import Count, TooManyTries

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def pepper(tmp_path) -> Pepper:
    return Pepper(KeyStore(tmp_path))


async def admit(db: Database, tries: list[Count], now: datetime) -> None:
    async with db.transaction(Role.WORKER) as tx:
        await brake.admit(tx, tries, now)


async def fail_until_refused(db: Database, tries: list[Count], now: datetime) -> tuple[int, int]:
    """Free tries, and the seconds to wait after them."""
    for tried in range(1000):
        try:
            await admit(db, tries, now)
        except TooManyTries as refusal:
            return tried, refusal.extensions["retryAfterS"]
    raise AssertionError("never refused")


async def test_waits_double_up_to_a_minute_and_a_refused_try_costs_nothing(db, pepper):
    tries = [brake.counts(pepper, secrets.token_hex(8), "192.0.2.7", None)[0]]
    free, wait_s = await fail_until_refused(db, tries, NOW)
    assert (free, wait_s) == (6, 2)
    now, waits = NOW, []
    for _ in range(7):
        now += timedelta(seconds=wait_s)
        free, wait_s = await fail_until_refused(db, tries, now)
        waits.append(wait_s)
        assert free == 1
    assert waits == [4, 8, 16, 32, 60, 60, 60]


async def test_the_window_forgets(db, pepper):
    tries = [brake.counts(pepper, secrets.token_hex(8), "192.0.2.7", None)[0]]
    await fail_until_refused(db, tries, NOW)
    free, wait_s = await fail_until_refused(db, tries, NOW + brake.WINDOW + timedelta(minutes=2))
    assert (free, wait_s) == (6, 2)


async def test_success_gives_everything_back(db, pepper):
    tries = brake.counts(pepper, secrets.token_hex(8), f"2001:db8:{secrets.token_hex(2)}::1", None)
    for _ in range(5):
        await admit(db, tries, NOW)
    async with db.transaction(Role.WORKER) as tx:
        await brake.forgive(tx, tries, NOW)
    free, _ = await fail_until_refused(db, [tries[0]], NOW)
    assert free == 6


async def test_a_known_browser_passes_while_its_account_is_attacked(db, pepper):
    name = secrets.token_hex(8)
    for host in range(60):
        await admit(db, [brake.counts(pepper, name, f"192.0.2.{host}", None)[2]], NOW)
        if host >= 50:
            break
    with pytest.raises(TooManyTries):
        await admit(db, brake.counts(pepper, name, "198.51.100.1", None), NOW)
    await admit(db, brake.counts(pepper, name, "198.51.100.1", "a known browser"), NOW)
    await admit(db, brake.counts(pepper, secrets.token_hex(8), "198.51.100.1", None), NOW)


def test_a_whole_ipv6_network_counts_as_one(pepper):
    one, other, elsewhere = (
        brake.counts(pepper, "ada", address, None)[1].key
        for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    )
    assert one == other != elsewhere
