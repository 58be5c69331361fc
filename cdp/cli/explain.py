"""``cdp explain``: which rule decides each field of a query for a kind of viewer, and the SQL; nothing is read."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.schema.schema import open_reader
from cdp.tables.account import account
from cdp.tables.staff import staff

app = typer.Typer()


class NobodyThere(NotFound):
    """Nobody signs in by this address."""

    code = "NOBODY_THERE"


@app.command()
def explain(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The document; @FILE reads one, - the standard input.")],
    *,
    as_: Annotated[str, typer.Option("--as", metavar="EMAIL", help="As this person, customer or staff.")] = "",
    role: Annotated[list[str] | None, typer.Option("--role", help="As staff of this role; may be repeated.")] = None,
    scope: Annotated[str, typer.Option("--scope", help="Scopes of the token; all of that kind when left out.")] = "",
    variables: Annotated[str, typer.Option("--variables", help="JSON.")] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Say which rule, mask and row predicate decides each field, and show the statement.

    Without --as and --role it is explained for a customer. Nothing is read but who --as is.
    """
    text = _text(query)

    async def work(platform: Platform) -> dict[str, Any]:
        viewer = await _viewer(platform, as_, role or [], scope)
        reader = open_reader(platform)
        try:
            operation = reader.document(text).operation(None)
            return await reader.explain(operation, viewer, operation.coerce(json.loads(variables)))
        finally:
            await reader.close()

    found = with_platform(work)
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)


def _text(query: str) -> str:
    if query == "-":
        return sys.stdin.read()
    return Path(query[1:]).read_text(encoding="utf-8") if query.startswith("@") else query


async def _viewer(platform: Platform, email: str, roles: list[str], scope: str) -> Viewer:
    """A viewer of the kind that is asked for. Raises NobodyThere."""
    if email:
        async with platform.db.transaction(Role.WORKER) as tx:
            person = await tx.first(select(staff.c.id, staff.c.roles).where(staff.c.username == email.lower()))
            mine = select(account.c.customer_id).where(account.c.username == email.lower())
            customer_id = None if person else await tx.scalar(mine)
        if person is None:
            if customer_id is None:
                raise NobodyThere
            return _customer(CustomerId(customer_id), scope)
        roles = list(person.roles)
    if not roles:
        return _customer(CustomerId(new_id()), scope)
    scopes = frozenset(scope.split()) or STAFF_SCOPES
    return Viewer(Actor.STAFF, staff_id=new_id(), roles=frozenset(roles), scopes=scopes, purpose="customer_service")


def _customer(customer_id: CustomerId, scope: str) -> Viewer:
    return Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=frozenset(scope.split()) or CUSTOMER_SCOPES)


def _show(found: dict[str, Any]) -> None:
    console = Console()
    table = Table("path", "field", "decision", "by the rule for", "rows")
    for one in found["fields"]:
        decision = " ".join(str(one[key]) for key in ("decision", "mask", "code") if key in one)
        rows = " ".join(map(str, one["rows"].values())) if "rows" in one else ""
        table.add_row(".".join(one["path"]), one["field"], decision, _rule(one["rule"]), rows)
    console.print(table)
    console.print(found["sql"], markup=False, highlight=False, soft_wrap=True)


def _rule(rule: dict[str, Any] | None) -> str:
    if rule is None:
        return "nobody"
    return " ".join(part for part in (rule["actor"], ",".join(rule["roles"]), rule["scope"] or "") if part)
