"""``cdp system add | list | check | mapping``: connected systems."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.connectors.base import Problem
from cdp.connectors.sql.fides import translate
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.errors import InvalidInput
from cdp.core.ids import SystemId
from cdp.core.platform import Platform
from cdp.operations import systems
from cdp.operations.systems import Registration, SystemRefused, SystemView
from cdp.tables.base import Category

app = typer.Typer(name="system", help="Connected systems.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
FAILED = 1
REFUSED = 3
MEMBERS = {"name", "title", "kind", "configuration", "secrets", "position", "categories"}


class SystemFileInvalid(InvalidInput):
    """The file does not describe a system."""

    code = "SYSTEM_FILE_INVALID"


@app.command()
def add(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="YAML or JSON: name, title, kind, configuration, secrets, categories."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Connect a system: it is tried first, and not connected if anything is wrong. Secrets are sealed.

    Exit code 3 when trying it found problems; each is printed with where it is.
    """
    wanted = _read(file)

    async def register(platform: Platform) -> SystemId:
        return await systems.add(platform, SYSTEM, wanted)

    try:
        system_id = with_platform(register)
    except SystemRefused as refusal:
        for problem in refusal.extensions["problems"]:
            print(f"{problem['at']}: {problem['message']} ({problem['code']})", file=sys.stderr)
        print(f"error: {refusal.message} ({refusal.code})", file=sys.stderr)
        raise typer.Exit(REFUSED) from None
    print(json.dumps({"id": str(system_id), "name": wanted.name}) if as_json else f"connected: {wanted.name}")


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List connected systems in the order they are asked."""

    async def read(platform: Platform) -> list[SystemView]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await systems.listed(tx)

    found = with_platform(read)
    if as_json:
        print(json.dumps([_line(one) for one in found]))
        return
    table = Table("name", "title", "kind", "enabled", "last well")
    for one in found:
        well = iso(one.last_ok_at)[:16] if one.last_ok_at else "never"
        table.add_row(one.name, one.title, one.kind, "yes" if one.enabled else "no", well)
    Console().print(table)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a connected system.")], *, as_json: AsJson = False
) -> None:
    """Try a connected system; exit code 1 when anything is wrong."""

    async def attempt(platform: Platform) -> tuple[Problem, ...]:
        return await systems.check(platform, SYSTEM, name)

    found = with_platform(attempt)
    if as_json:
        print(json.dumps([{"code": p.code, "at": p.at, "message": p.message} for p in found]))
    else:
        for problem in found:
            print(f"{problem.at}: {problem.message} ({problem.code})", file=sys.stderr)
        many = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
        print(f"{name}: {many if found else 'well'}")
    if found:
        raise typer.Exit(FAILED)


@app.command()
def mapping(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Fides dataset, YAML or JSON.")],
    *,
    basis: Annotated[str, typer.Option(help="The law under which rows are kept.")],
) -> None:
    """Turn a Fides dataset into the mapping of an sql system; what is left to decide goes to stderr."""
    translated = translate(_parsed(file), basis=basis)
    for problem in translated.open_points:
        print(f"{problem.at}: {problem.message} ({problem.code})", file=sys.stderr)
    print(json.dumps(translated.mapping, indent=2, ensure_ascii=False))


def _parsed(file: Path) -> object:
    """Read a file; YAML reads JSON too. Raises SystemFileInvalid."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SystemFileInvalid(f"The file can not be read: {type(error).__name__}") from None


def _read(file: Path) -> Registration:
    """Read a system's file. Raises SystemFileInvalid."""
    read = _parsed(file)
    if not isinstance(read, dict) or not {"name", "kind"} <= read.keys() <= MEMBERS:
        raise SystemFileInvalid(f"A system has the members {', '.join(sorted(MEMBERS))}; name and kind must be there.")
    configuration, secrets = read.get("configuration") or {}, read.get("secrets") or {}
    position = read.get("position", 100)
    if not isinstance(configuration, dict) or not isinstance(secrets, dict) or not isinstance(position, int):
        raise SystemFileInvalid("configuration and secrets are objects, position is a number.")
    known, named = {category.value for category in Category}, read.get("categories") or []
    if not isinstance(named, list) or not known.issuperset(map(str, named)):
        raise SystemFileInvalid(f"categories are some of {', '.join(sorted(known))}.")
    name = str(read["name"])
    return Registration(
        name=name,
        title=str(read.get("title") or name),
        kind=str(read["kind"]),
        configuration=configuration,
        secrets=secrets,
        position=position,
        categories=frozenset(Category(one) for one in named),
    )


def _line(one: SystemView) -> dict[str, object]:
    return {
        "id": str(one.id),
        "name": one.name,
        "title": one.title,
        "kind": one.kind,
        "enabled": one.enabled,
        "lastOkAt": iso(one.last_ok_at) if one.last_ok_at else None,
    }
