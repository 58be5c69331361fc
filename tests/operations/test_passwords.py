"""How passwords are stored: as costly to guess as RFC 9106 asks for, everywhere but where they guard nothing."""

import argon2
import pytest

from cdp.core.settings import Environment, Settings
from cdp.operations.accounts.passwords import hash_password, matches, needs_rehash

PASSWORD = "plum-tree under snow"
GUARDED = [Environment.DEVELOPMENT, Environment.PRODUCTION]


@pytest.mark.parametrize("env", GUARDED)
async def test_a_guess_costs_what_the_standard_asks_for(env):
    settings = Settings(env=env)
    stored = await hash_password(settings, PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await matches(settings, stored, PASSWORD)
    assert not await matches(settings, stored, PASSWORD + ".")
    assert not needs_rehash(settings, stored)


@pytest.mark.parametrize("env", GUARDED)
async def test_a_cheaper_hash_holds_until_it_is_made_anew(env):
    stored = await hash_password(Settings(env=Environment.TEST), PASSWORD)
    settings = Settings(env=env)
    assert await matches(settings, stored, PASSWORD)
    assert needs_rehash(settings, stored)


@pytest.mark.parametrize("env", list(Environment))
async def test_nobodys_password_costs_as_much_as_anybodys(env, monkeypatch):
    """What argon2 is asked to check has the parameters of what it hashes."""
    asked: list[str] = []
    plain = argon2.PasswordHasher.verify

    def noted(self, stored, password):
        asked.append(stored)
        return plain(self, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", noted)
    settings = Settings(env=env)
    stored = await hash_password(settings, PASSWORD)
    assert not await matches(settings, None, PASSWORD)
    nobodys = argon2.extract_parameters(asked[0])
    assert nobodys == argon2.extract_parameters(stored)
