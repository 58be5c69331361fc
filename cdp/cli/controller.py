"""``cdp controller add | list``: whom we are a processor of (OpenDSR)."""

import json
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.providers.opendsr import controllers
from cdp.operations.providers.opendsr.controllers import Controller
from cdp.operations.reference import MAIN_BRAND

app = typer.Typer(name="controller", help="Whom we are a processor of (OpenDSR).", no_args_is_help=True)


@app.callback()
def controller() -> None:
    """Whom we are a processor of (OpenDSR)."""


@app.command()
def add(
    client_id: Annotated[
        str,
        typer.Argument(
            metavar="CLIENT", help="Its client id: cdp client add … --grant client_credentials --scope opendsr"
        ),
    ],
    *,
    brand: Annotated[str, typer.Option("--brand", help="Code of the brand whose customers are its own.")] = MAIN_BRAND,
    numbering: Annotated[
        str, typer.Option("--numbering", help="Issuer under which customer numbers hold its own ids; empty: none.")
    ] = "",
    callback_domain: Annotated[
        list[str] | None, typer.Option("--callback-domain", help="Where it may be called back; repeatable.")
    ] = None,
) -> None:
    """Become the processor of a program, and print it as JSON."""

    async def work(platform: Platform) -> Controller:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await controllers.add(
                tx,
                SYSTEM,
                client_id,
                brand_code=brand,
                numbering=numbering,
                callback_domains=callback_domain or (),
            )

    print(json.dumps(_shown(with_platform(work)), indent=2))


@app.command(name="list")
def show() -> None:
    """Print all of them as JSON."""

    async def work(platform: Platform) -> list[Controller]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await controllers.listed(tx)

    print(json.dumps([_shown(one) for one in with_platform(work)], indent=2))


def _shown(one: Controller) -> dict[str, object]:
    return {
        "controller_id": one.client_id,
        "brand_id": str(one.brand_id),
        "numbering": one.numbering,
        "callback_domains": list(one.callback_domains),
    }
