"""``cdp transfer create | confirm-key | classify | preview | notify | freeze | approve | show | list | …``: deals.

Looking needs the platform alone; whatever moves a deal on is done by somebody: their access token stands in CDP_TOKEN.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.table import Table

from cdp.access.viewer import SYSTEM, Viewer
from cdp.cli.opened import with_platform
from cdp.core.clock import iso
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.delivery import progress, selection
from cdp.operations.delivery.progress import Progress
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.operations.transfers import classifying, deals, freezing, notices, states, views, wire
from cdp.operations.transfers.views import Deal
from cdp.schema.graph import build_graph
from cdp.schema.schema import build_schema
from cdp.tables.transfer import TransferStatus

app = typer.Typer(name="transfer", help="Asset transfers: from the deal to the receipt.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(metavar="REFERENCE", help="For example TR-7K2M-9QXD.")]
Token = Annotated[str, typer.Option("--token", envvar="CDP_TOKEN", help="Access token of who does it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
T = TypeVar("T")


class TermsUnreadable(InvalidInput):
    """The file of terms is no JSON object."""

    code = "TERMS_UNREADABLE"


@app.command()
def create(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The terms as JSON; see docs/transfers.md.")],
    *,
    token: Token,
    as_json: AsJson = False,
) -> None:
    """Record a deal, and print the fingerprint that a second person compares with the acquirer."""
    terms = wire.read(_document(file))

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> deals.Recorded:
        graph = build_graph(build_schema())
        return await deals.create(
            tx, viewer, platform, terms, check_fields=lambda paths: selection.document(graph, paths)
        )

    made = _as_somebody(token, "transfer.create", work)
    shown = {"reference": made.reference, "id": str(made.id), "keyFingerprint": made.fingerprint}
    _say(shown, as_json=as_json)


@app.command(name="confirm-key")
def confirm_key(
    reference: Reference,
    fingerprint: Annotated[str, typer.Argument(help="As the acquirer said it, on another way than the key came by.")],
    *,
    token: Token,
    as_json: AsJson = False,
) -> None:
    """Confirm the acquirer's key as a second person."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> None:
        await deals.confirm_key(tx, viewer, platform, await states.id_of(tx, reference), given=fingerprint)

    _as_somebody(token, "transfer.confirm_key", work, reference)
    _say({"reference": reference, "keyConfirmed": True}, as_json=as_json)


@app.command()
def classify(reference: Reference, *, token: Token, as_json: AsJson = False) -> None:
    """Put everybody in scope into a cohort, or exclude them for one reason."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> dict[str, Any]:
        found = await classifying.classify(tx, viewer, platform, await states.id_of(tx, reference))
        return found.document

    _say({"reference": reference, **_as_somebody(token, "transfer.classify", work, reference)}, as_json=as_json)


@app.command()
def preview(
    reference: Reference,
    *,
    token: Token,
    each: Annotated[int, typer.Option(min=1, max=views.MOST_SAMPLES, help="How many of each group.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show a few people of each cohort and each reason, masked."""

    async def work(tx: Tx, viewer: Viewer, _: Platform) -> list[views.Sample]:
        return await views.preview(tx, viewer, await states.id_of(tx, reference), each=each)

    found = _as_somebody(token, "transfer.preview", work, reference)
    if as_json:
        print(json.dumps([{"group": o.group, "goes": o.goes, "name": o.name, "email": o.email} for o in found]))
        return
    table = Table("group", "goes", "name", "e-mail")
    for one in found:
        table.add_row(one.group, "yes" if one.goes else "no", one.name or "", one.email or "")
    Console().print(table)


@app.command()
def notify(reference: Reference, *, token: Token, as_json: AsJson = False) -> None:
    """Write to everybody who would go."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> int:
        return await notices.notify(tx, viewer, platform, await states.id_of(tx, reference))

    _say({"reference": reference, "letters": _as_somebody(token, "transfer.notify", work, reference)}, as_json=as_json)


@app.command()
def bounced(
    reference: Reference,
    message: Annotated[UUID, typer.Argument(metavar="MESSAGE", help="The id in the Message-ID of what came back.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Note, as the operator, that a notice came back."""

    async def work(platform: Platform) -> bool:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await notices.returned(tx, SYSTEM, await states.id_of(tx, reference), message)

    _say({"reference": reference, "noted": with_platform(work)}, as_json=as_json)


@app.command()
def freeze(reference: Reference, *, token: Token, as_json: AsJson = False) -> None:
    """Fix who goes, and print the hash that two others approve."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> str:
        return await freezing.freeze(tx, viewer, platform, await states.id_of(tx, reference))

    _say({"reference": reference, "sha256": _as_somebody(token, "transfer.freeze", work, reference)}, as_json=as_json)


@app.command()
def thaw(reference: Reference, *, token: Token, as_json: AsJson = False) -> None:
    """Give up what is frozen, before it is packed."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> None:
        await freezing.thaw(tx, viewer, platform, await states.id_of(tx, reference))

    _as_somebody(token, "transfer.thaw", work, reference)
    _say({"reference": reference, "state": TransferStatus.WINDOW.value}, as_json=as_json)


