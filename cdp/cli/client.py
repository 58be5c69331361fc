"""``cdp client add``: OAuth clients."""

import json
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import CODE_AND_REFRESH, NewClient

app = typer.Typer(name="client", help="OAuth clients.", no_args_is_help=True)

Several = list[str] | None


@app.callback()
def client() -> None:
    """OAuth clients."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people see when the app asks them.")],
    *,
    redirect_uri: Annotated[list[str], typer.Option("--redirect-uri", help="Where codes go, exactly; repeatable.")],
    confidential: Annotated[bool, typer.Option("--confidential", help="It can keep a secret.")] = False,
    grant: Annotated[
        Several, typer.Option("--grant", help="Grant type; repeatable. Default: code and refresh.")
    ] = None,
    scope: Annotated[Several, typer.Option("--scope", help="Scope it may ask for; repeatable.")] = None,
    post_logout_redirect_uri: Annotated[
        Several, typer.Option("--post-logout-redirect-uri", help="Where people go after signing out; repeatable.")
    ] = None,
    backchannel_logout_uri: Annotated[
        str | None, typer.Option("--backchannel-logout-uri", help="Where it is told that somebody signed out.")
    ] = None,
    first_party: Annotated[bool, typer.Option("--first-party", help="Ours: people are not asked to agree.")] = False,
) -> None:
    """Register a client and print it as JSON. The secret is shown this once."""

    async def register(platform: Platform) -> NewClient:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await clients.add(
                tx,
                SYSTEM,
                name,
                redirect_uris=redirect_uri,
                confidential=confidential,
                grant_types=grant or CODE_AND_REFRESH,
                scopes=[one for given in scope for one in given.split()] if scope else None,
                post_logout_redirect_uris=post_logout_redirect_uri or (),
                first_party=first_party,
                backchannel_logout_uri=backchannel_logout_uri,
            )

    added = with_platform(register)
    shown = {
        "client_id": added.client.client_id,
        "client_name": added.client.name,
        "redirect_uris": list(added.client.redirect_uris),
        "post_logout_redirect_uris": list(added.client.post_logout_redirect_uris),
        "grant_types": list(added.client.grant_types),
        "scope": " ".join(added.client.scopes),
        "token_endpoint_auth_method": "client_secret_basic" if added.secret else "none",
        "first_party": added.client.first_party,
        "backchannel_logout_uri": added.client.backchannel_logout_uri,
    }
    print(json.dumps(shown | ({"client_secret": added.secret} if added.secret else {}), indent=2))
