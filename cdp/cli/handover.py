"""``cdp transfer receive | follow | verify | custody | recall | offer | retry``: a deal carried out, on both sides.

Receiving and verifying need no platform: they run at the acquirer, with its client's key and its age identity.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import httpx
import typer
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.cli.transfer import app
from cdp.cli.verify import FileUnreadable, end, keys_of, show
from cdp.core import age
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.core.sign import Document, canonical
from cdp.operations.delivery import custody as chain_of_custody
from cdp.operations.delivery import deltas, packages
from cdp.operations.delivery.receiver import Account, Receiver
from cdp.operations.transfers import states
from cdp.operations.verification import verify_file

TIMEOUT_S = 60.0
T = TypeVar("T")

Reference = Annotated[str, typer.Argument(metavar="REFERENCE", help="For example TR-7K2M-9QXD.")]
Url = Annotated[str, typer.Option("--url", envvar="CDP_SELLER_URL", help="Base address of the seller.")]
ClientId = Annotated[str, typer.Option("--client-id", envvar="CDP_CLIENT_ID", help="Our client at the seller.")]
KeyFile = Annotated[Path, typer.Option("--key", help="Our client's private key, a JWK: it proves and signs.")]
IdentityFile = Annotated[Path, typer.Option("--identity", help="Our age identity, as age-keygen writes it.")]
SellerKeys = Annotated[str, typer.Option("--keys", metavar="FILE|URL", help="The seller's public keys.")]
Out = Annotated[Path, typer.Option("--out", help="Folder that everything is kept in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class KeyUnreadable(InvalidInput):
    """The private key is no JWK of a kind that signs here."""

    code = "PRIVATE_KEY_UNREADABLE"


@app.command()
def receive(
    reference: Reference,
    *,
    url: Url,
    client_id: ClientId,
    key: KeyFile,
    identity: IdentityFile,
    keys: SellerKeys = "",
    out: Out = Path("transfers"),
    plain: Annotated[bool, typer.Option("--plain", help="Keep the decrypted files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pull the newest package, check and decrypt every file, and sign for it; files that do not fit are rejected."""
    account = _account(client_id, key, identity, keys)
    received = _at(url, account, out, lambda receiver: receiver.receive(reference, keep_plain=plain))
    if as_json:
        shown = {"reference": reference, "revision": received.revision, "files": received.files}
        print(json.dumps({**shown, "rejected": received.rejected, "customers": received.customers}))
    else:
        print(f"{reference} revision {received.revision}: {received.files} files, {received.customers} customers")
        for name in received.rejected:
            print(f"rejected: {name}")
    if received.rejected:
        raise typer.Exit(1)


@app.command()
def follow(
    reference: Reference,
    *,
    url: Url,
    client_id: ClientId,
    key: KeyFile,
    identity: IdentityFile,
    keys: SellerKeys = "",
    out: Out = Path("transfers"),
    as_json: AsJson = False,
) -> None:
    """Apply and acknowledge what the seller told since: late objections, erasures, a recall (which destroys all)."""
    account = _account(client_id, key, identity, keys)
    found = _at(url, account, out, lambda receiver: receiver.follow(reference))
    if as_json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['ordinal']}: {one['change']}, {one['count']} people {json.dumps(one['byReason'])}")
    print(f"{len(found)} new")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A chain of custody, or the folder of a package.")],
    *,
    keys: SellerKeys = "",
    identity: Annotated[Path | None, typer.Option(help="Our age identity: check what the files hold too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a transfer offline. Exit code 0 valid, 1 not, 3 consistent but signed by nobody whose key is known."""
    try:
        opened = age.identity_of(identity.read_text().splitlines()) if identity else None
        report = verify_file(path, keys_of(keys), identity=opened)
    except OSError as error:
        raise FileUnreadable(f"The file can not be read: {error.strerror}") from None
    show(report, as_json=as_json)
    end([report])


@app.command()
def custody(
    reference: Reference,
    *,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
) -> None:
    """Write the chain of custody: every entry with its proof, every package, delta and statement; signed."""

    async def work(platform: Platform) -> Document:
        async with platform.db.transaction(Role.WORKER) as tx:
            deal_id = await states.id_of(tx, reference)
        return await chain_of_custody.write(platform, SYSTEM, deal_id)

    written = canonical(with_platform(work))
    if out is None:
        print(written.decode())
    else:
        out.write_bytes(written)
        print(out)


@app.command()
def recall(
    reference: Reference,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the deal.")],
) -> None:
    """Call everything back because the deal broke: the acquirer has to destroy it, and to say so."""

    async def work(tx: Tx, platform: Platform, deal_id: UUID) -> None:
        await deltas.recall(tx, SYSTEM, platform, deal_id, reason=reason)

    _moving(reference, work)
    print("recalled")


@app.command()
def offer(reference: Reference) -> None:
    """Offer the newest package for one more pull."""

    async def work(tx: Tx, platform: Platform, deal_id: UUID) -> None:
        await packages.offer_again(tx, SYSTEM, platform, deal_id)

    _moving(reference, work)
    print("offered")


@app.command()
def retry(reference: Reference) -> None:
    """Let failed parts of a package be made again."""

    async def work(tx: Tx, platform: Platform, deal_id: UUID) -> int:
        return await packages.retry(tx, SYSTEM, platform, deal_id)

    print(f"{_moving(reference, work)} parts again")


def _moving(reference: str, work: Callable[[Tx, Platform, UUID], Awaitable[T]]) -> T:
    async def run(platform: Platform) -> T:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await work(tx, platform, await states.id_of(tx, reference))

    return with_platform(run)


def _account(client_id: str, key: Path, identity: Path, keys: str) -> Account:
    """Who we are. Raises KeyUnreadable, AgeKeyInvalid, KeysUnreadable, FileUnreadable."""
    try:
        signing = JWKRegistry.import_key(json.loads(key.read_text()))
        opened = age.identity_of(identity.read_text().splitlines())
    except OSError as error:
        raise FileUnreadable(f"The file can not be read: {error.strerror}") from None
    except (ValueError, JoseError, TypeError, KeyError):
        raise KeyUnreadable from None
    if not signing.is_private or signing.key_type not in {"EC", "OKP", "RSA"}:
        raise KeyUnreadable
    return Account(client_id, signing, opened, keys_of(keys))  # type: ignore[arg-type]  # of one of the three kinds


def _at(url: str, account: Account, out: Path, work: Callable[[Receiver], Awaitable[T]]) -> T:
    async def run() -> T:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, follow_redirects=False) as http:
            return await work(Receiver(http, account, out))

    return asyncio.run(run())
