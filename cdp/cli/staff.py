"""``cdp staff add``: people who work in the console."""

import json
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.accounts import staff_accounts
from cdp.operations.accounts.staff_accounts import NewColleague
from cdp.tables.staff import StaffRole

app = typer.Typer(name="staff", help="People who work in the console.", no_args_is_help=True)
ROLES = ", ".join(role.value for role in StaffRole)


@app.callback()
def staff() -> None:
    """People who work in the console."""


@app.command()
def add(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Their e-mail address, with which they sign in.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What colleagues see.")],
    role: Annotated[list[str], typer.Option("--role", help=f"Role; repeatable. One of: {ROLES}.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add somebody and print the link, good once and for a day, with which they set their password."""

    async def work(platform: Platform) -> NewColleague:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await staff_accounts.add(tx, SYSTEM, platform, email, name=name, roles=role)

    added = with_platform(work)
    if as_json:
        shown = {"username": added.username, "name": added.name, "roles": list(added.roles), "link": added.link}
        print(json.dumps(shown, indent=2))
        return
    print(f"{added.name} can sign in as {added.username} after setting a password, within 24 hours, here:")
    print(added.link)
