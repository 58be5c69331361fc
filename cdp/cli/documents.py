"""``cdp documents add | list | remove``: GraphQL documents that clients may name by their hash."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.compiler.document import Document
from cdp.compiler.limits import Limits
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.errors import InvalidInput, PlatformError
from cdp.core.platform import Platform
from cdp.operations.documents import store
from cdp.operations.documents.store import Stored
from cdp.schema.graph import build_graph
from cdp.schema.schema import build_schema

app = typer.Typer(name="documents", help="GraphQL documents that clients name by their hash.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class DocumentsMissing(InvalidInput):
    """There is no .graphql file there."""

    code = "DOCUMENTS_MISSING"


@app.command()
def add(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="A .graphql file, or a folder of them.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Store documents, byte for byte; each is validated first, and none is stored if one is not valid."""
    texts = _read(source)
    graph = build_graph(build_schema())

    async def keep(platform: Platform) -> list[str]:
        settings = platform.settings
        limits = Limits(
            depth=settings.graphql_max_depth,
            aliases=settings.graphql_max_aliases,
            cost=settings.graphql_max_cost,
            page=settings.graphql_max_page,
        )
        for name, text in texts.items():
            try:
                Document(text, graph, limits)
            except PlatformError as error:
                raise type(error)(f"{name}: {error.message}") from None
        async with platform.db.transaction(Role.WORKER) as tx:
            return await store.add(tx, SYSTEM, texts)

    new = with_platform(keep)
    found = {f"sha256:{store.sha256_of(text)}": name for name, text in texts.items()}
    if as_json:
        print(json.dumps({"documents": found, "added": len(new)}))
        return
    for document_id, name in found.items():
        print(f"{document_id}  {name}")
    print(f"{len(new)} added, {len(found) - len(new)} known")


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List stored documents."""

    async def read(platform: Platform) -> list[Stored]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return list(await store.listed(tx))

    found = with_platform(read)
    if as_json:
        print(json.dumps([_line(one) for one in found]))
        return
    table = Table("document", "name", "added")
    for one in found:
        table.add_row(f"sha256:{one.sha256}", one.name, iso(one.added_at)[:16])
    Console().print(table)


@app.command()
def remove(document_id: Annotated[str, typer.Argument(metavar="ID", help="sha256:… as list shows it.")]) -> None:
    """Forget a document; running processes let it in for a minute more."""

    async def forget(platform: Platform) -> None:
        async with platform.db.transaction(Role.WORKER) as tx:
            await store.remove(tx, SYSTEM, document_id.removeprefix("sha256:"))

    with_platform(forget)
    print("removed")


def _line(one: Stored) -> dict[str, str]:
    return {"documentId": f"sha256:{one.sha256}", "name": one.name, "addedAt": iso(one.added_at)}


def _read(source: Path) -> dict[str, str]:
    """Texts by name. Raises DocumentsMissing."""
    files = sorted(source.rglob("*.graphql")) if source.is_dir() else [source] if source.is_file() else []
    if not files:
        raise DocumentsMissing
    base = source if source.is_dir() else source.parent
    # As bytes: reading as text would turn CRLF into LF, and the hash is that of what the client sends.
    return {str(file.relative_to(base)): file.read_bytes().decode("utf-8") for file in files}
