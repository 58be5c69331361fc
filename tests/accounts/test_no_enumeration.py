"""Nobody learns who has an account: the same answer, and the same work, counted and not timed."""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import argon2
import pytest
from sqlalchemy import event, update
from sqlalchemy.engine import Engine

from cdp.core.db import Role
from cdp.tables.account import account
from tests.accounts.second_factor import set_up
from tests.browser import forms, visitor, without_noise
from tests.site import PASSWORD

NOBODY = "nobody.{}@example.org"


@pytest.fixture
def work(monkeypatch) -> Iterator[Counter]:
    """Counts passwords hashed or checked by argon2, and statements that reach a database."""
    done: Counter = Counter()

    def counting(name: str):
        plain = getattr(argon2.PasswordHasher, name)

        def counted(self, *given):
            done["argon2"] += 1
            return plain(self, *given)

        return counted

    for name in ("hash", "verify"):
        monkeypatch.setattr(argon2.PasswordHasher, name, counting(name))

    def seen(connection, cursor, statement, *_) -> None:
        done["statements"] += 1

    event.listen(Engine, "before_cursor_execute", seen)
    yield done
    event.remove(Engine, "before_cursor_execute", seen)


@contextmanager
def measured(work: Counter) -> Iterator[Counter]:
    before, found = Counter(work), Counter()
    yield found
    found.update(work - before)


async def answers(app, work, path: str, known: list[str], **fields: str):
    found = []
    for name in [*known, NOBODY.format(secrets.token_hex(6))]:
        async with visitor(app, address=f"198.51.{secrets.randbelow(250)}.{secrets.randbelow(250)}") as browser:
            page = await browser.get(path)
            sent = {**forms(page)[path], **{key: value.replace("NAME", name) for key, value in fields.items()}}
            with measured(work) as done:
                answer = await browser.post(path, data=sent)
            text = without_noise(answer).replace(name, "NAME")
            location = answer.headers.get("location", "").replace(name, "NAME")
            found.append(((answer.status_code, text, location, sorted(browser.cookies)), done))
    return found


async def test_signing_in(app, platform, new_customer, signed_in, work):
    plain, passwordless, protected = [await new_customer() for _ in range(3)]
    await set_up(await signed_in(protected), platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(account).where(account.c.username == passwordless).values(password_hash=None))
    known = [plain, passwordless, protected]
    found = await answers(app, work, "/account/sign-in", known, username="NAME", password="not the password")
    assert found[0][0][0] == 401
    assert [answer for answer, _ in found] == [found[0][0]] * 4
    assert [done["argon2"] for _, done in found] == [1] * 4
    assert len({done["statements"] for _, done in found}) == 1


async def test_registering(app, new_customer, work):
    form = {"email": "NAME", "password": PASSWORD, "policy": "yes"}
    found = await answers(app, work, "/account/register", [await new_customer()], **form)
    assert found[0][0][0] == 303
    assert found[0][0] == found[1][0]
    assert [done["argon2"] for _, done in found] == [1, 1]


async def test_asking_for_a_new_password(app, new_customer, work):
    found = await answers(app, work, "/account/forgotten-password", [await new_customer()], username="NAME")
    assert found[0][0] == found[1][0]
    assert [done["argon2"] for _, done in found] == [0, 0]


@pytest.mark.parametrize("path", ["/account/forgotten-password", "/account/register"])
async def test_the_brake_says_the_same_of_known_and_unknown(app, new_customer, path):
    statuses = []
    for name in (await new_customer(), NOBODY.format(secrets.token_hex(6))):
        form = {"username": name, "email": name, "password": PASSWORD, "policy": "yes"}
        async with visitor(app, address=f"198.51.{secrets.randbelow(250)}.{secrets.randbelow(250)}") as browser:
            fields = {**forms(await browser.get(path))[path], **form}
            statuses.append([(await browser.post(path, data=fields)).status_code for _ in range(6)])
    assert statuses[0] == statuses[1]
    assert statuses[0][-1] == 429
