"""``cdp api | worker | migrate | print-schema``: the processes of the platform, each alone.

What they run is imported when they run: a worker needs no GraphQL server, a migration needs neither.
"""

import asyncio
import gc

import typer

from cdp.cli.environment import read_settings
from cdp.embedded.layout import resolve
from cdp.embedded.ports import choose_port

app = typer.Typer()

# As uvicorn's own: the supervisor tells a failed start from a fault.
STARTUP_FAILED = 3


@app.command()
def api() -> None:
    """Serve GraphQL, pages and protocols over HTTP, until SIGTERM."""
    from cdp.app import build
    from cdp.cli.listening import serve
    from cdp.operations.production import check_settings

    settings = resolve(read_settings())
    check_settings(settings)
    settings = settings.model_copy(update={"port": choose_port(settings)})
    application = build(settings)
    # What is imported lives as long as the process; walking it in a full collection would stop the loop for 0.1 s.
    gc.collect()
    gc.freeze()
    print(f"serving {settings.url}", flush=True)
    if not serve(settings, application):
        raise typer.Exit(STARTUP_FAILED)


@app.command()
def worker() -> None:
    """Work on requests and exports: arq jobs and the sweeper, until SIGTERM."""
    from cdp.core import log
    from cdp.operations.production import check_settings
    from cdp.operations.starting import await_database
    from cdp.worker import run

    settings = resolve(read_settings())
    check_settings(settings)
    log.configure(settings.log_format, settings.log_level)
    asyncio.run(await_database(settings))
    run(settings)


@app.command()
def migrate() -> None:
    """Bring the database up to the newest schema, as CDP_DATABASE_OWNER_URL."""
    from cdp.tables.migration import upgrade

    settings = resolve(read_settings())
    upgrade(settings.database_owner_url or settings.database_url, app_url=settings.database_url)


@app.command(name="print-schema")
def print_schema() -> None:
    """Print the GraphQL schema as SDL."""
    from cdp.schema.schema import sdl

    print(sdl(), end="")