@app.command()
def approve(
    reference: Reference,
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="The hash of what is frozen.")],
    *,
    token: Token,
    as_json: AsJson = False,
) -> None:
    """Approve what is frozen; the second approval lets it be packed."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> freezing.Approved:
        return await freezing.approve(tx, viewer, platform, await states.id_of(tx, reference), sha256=sha256)

    found = _as_somebody(token, "transfer.approve", work, reference)
    _say({"reference": reference, "approvals": found.count, "approved": found.is_complete}, as_json=as_json)


@app.command()
def client(
    reference: Reference,
    client_id: Annotated[str, typer.Argument(metavar="CLIENT", help="Its public name; it proves itself by a key.")],
    *,
    token: Token,
    as_json: AsJson = False,
) -> None:
    """Say, as a second person, which program of the acquirer pulls and signs, also in place of one that is lost."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> None:
        await deals.name_client(tx, viewer, platform, await states.id_of(tx, reference), client_id=client_id)

    _as_somebody(token, "transfer.client", work, reference)
    _say({"reference": reference, "client": client_id}, as_json=as_json)


@app.command()
def cancel(
    reference: Reference,
    *,
    reason: Annotated[str, typer.Option(help="Why; for colleagues.")],
    token: Token,
    as_json: AsJson = False,
) -> None:
    """Call a deal off before anything was delivered."""

    async def work(tx: Tx, viewer: Viewer, platform: Platform) -> None:
        await deals.cancel(tx, viewer, platform, await states.id_of(tx, reference), reason=reason)

    _as_somebody(token, "transfer.cancel", work, reference)
    _say({"reference": reference, "state": TransferStatus.CANCELLED.value}, as_json=as_json)


@app.command(name="list")
def list_(
    *,
    status: Annotated[TransferStatus | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List deals, newest first."""

    async def read(platform: Platform) -> list[dict[str, Any]]:
        async with platform.db.transaction(Role.WORKER) as tx:
            rows = await views.listed(tx, SYSTEM, status=status, limit=limit)
        return [
            {
                "reference": row.reference,
                "name": row.name,
                "state": row.status.value,
                "acquirer": row.acquirer_name,
                "createdAt": iso(row.created_at),
                "selected": row.counts.get("selected"),
            }
            for row in rows
        ]

    lines = with_platform(read)
    if as_json:
        print(json.dumps(lines))
        return
    table = Table("reference", "name", "state", "acquirer", "recorded", "people")
    for one in lines:
        table.add_row(*(str(one[name] or "") for name in one))
    Console().print(table)


@app.command()
def show(reference: Reference, *, as_json: AsJson = False) -> None:
    """Show one deal: its terms, who goes, and how far it is."""

    async def read(platform: Platform) -> tuple[Deal, Progress]:
        async with platform.db.transaction(Role.WORKER) as tx:
            transfer_id = await states.id_of(tx, reference)
            return await views.show(tx, SYSTEM, transfer_id), await progress.of(tx, SYSTEM, transfer_id)

    deal, done = with_platform(read)
    _say({**_shown(deal), "delivery": _delivery(done)}, as_json=as_json)


def _delivery(done: Progress) -> dict[str, Any]:
    """How far the handing over is, in the words of JSON."""
    return {to_camel(name): iso(one) if isinstance(one, datetime) else one for name, one in asdict(done).items()}


def _shown(deal: Deal) -> dict[str, Any]:
    row = deal.row
    return {
        "reference": row.reference,
        "name": row.name,
        "state": row.status.value,
        "code": row.code,
        "seller": row.seller,
        "acquirer": row.acquirer_name,
        "jurisdiction": row.acquirer_jurisdiction,
        "client": deal.client_id,
        "keyFingerprint": deals.fingerprint(row.acquirer_key),
        "keyConfirmed": row.key_confirmed_at is not None,
        "retainDays": row.retain_days,
        "cohorts": [
            {"name": one.name, "basis": one.basis.value, "rule": one.rule.value, "fields": list(one.fields)}
            for one in deal.cohorts
        ],
        **deal.counts.document,
        "sha256": bytes(row.frozen_sha256).hex() if row.frozen_sha256 else None,
        "approvals": deal.approvals,
    }


def _as_somebody(
    token: str, action: str, work: Callable[[Tx, Viewer, Platform], Awaitable[T]], reference: str | None = None
) -> T:
    """Do it as the token's owner; a refusal is an entry of the deal's ledger, under this action."""

    async def run(platform: Platform) -> T:
        viewer = await viewer_from_bearer(platform, token)
        about = None
        if reference is not None:
            async with platform.db.transaction(Role.WORKER) as tx:
                about = (states.OBJECT, await states.id_of(tx, reference))
        refusing = audit.refusing(platform.db, viewer, action, about=about)
        async with refusing, platform.db.transaction(Role.WORKER) as tx:
            return await work(tx, viewer, platform)

    return with_platform(run)


def _document(file: str) -> dict[str, Any]:
    try:
        found = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TermsUnreadable from error
    if not isinstance(found, dict):
        raise TermsUnreadable
    return found


def _say(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown))
        return
    for name, value in shown.items():
        print(f"{name}: {json.dumps(value, indent=1) if isinstance(value, dict | list) else value}")
