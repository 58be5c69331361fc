"""``cdp controller add | list``: whom we are a processor of, made at a terminal."""

import json

from sqlalchemy import select

from cdp.core.db import Role
from cdp.tables.audit import audit_event
from tests.cli.test_sign_in_verbs import run
from tests.site import app, platform

__all__ = ["app", "platform"]


async def test_a_program_becomes_a_controller_once(settings, app, platform):
    program = ("--grant", "client_credentials", "--confidential", "--scope", "opendsr")
    made = run(settings, "client", "add", "A shop", *program)
    assert made.returncode == 0, made.stderr
    client_id = json.loads(made.stdout)["client_id"]
    added = run(settings, "controller", "add", client_id, "--numbering", "shop", "--callback-domain", "shop.example")
    assert added.returncode == 0, added.stderr
    shown = json.loads(added.stdout)
    assert (shown["controller_id"], shown["callback_domains"]) == (client_id, ["shop.example"])
    assert shown in json.loads(run(settings, "controller", "list").stdout)
    again = run(settings, "controller", "add", client_id)
    assert (again.returncode, "CONTROLLER_EXISTS" in again.stderr) == (1, True)
    async with platform.db.transaction(Role.WORKER) as tx:
        found = select(audit_event.c.id).where(audit_event.c.action == "controller.added")
        assert len(await tx.all(found)) == 1
