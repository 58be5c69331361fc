"""Look at the stack from outside: what runs, and what on this machine would keep it from running."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from cdp.core.errors import PlatformError
from cdp.core.settings import Settings
from cdp.embedded.binaries import installed_postgres, installed_valkey
from cdp.embedded.layout import Layout, answers, layout_of, parts_of
from cdp.embedded.lock import PartRecord, Record, holder, read_record
from cdp.embedded.own import answers_ready
from cdp.embedded.ports import is_free

# A demo population, two write-ahead logs' worth of slack and the exports of a day.
ENOUGH_DISK_BYTES = 2 * 1024**3
FONTS = Path("/usr/share/fonts/truetype")


class State(StrEnum):
    """What a look at one part says."""

    RUNNING = "running"
    NOT_ANSWERING = "not answering"
    STOPPED = "stopped"
    EXTERNAL = "external"


@dataclass(frozen=True)
class PartStatus:
    """One part as seen from outside; never shows a password."""

    name: str
    state: State
    url: str = ""
    pid: int | None = None
    uptime_s: int | None = None
    restarts: int = 0


@dataclass(frozen=True)
class StackStatus:
    """The whole stack as seen from outside."""

    is_running: bool
    is_ready: bool
    pid: int | None
    url: str
    state_dir: str
    parts: tuple[PartStatus, ...]


class Verdict(StrEnum):
    """What a check of this machine says; a warning costs comfort or tests, not the platform."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def status(settings: Settings) -> StackStatus:
    """What runs in this state folder."""
    layout = layout_of(settings)
    pid = holder(layout.lock)
    record = read_record(layout.record, pid)
    recorded = {part.name: part for part in record.parts} if record else {}
    parts = [
        _server("postgres", settings.database_url, layout.postgres_socket, recorded.get("postgres")),
        _server("valkey", settings.redis_url, layout.valkey_socket, recorded.get("valkey")),
        *(_own(part, settings, record) for name, part in recorded.items() if name in {"api", "worker"}),
    ]
    return StackStatus(
        is_running=pid is not None,
        is_ready=record is not None and record.is_ready,
        pid=pid,
        url=record.url if record else "",
        state_dir=str(layout.state),
        parts=tuple(parts),
    )


def _server(name: str, external_url: str, socket: Path, recorded: PartRecord | None) -> PartStatus:
    if external_url:
        return PartStatus(name, State.EXTERNAL, _address(external_url))
    alive = answers(socket)
    if recorded is None:
        return PartStatus(name, State.RUNNING if alive else State.STOPPED, f"unix:{socket}")
    return _recorded(recorded, f"unix:{socket}", is_answering=alive)


def _address(url: str) -> str:
    """Where a URL leads, without who signs in: query and user part may hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _own(part: PartRecord, settings: Settings, record: Record | None) -> PartStatus:
    if part.name != "api" or record is None:
        return _recorded(part, "", is_answering=True)
    port = urlsplit(record.url).port or settings.port
    is_ready = answers_ready(settings.model_copy(update={"port": port}))
    return _recorded(part, record.url, is_answering=is_ready)


def _recorded(part: PartRecord, url: str, *, is_answering: bool) -> PartStatus:
    state = State.STOPPED if part.pid is None else State.RUNNING if is_answering else State.NOT_ANSWERING
    uptime_s = int(time.time() - part.since) if part.pid is not None else None
    return PartStatus(part.name, state, url, part.pid, uptime_s, part.restarts)


def doctor(settings: Settings) -> Iterator[Check]:
    """Look at everything the stack needs on this machine, one check at a time."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", Verdict.OK, version)
    try:
        layout = layout_of(settings)
    except PlatformError as error:
        yield Check("state folder", Verdict.PROBLEM, error.message)
        return
    yield Check("state folder", Verdict.OK, layout.notice or str(layout.state))
    yield _writable(layout)
    yield _disk(layout)
    yield from _binaries(settings)
    yield _port(settings, layout)
    yield from _debian_packages()


def _writable(layout: Layout) -> Check:
    existing = next(path for path in (layout.state, *layout.state.parents) if path.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        return Check("permissions", Verdict.OK, f"servers run as {layout.account.name}")
    return Check(
        "permissions", Verdict.PROBLEM, f"{existing} is not writable", "set CDP_STATE_DIR to a folder of yours"
    )


def _disk(layout: Layout) -> Check:
    existing = next(path for path in (layout.state, *layout.state.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1024**3:.1f} GB free"
    if free >= ENOUGH_DISK_BYTES:
        return Check("disk", Verdict.OK, found)
    return Check("disk", Verdict.WARNING, found, f"have {ENOUGH_DISK_BYTES / 1024**3:.0f} GB, or move CDP_STATE_DIR")


def _binaries(settings: Settings) -> Iterator[Check]:
    """Run each needed binary once: it may be there and still lack a library."""
    parts = parts_of(settings)
    if parts.postgres:
        yield _binary("postgres", installed_postgres, settings)
    else:
        yield Check("postgres", Verdict.OK, "external (CDP_DATABASE_URL)")
    if parts.valkey:
        yield _binary("valkey", installed_valkey, settings)
    else:
        yield Check("valkey", Verdict.OK, "external (CDP_REDIS_URL)")


def _binary(name: str, find: Callable[[Settings], Path], settings: Settings) -> Check:
    try:
        program = find(settings)
        found = subprocess.run([program, "--version"], capture_output=True, check=True, timeout=20).stdout
    except PlatformError as error:
        return Check(name, Verdict.PROBLEM, error.message, "make install")
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, Verdict.PROBLEM, f"does not run: {error}", "make install, or set CDP_PG_BIN, CDP_VALKEY_BIN")
    return Check(name, Verdict.OK, found.decode(errors="replace").strip())


def _port(settings: Settings, layout: Layout) -> Check:
    record = read_record(layout.record, holder(layout.lock))
    if record and record.url:
        return Check("port", Verdict.OK, f"our API serves {record.url}")
    if is_free(settings.host, settings.port):
        return Check("port", Verdict.OK, f"{settings.port} is free")
    if "port" in settings.model_fields_set:
        return Check("port", Verdict.PROBLEM, f"{settings.port} is taken", "set CDP_PORT to another")
    return Check("port", Verdict.WARNING, f"{settings.port} is taken; a free one will be chosen", "or set CDP_PORT")


def _debian_packages() -> Iterator[Check]:
    """Only tests use these; a platform without them is whole."""
    for package, is_there in (
        ("chromium", shutil.which("chromium") is not None),
        ("mariadb-server", Path("/usr/sbin/mariadbd").exists()),
        ("fonts-dejavu-core", FONTS.is_dir()),
    ):
        if is_there:
            yield Check(package, Verdict.OK, "installed")
        else:
            yield Check(package, Verdict.WARNING, "not installed; some tests skip", f"as root: apt install {package}")
