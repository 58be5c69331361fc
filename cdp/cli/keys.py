"""``cdp keys list | new | rotate | drop | adopt``: the master keys that seal secrets, and the keys that sign."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.platform import Platform
from cdp.operations.secrets import rotation, stores
from cdp.operations.secrets.places import IN_THE_CLEAR
from cdp.operations.secrets.rotation import KeyUse, Rotated

app = typer.Typer(name="keys", help="Master keys and signing keys.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def keys() -> None:
    """Master keys and signing keys."""


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """Show every master key by its id, and how much is sealed under it."""
    found = with_platform(rotation.listed)
    if as_json:
        print(json.dumps([_shown(one) for one in found], indent=2))
        return
    table = Table("key", "state", "sealed under it")
    for one in found:
        table.add_row(one.id or "in the clear", _state(one), _sum(one.sealed))
    Console().print(table)


@app.command()
def new(key_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, for example 2026-11.")]) -> None:
    """Print a fresh entry to put in front of CDP_MASTER_KEYS; nothing is kept."""
    print(rotation.entry(key_id))


@app.command()
def rotate(
    *,
    local: Annotated[bool, typer.Option("--new", help="Make a new master key first (kept in the key store).")] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Sign tokens with a new key too.")] = False,
    signing: Annotated[bool, typer.Option("--signing", help="Sign certificates with a new key too.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Values a transaction.")] = rotation.BATCH,
    as_json: AsJson = False,
) -> None:
    """Seal everything anew under the current master key while all runs; start it again if it was cut off."""

    async def work(platform: Platform) -> Rotated:
        if tokens:
            await rotation.rotate_token_keys(platform, SYSTEM)
        if signing:
            await rotation.rotate_signing_key(platform, SYSTEM)
        return await rotation.rotate(platform, SYSTEM, batch=batch)

    if local:
        with_platform(_add)
    done = with_platform(work)
    if as_json:
        shown = {"key": done.current, "resealed": done.resealed, "unreadable": done.unreadable, "left": done.left}
        print(json.dumps(shown, indent=2))
    else:
        print(f"sealed anew under {done.current}: {sum(done.resealed.values())}; left under others: {_sum(done.left)}")
    if done.left:
        raise typer.Exit(1)


async def _add(platform: Platform) -> str:
    return rotation.add_local(platform)


@app.command()
def drop(key_id: Annotated[str, typer.Argument(metavar="ID", help="A key under which nothing is left.")]) -> None:
    """Destroy a master key of the key store; one in CDP_MASTER_KEYS is removed there by you."""
    with_platform(lambda platform: rotation.drop_local(platform, SYSTEM, key_id))
    print(f"{key_id} is destroyed")


@app.command()
def adopt(*, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Go on with this key store when the one the database was filled with is lost; what it sealed stays unreadable."""
    if not yes:
        typer.confirm("What was sealed under the other key store stays unreadable. Go on with this one?", abort=True)
    is_new = with_platform(lambda platform: stores.adopt(platform, SYSTEM))
    print("this key store is on record now" if is_new else "this key store was on record already")


def _state(one: KeyUse) -> str:
    if one.id == IN_THE_CLEAR:
        return "rotate to seal"
    return "current" if one.is_current else "known" if one.is_known else "not known here"


def _shown(one: KeyUse) -> dict[str, object]:
    return {"key": one.id, "current": one.is_current, "known": one.is_known, "sealed": one.sealed}


def _sum(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "nothing"
