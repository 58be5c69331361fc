"""``cdp staff add``: the link it prints opens the console once, for the one who was added."""

import json
import secrets
import subprocess

import pytest
from sqlalchemy import func, select

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.operations.accounts import new_passwords
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.tables.audit import audit_event
from cdp.tables.staff import staff
from tests.browser import submit, visitor
from tests.cli.test_sign_in_verbs import run
from tests.site import PASSWORD, app, new_staff, platform

__all__ = ["app", "new_staff", "platform"]
NEW = "a wholly new sentence"


def _add(settings, email: str, *more: str) -> "subprocess.CompletedProcess[str]":
    return run(settings, "staff", "add", email, "--name", "Bo Agent", *more)


async def test_the_link_lets_a_colleague_in_once(settings, app, platform, new_staff):
    email, bystander = f"Bo.{secrets.token_hex(6)}@Example.org", await new_staff("agent")
    done = _add(settings, email, "--role", "agent", "--role", "supervisor", "--json")
    assert done.returncode == 0, done.stderr
    added = json.loads(done.stdout)
    assert (added["username"], added["roles"]) == (email.lower(), ["agent", "supervisor"])
    page, _, code = added["link"].partition("#")
    assert page.endswith("/console/new-password")
    async with visitor(app, address="203.0.113.250") as browser:
        refused = await submit(browser, "/console/sign-in", username=email, password=NEW)
        assert refused.status_code == 401
        answer = await submit(browser, "/console/new-password", code=code, password=NEW)
        assert answer.headers["location"] == "/console/sign-in?renewed=1"
        assert (await submit(browser, "/console/sign-in", username=email, password=NEW)).status_code == 303
    with pytest.raises(LinkRefused):
        await new_passwords.set_by_link(platform, Actor.STAFF, code, "another long sentence")
    async with visitor(app, address="203.0.113.249") as browser:
        assert (await submit(browser, "/console/sign-in", username=bystander, password=PASSWORD)).status_code == 303
    async with platform.db.transaction(Role.WORKER) as tx:
        staff_id = await tx.scalar(select(staff.c.id).where(staff.c.username == email.lower()))
        told = select(audit_event.c.action).where(audit_event.c.object_id == staff_id).order_by(audit_event.c.id)
        assert [row.action for row in await tx.all(told)] == ["staff.added", "password.reset"]


async def test_the_link_is_no_customers(settings, platform):
    done = _add(settings, f"bo.{secrets.token_hex(6)}@example.org", "--role", "agent", "--json")
    code = json.loads(done.stdout)["link"].partition("#")[2]
    with pytest.raises(LinkRefused):
        await new_passwords.set_by_link(platform, Actor.CUSTOMER, code, NEW)


@pytest.mark.parametrize(
    ("email", "role", "said"),
    [("no address", "agent", "INVALID_EMAIL"), ("bo@example.org", "emperor", "UNKNOWN_ROLE"), ("", "agent", "INVALID")],
)
async def test_what_is_wrong_is_said_and_nobody_is_added(settings, platform, email, role, said):
    done = _add(settings, email, "--role", role)
    assert done.returncode == 1
    assert said in done.stderr
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).where(staff.c.username == "bo@example.org")) == 0


async def test_nobody_is_added_twice(settings, new_staff):
    done = _add(settings, await new_staff("agent"), "--role", "administrator")
    assert (done.returncode, "STAFF_EXISTS" in done.stderr) == (1, True)
