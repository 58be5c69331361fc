"""``cdp up | down | status | doctor``: the embedded stack."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from cdp.cli.environment import read_settings
from cdp.core.errors import Unavailable
from cdp.core.settings import Settings
from cdp.embedded import probe
from cdp.embedded.layout import Layout, create, layout_of
from cdp.embedded.lock import AlreadyRunning, holder, read_record
from cdp.embedded.process import log_tail
from cdp.embedded.supervisor import up as run_stack

app = typer.Typer()
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

STOPPED_WITHIN_S = 180.0
STARTED_WITHIN_S = 300.0
POLL_S = 0.1


class StackFailed(Unavailable):
    """The stack did not start."""

    code = "STACK_FAILED"


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; stop with: cdp down.")] = False,
    processes: Annotated[bool, typer.Option(help="Also migrate and run API and worker.")] = True,
) -> None:
    """Start the servers, migrate, run API and worker; stop all with Ctrl-C or `cdp down`."""
    settings = read_settings()
    if detach:
        _detach(settings, with_processes=processes)
    else:
        run_stack(settings, with_processes=processes, say=lambda text: print(text, flush=True))


@app.command()
def down() -> None:
    """Stop the stack of this state folder, in order."""
    layout = layout_of(read_settings())
    pid = holder(layout.lock)
    if pid is None:
        print("nothing is running")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while holder(layout.lock) == pid:
        if time.monotonic() > deadline:
            raise Unavailable(f"The stack (pid {pid}) does not stop.")
        time.sleep(POLL_S)
    print("stopped")


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show each part: state, process, age, address. Exit code 1 when the stack is not running."""
    found = probe.status(read_settings())
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        _show_status(found)
    if not found.is_running:
        raise typer.Exit(1)


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine, and say what to do about each problem. Exit code 1 when there is one."""
    from cdp.cli.upkeep import look  # the database's driver; `cdp status` need not pay for it

    settings = read_settings()
    checks = [*probe.doctor(settings), *look(settings)]
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        _show_checks(checks)
    if any(check.verdict is probe.Verdict.PROBLEM for check in checks):
        raise typer.Exit(1)


def _detach(settings: Settings, *, with_processes: bool) -> None:
    """Run ``cdp up`` in a session of its own and wait until it says it is ready."""
    layout = layout_of(settings)
    if (pid := holder(layout.lock)) is not None:
        raise AlreadyRunning(f"The stack is already running (pid {pid}); stop it with: cdp down")
    create(layout)
    if layout.is_moved:
        print(layout.notice)
    output = layout.log / "up.log"
    command = [sys.executable, "-m", "cdp", "up", *([] if with_processes else ["--no-processes"])]
    with output.open("wb") as log:
        output.chmod(0o600)
        child = subprocess.Popen(  # noqa: S603 - our own verb
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = _wait_until_ready(layout, child)
    print(f"ready: {url}" if url else "ready: the servers alone")


def _wait_until_ready(layout: Layout, child: subprocess.Popen[bytes]) -> str:
    """Wait for the child's own record; the URL it serves, empty for servers alone."""
    output = layout.log / "up.log"
    deadline = time.monotonic() + STARTED_WITHIN_S
    while child.poll() is None and time.monotonic() < deadline:
        record = read_record(layout.record, child.pid)
        if record is not None and record.is_ready:
            return record.url
        time.sleep(POLL_S)
    if child.poll() is None:
        child.terminate()
    raise StackFailed(f"The stack did not start; the end of {output}:\n{log_tail(output)}")


def _show_status(found: probe.StackStatus) -> None:
    state = "ready" if found.is_ready else "running" if found.is_running else "not running"
    print(f"{state}  {found.url}".rstrip())
    print(f"state folder: {found.state_dir}")
    for part in found.parts:
        facts = [part.state, f"pid {part.pid}" if part.pid else "", _age(part.uptime_s)]
        facts.append(f"{part.restarts} restarts" if part.restarts else "")
        print(f"  {part.name:10}{', '.join(filter(None, facts)):36}{part.url}".rstrip())


def _age(uptime_s: int | None) -> str:
    if uptime_s is None:
        return ""
    return f"up {timedelta(seconds=uptime_s)}"


def _show_checks(checks: list[probe.Check]) -> None:
    for check in checks:
        print(f"{check.verdict:8} {check.name}: {check.found}")
        if check.remedy and check.verdict is not probe.Verdict.OK:
            print(f"{'':8} -> {check.remedy}")
