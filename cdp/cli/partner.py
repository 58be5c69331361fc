"""``cdp partner add | list | recalls``: partners, their programs, and who owes an answer.

What a partner may see is agreed to by people, in the console or the API; nothing here grants anything.
"""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from cdp.access.sharing import OFFER_SCOPE, READ_SCOPE
from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.partners import partners
from cdp.operations.partners.partners import NewPartner
from cdp.tables.partner import partner, partner_grant
from cdp.tables.sharing import RecallStatus, partner_recall

app = typer.Typer(name="partner", help="Partners and what they owe.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Rows = list[dict[str, Any]]


@app.command()
def add(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Short name: small letters, digits, hyphens.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What customers see.")],
    *,
    contact: Annotated[str, typer.Option("--contact", help="E-mail address that recalls are sent to.")],
    jwks: Annotated[
        typer.FileText | None, typer.Option("--jwks", help="Its program's public keys, a JWK set, instead of a secret.")
    ] = None,
) -> None:
    """Add a partner and register its program; prints both as JSON, the secret this once. It sees nobody yet."""
    keys = json.load(jwks) if jwks is not None else None

    async def register(platform: Platform) -> dict[str, str | None]:
        async with platform.db.transaction(Role.WORKER) as tx:
            added = await clients.add(
                tx,
                SYSTEM,
                name,
                redirect_uris=[],
                confidential=keys is None,
                jwks=keys,
                grant_types=["client_credentials"],
                scopes=[READ_SCOPE, OFFER_SCOPE],
                authorization_types=["partner_access"],
            )
            wanted = NewPartner(code, name, contact, added.client.client_id)
            partner_id = await partners.add(tx, SYSTEM, platform, wanted)
        return {
            "partner": global_id("Partner", partner_id),
            "client_id": added.client.client_id,
            "client_secret": added.secret,
        }

    print(json.dumps(with_platform(register), indent=2))


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Partners with their grants."""

    async def read(platform: Platform) -> Rows:
        asked = (
            select(partner.c.code, partner.c.name, partner_grant.c.function, partner_grant.c.status)
            .add_columns(partner_grant.c.purposes, partner_grant.c.valid_until)
            .select_from(partner.outerjoin(partner_grant))
            .order_by(partner.c.code, partner_grant.c.proposed_at)
        )
        async with platform.db.transaction(Role.WORKER) as tx:
            return [
                {
                    "code": row.code,
                    "name": row.name,
                    "function": row.function,
                    "status": row.status,
                    "purposes": ", ".join(row.purposes or ()),
                    "validUntil": iso(row.valid_until) if row.valid_until else None,
                }
                for row in await tx.all(asked)
            ]

    _show("Partners", with_platform(read), as_json=as_json)


@app.command()
def recalls(*, as_json: AsJson = False) -> None:
    """Recalls that wait for an answer, the one due next first."""

    async def read(platform: Platform) -> Rows:
        asked = (
            select(partner.c.code, partner_recall.c.id, partner_recall.c.reason, partner_recall.c.due_at)
            .select_from(partner_recall.join(partner))
            .where(partner_recall.c.status == RecallStatus.OPEN)
            .order_by(partner_recall.c.due_at)
        )
        now = platform.clock()
        async with platform.db.transaction(Role.WORKER) as tx:
            return [
                {
                    "recall": global_id("PartnerRecall", row.id),
                    "partner": row.code,
                    "reason": row.reason.value,
                    "dueAt": iso(row.due_at),
                    "overdue": "yes" if row.due_at < now else "no",
                }
                for row in await tx.all(asked)
            ]

    _show("Open recalls", with_platform(read), as_json=as_json)


def _show(title: str, rows: Rows, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("None.")
        return
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
