"""``cdp token``: a bearer token for trying the API from a terminal; refused in production."""

import asyncio
from typing import Annotated

import typer

from cdp.cli.opened import addressed_settings
from cdp.core.platform import Platform
from cdp.operations.oauth.clients import COMMAND_LINE
from cdp.operations.oauth.terminal_tokens import issue

app = typer.Typer()


@app.command()
def token(
    *,
    user: Annotated[str, typer.Option("--user", "-u", metavar="EMAIL", help="Whose token: user name or e-mail.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="One scope; repeat for more. Default: all.")
    ] = None,
    client: Annotated[str, typer.Option("--client", help="Client the token is issued to.")] = COMMAND_LINE,
) -> None:
    """Print an access token of a customer or a member of staff, as if they had just signed in."""
    scopes = [name for given in scope or [] for name in given.split()]

    async def run() -> str:
        platform = Platform.open(addressed_settings())
        try:
            return await issue(platform, user, scopes=scopes, client_id=client)
        finally:
            await platform.close()

    print(asyncio.run(run()))
