"""``cdp client add``: OAuth clients."""

import json
from datetime import timedelta
from typing import Annotated

import typer

from cdp.access.viewer import SYSTEM
from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import clients, registration
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
    redirect_uri: Annotated[
        Several, typer.Option("--redirect-uri", help="Where codes go, exactly; repeatable.")
    ] = None,
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
    jwks: Annotated[
        typer.FileText | None, typer.Option("--jwks", help="Its public keys, a JWK set: it signs instead of a secret.")
    ] = None,
    authorization_type: Annotated[
        Several, typer.Option("--authorization-type", help="Type of authorization details; repeatable.")
    ] = None,
    require_par: Annotated[bool, typer.Option("--require-par", help="It pushes its requests.")] = False,
    require_dpop: Annotated[bool, typer.Option("--require-dpop", help="It binds its tokens to a key.")] = False,
) -> None:
    """Register a client and print it as JSON. The secret is shown this once."""
    grants = grant or CODE_AND_REFRESH
    if "authorization_code" in grants and not redirect_uri:
        raise typer.BadParameter("codes need somewhere to go", param_hint="--redirect-uri")
    keys = _keys(jwks) if jwks is not None else None

    async def register(platform: Platform) -> NewClient:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await clients.add(
                tx,
                SYSTEM,
                name,
                redirect_uris=redirect_uri or (),
                confidential=confidential,
                grant_types=grants,
                scopes=[one for given in scope for one in given.split()] if scope else None,
                post_logout_redirect_uris=post_logout_redirect_uri or (),
                first_party=first_party,
                jwks=keys,
                authorization_types=authorization_type or (),
                requires_pushed=require_par,
                requires_dpop=require_dpop,
                backchannel_logout_uri=backchannel_logout_uri,
            )

    print(json.dumps(_shown(with_platform(register)), indent=2))


def _shown(added: NewClient) -> dict[str, object]:
    """A client as registered, in the words of RFC 7591 where it has them."""
    client = added.client
    shown: dict[str, object] = {
        "client_id": client.client_id,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "grant_types": list(client.grant_types),
        "scope": " ".join(client.scopes),
        "token_endpoint_auth_method": client.auth_method,
        "first_party": client.first_party,
        "authorization_details_types": list(client.authorization_types),
        "require_pushed_authorization_requests": client.requires_pushed,
        "dpop_bound_access_tokens": client.requires_dpop,
        "backchannel_logout_uri": client.backchannel_logout_uri,
    }
    return shown | ({"client_secret": added.secret} if added.secret else {})


@app.command()
def invite(
    purpose: Annotated[str, typer.Argument(metavar="PURPOSE", help="For whom; a note for us.")],
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=30, help="How long it is good.")] = 7,
) -> None:
    """Invite an app to register itself, once: print the initial access token (CDP_CLIENT_REGISTRATION)."""

    async def make(platform: Platform) -> str:
        async with platform.db.transaction(Role.WORKER) as tx:
            return await registration.invite(tx, SYSTEM, purpose, now=platform.clock(), life=timedelta(days=days))

    print(json.dumps({"initial_access_token": with_platform(make), "days": days}, indent=2))


def _keys(file: typer.FileText) -> object:
    try:
        return json.load(file)
    except ValueError as error:
        raise typer.BadParameter("this is not JSON", param_hint="--jwks") from error
