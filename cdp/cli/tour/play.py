"""Set the stage, take the tour, and say where to go on by hand."""

from pathlib import Path

from rich.console import Console
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.cli.tour.log import check_log
from cdp.cli.tour.people import ANNA, BEN, CLARA, COLLEAGUES, PASSWORD, PEOPLE, settle_in
from cdp.cli.tour.stage import Stage, connect
from cdp.cli.tour.steps import SCOPE, Person, Tour
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.tables.oauth import oauth_client

CLIENT = "Demo tour"
REDIRECT = "http://localhost/cdp-demo-callback"
README = f"""What the tour left here.

{ANNA.name} took her data away:
  export.zip              the package as she downloaded it; open index.html in it
  manifest.json           its signed list of files, taken out of it

{BEN.name} had his deleted everywhere:
  certificate.json        what was erased, verified and kept, system by system; signed
  certificate.pdf         the same to print
  addendum.json           that every text of the database was looked through afterwards, and nothing of him was found
  verify_certificate.py   checks both without this platform; needs Python and the package cryptography

Both, as the platform recorded them:
  audit-log.ndjson        every event, hashed into a tree; audit-head.json is its signed head
  verify-keys.json        the public keys all of it is signed with

  .venv/bin/cdp verify demo-out/export.zip
  .venv/bin/cdp verify demo-out/certificate.json --addendum demo-out/addendum.json
  .venv/bin/cdp verify demo-out/audit-log.ndjson
  .venv/bin/python demo-out/verify_certificate.py demo-out/certificate.json \\
      --addendum demo-out/addendum.json --keys demo-out/verify-keys.json
"""


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
    (out / "README.txt").write_text(README, encoding="utf-8")
    console.rule("Everything held")
    agent, officer = COLLEAGUES
    for what, said in (
        ("customers", f"{stage.url}/account"),
        ("", f"sign in as {ANNA.email} or {CLARA.email}"),
        ("staff", f"{stage.url}/console"),
        ("", f"sign in as {agent} (answers customers) or {officer} (decides)"),
        ("password", f"{PASSWORD}   (everybody's)"),
        ("no account", f"{stage.url}/privacy/request"),
        ("GraphQL", f"{stage.url}/graphql"),
        ("", f".venv/bin/cdp token --user {ANNA.email}   prints a token for it"),
        ("letters", f"{platform.settings.state_dir / 'outbox'}"),
        ("proofs", f"{out}/README.txt says what lies there"),
        ("", f".venv/bin/cdp verify {out}/certificate.json --addendum {out}/addendum.json"),
    ):
        console.print(f"  {what:<11} {said}", soft_wrap=True)


async def _client(platform: Platform) -> str:
    """The tour's own OAuth client: public, first party, PKCE."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await tx.scalar(select(oauth_client.c.client_id).where(oauth_client.c.name == CLIENT))
        if known is not None:
            return str(known)
        added = await clients.add(tx, SYSTEM, CLIENT, redirect_uris=[REDIRECT], scopes=SCOPE.split(), first_party=True)
        return str(added.client.client_id)
