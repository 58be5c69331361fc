"""Production refuses what development allows, before it serves anything."""

import base64
import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.core.settings import Environment, Settings
from cdp.operations import production
from cdp.operations.accounts import accounts
from cdp.operations.production import DEMO_SOURCE, DEMO_STAFF, ProductionRefused
from cdp.operations.reference import ensure_reference
from cdp.tables.staff import staff

KEYS = "k1:" + base64.b64encode(bytes(32)).decode()


def fit(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "env": Environment.PRODUCTION,
            "base_url": "https://data.example.com",
            "trusted_proxies": (ipaddress.ip_network("10.0.0.0/8"),),
            "master_keys": KEYS,
            "key_store_dir": settings.keys_dir,
            "smtp_url": "smtps://mail.example.com",
            "objects_url": "memory:///",
            "allow_private_targets": False,
        }
    )


def test_a_fit_configuration_passes(settings: Settings) -> None:
    assert production.problems(fit(settings)) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("base_url", "http://data.example.com", "CDP_BASE_URL"),
        ("trusted_proxies", (), "CDP_TRUSTED_PROXIES"),
        ("master_keys", "", "CDP_MASTER_KEYS"),
        ("key_store_dir", None, "CDP_KEY_STORE_DIR"),
        ("smtp_url", "", "CDP_SMTP_URL"),
        ("allow_private_targets", True, "CDP_ALLOW_PRIVATE_TARGETS"),
        ("database_url", "", "CDP_DATABASE_URL"),
        ("redis_url", "", "CDP_REDIS_URL"),
        ("objects_url", "", "CDP_OBJECTS_URL"),
        ("step_up_max_age_s", 601, "CDP_STEP_UP_MAX_AGE_S"),
        ("staff_second_factor", False, "CDP_STAFF_SECOND_FACTOR"),
    ],
)
def test_each_convenience_is_named(settings: Settings, name: str, value: object, said: str) -> None:
    with pytest.raises(ProductionRefused, match=said):
        production.check_settings(fit(settings).model_copy(update={name: value}))
    production.check_settings(settings.model_copy(update={name: value}))  # fine elsewhere


async def test_the_demos_people_are_refused(fresh_platform: Platform) -> None:
    serious = Platform.open(fit(fresh_platform.settings))
    async with fresh_platform.db.transaction(Role.WORKER) as tx:
        await ensure_reference(tx)
    try:
        await production.check(serious)
        who = accounts.Registration("demo.person@example.com", "lantern orchard granite", True, source=DEMO_SOURCE)
        await accounts.register(fresh_platform, who)
        with pytest.raises(ProductionRefused, match="demo"):
            await production.check(serious)
    finally:
        await serious.close()


async def test_the_demos_colleagues_are_refused_while_they_are_active(fresh_platform: Platform) -> None:
    serious = Platform.open(fit(fresh_platform.settings))
    row = {"username": DEMO_STAFF[0], "name": "Eva", "roles": ["agent"]}
    try:
        async with fresh_platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(insert(staff).values(row))
        with pytest.raises(ProductionRefused, match="demo"):
            await production.check(serious)
        async with fresh_platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(staff).values(active=False))
        await production.check(serious)
    finally:
        await serious.close()


def test_the_api_says_so_and_exits(settings: Settings, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")} | {
        "CDP_ENV": "production",
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": "memory:///",
        "CDP_STATE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "cdp", "api"], check=False, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "PRODUCTION_REFUSED" in done.stderr
    assert "CDP_MASTER_KEYS" in done.stderr
