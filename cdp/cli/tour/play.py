"""Set the stage, take the tour, and say where to go on by hand."""

from pathlib import Path

from rich.console import Console
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.cli.tour.log import check_log
from cdp.cli.tour.people import ANNA, BEN, CLARA, PASSWORD, PEOPLE, settle_in
from cdp.cli.tour.stage import Stage, connect
from cdp.cli.tour.steps import SCOPE, Person, Tour
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.tables.oauth import oauth_client

CLIENT = "Demo tour"
REDIRECT = "http://localhost/cdp-demo-callback"


async def play(stage: Stage, console: Console, out: Path, *, port: int, secret: str) -> None:
    """Do the main job once. Raises TourFailed when anything in it does not hold."""
    platform = Platform.open(stage.settings)
    try:
        await settle_in(platform)
        titles = await connect(stage, platform, list(PEOPLE), port=port, secret=secret)
        console.print(f"  {len(PEOPLE)} customers; connected: {', '.join(titles)}")
        client_id = await _client(platform)
        tour = Tour(stage, platform, console, out, client_id, REDIRECT)
        anna, ben, clara = (Person(who, PASSWORD) for who in (ANNA, BEN, CLARA))
        await tour.take_away(anna, clara)
        await tour.leave(ben, anna)
        await check_log(tour)
    finally:
        await platform.close()
    console.rule("Everything held")
    console.print(f"  account page  {stage.url}/account   sign in as {ANNA.email} or {CLARA.email} / {PASSWORD}")
    console.print(f"  GraphQL       {stage.url}/graphql   token: .venv/bin/cdp token --user {ANNA.email}")
    console.print(f"  proofs        {out}/   check: .venv/bin/cdp verify {out}/certificate.json")


async def _client(platform: Platform) -> str:
    """The tour's own OAuth client: public, first party, PKCE."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await tx.scalar(select(oauth_client.c.client_id).where(oauth_client.c.name == CLIENT))
        if known is not None:
            return str(known)
        added = await clients.add(tx, SYSTEM, CLIENT, redirect_uris=[REDIRECT], scopes=SCOPE.split(), first_party=True)
        return str(added.client.client_id)
