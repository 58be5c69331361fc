"""``cdp demo``: start everything, do the main job once in front of you, then serve until Ctrl-C.

``cdp demo-transfer`` plays a whole asset transfer instead, and ends. ``DEMO_EXIT=1`` ends after the tour. The exit code
is 0 only if everything held.
"""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cdp.cli.environment import read_settings
from cdp.core.errors import Forbidden
from cdp.core.settings import Environment

app = typer.Typer()
OUT = Path("demo-out")


class DemoRefused(Forbidden):
    """Production has no demo."""

    code = "DEMO_REFUSED"


@app.command()
def demo() -> None:
    """Start the stack, take the tour, leave its proofs in ./demo-out, and go on serving."""
    from cdp.cli.tour.play import play
    from cdp.cli.tour.stage import PACE, Stage, newsletter_service, stack
    from cdp.cli.tour.visitor import TourFailed
    from cdp.embedded.layout import layout_of, resolve

    for name, value in PACE.items():
        os.environ.setdefault(name, value)
    settings = read_settings()
    if settings.env is Environment.PRODUCTION:
        raise DemoRefused
    console = Console(highlight=False)
    console.rule("Starting Postgres, Valkey, the API and a worker")
    try:
        with stack(settings) as record:
            layout = layout_of(settings)
            folder = layout.state / "demo"
            folder.mkdir(mode=0o700, exist_ok=True)
            OUT.mkdir(exist_ok=True)
            with newsletter_service(folder) as (port, secret):
                stage = Stage(resolve(settings), layout, folder, record.url)
                asyncio.run(play(stage, console, OUT, port=port, secret=secret))
                if os.environ.get("DEMO_EXIT") != "1":
                    console.print("Press Ctrl-C to stop.")
                    _wait()
    except TourFailed as failed:
        console.print(f"[bold red]The tour failed:[/bold red] {failed}")
        raise typer.Exit(1) from None


@app.command(name="demo-transfer")
def demo_transfer(
    *,
    customers: Annotated[int, typer.Option(envvar="DEMO_CUSTOMERS", help="How many people the brand has.")] = 10_000,
) -> None:
    """Play a whole asset transfer on a stack of its own, verify every step offline, and end."""
    from cdp.cli.tour.deal import play_deal
    from cdp.cli.tour.stage import PACE, stack
    from cdp.cli.tour.visitor import TourFailed
    from cdp.core.platform import Platform
    from cdp.embedded.layout import layout_of, resolve

    for name, value in PACE.items():
        os.environ.setdefault(name, value)
    if read_settings().env is Environment.PRODUCTION:
        raise DemoRefused
    os.environ["CDP_STATE_DIR"] = str(read_settings().state_dir / "demo-transfer")
    settings, console = read_settings(), Console(highlight=False)
    layout, out = layout_of(settings), OUT / "transfer"
    for folder in (layout.state, out):
        shutil.rmtree(folder, ignore_errors=True)
    out.mkdir(parents=True)
    console.rule("Starting Postgres, Valkey, the API and a worker")
    try:
        with stack(settings) as record:
            resolved = resolve(settings).model_copy(update={"base_url": record.url})

            async def play() -> None:
                platform = Platform.open(resolved)
                try:
                    await play_deal(platform, record.url, out, console, customers=customers)
                finally:
                    await platform.close()

            asyncio.run(play())
    except TourFailed as failed:
        console.print(f"[bold red]The transfer failed:[/bold red] {failed}")
        raise typer.Exit(1) from None
    console.rule("Everything held")
    console.print(f"  {out}/: the chain of custody, the seller's keys, the acquirer's statements")


def _wait() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
