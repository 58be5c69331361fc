"""The embedded Postgres: initdb, its settings, its roles, its URL.

Signs in by SCRAM over a Unix socket in a 0700 folder; no TCP port. The built-in C.UTF-8 locale sorts by code point and
needs no operating-system locale, so an index stays valid on every machine
(https://www.postgresql.org/docs/18/locale.html#LOCALE-PROVIDERS).
"""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cdp.core.errors import Unavailable
from cdp.embedded.layout import DATABASE, Layout
from cdp.embedded.passwords import APP, OWNER, SUPERUSER, make_passwords, read_passwords
from cdp.embedded.process import BARE_ENVIRONMENT, Command, ProcessFailed, end_leftovers, log_tail, start

# Modest for a laptop or a two-core box with a few GB to spare; everything that keeps data safe stays on.
TUNING = {
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # An error's text and its detail quote values ("Key (email)=(…) already exists"): the client gets them, the log does
    # not. LOG ranks above ERROR for the server's log.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
}
# For throw-away clusters of tests only: a power cut loses them, a killed process does not.
FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "10s",
}


class OtherMajorVersion(Unavailable):
    """The data folder was made by another major version of Postgres."""

    code = "OTHER_POSTGRES_VERSION"


class Postgres:
    """How to run the embedded Postgres at a layout."""

    name = "postgres"

    def __init__(self, layout: Layout, binary: Path, *, durable: bool = True) -> None:
        self.layout = layout
        self.binary = binary
        self.durable = durable

    def prepare(self) -> None:
        """Make the cluster if there is none; clear what a killed server left, so that it cannot block a start."""
        data = self.layout.postgres
        if not (data / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        end_leftovers(data, "postgres", signal.SIGINT)
        # After a SIGKILL these name a dead pid, or a stranger's when pids were reused; we hold the lock and have just
        # seen that no server works in this folder, so they are void.
        for stale in (data / "postmaster.pid", self.layout.postgres_socket, _lock_of(self.layout.postgres_socket)):
            stale.unlink(missing_ok=True)

    def command(self) -> Command:
        """The server itself; INT is the fast shutdown, QUIT the immediate one."""
        options = TUNING | ({} if self.durable else FORGETFUL)
        options |= {
            "listen_addresses": "",
            "unix_socket_directories": str(self.layout.run),
            "unix_socket_permissions": "0700",
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        return Command(
            self.name,
            [str(self.binary), "-D", str(self.layout.postgres), *flags],
            self.layout.account,
            death_signal=signal.SIGINT,
            stop_signals=[(signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0)],
            environment=BARE_ENVIRONMENT,
            output=self.layout.log / "postgres.log",
        )

    def is_ready(self, pid: int) -> bool:
        """Whether it takes connections: line 8 of postmaster.pid, which is what pg_ctl looks at too."""
        try:
            lines = (self.layout.postgres / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def welcome(self) -> None:
        """Make the login roles and the database, if missing; cheap, so it runs after every start."""
        import psycopg  # a tenth of a second that ``cdp status`` need not pay
        from psycopg import sql

        passwords = read_passwords(self.layout.passwords)
        rights = {OWNER: sql.SQL("CREATEROLE CREATEDB"), APP: sql.SQL("NOINHERIT")}
        with psycopg.connect(self.layout.database_url(SUPERUSER, "postgres"), autocommit=True) as connection:
            there = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            for role in rights.keys() - there:
                statement = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(role), rights[role], passwords[role]))
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))

    def _initialise(self) -> None:
        """Run initdb in a folder of another name, moved when whole: an interrupted one is simply made again."""
        layout = self.layout
        # Fresh data gets fresh passwords: those of a first try that was interrupted open nothing.
        password = make_passwords(layout.passwords)[SUPERUSER]
        fresh = layout.state / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        layout.account.own(fresh)
        with tempfile.NamedTemporaryFile("w", dir=layout.run, prefix="initdb-") as password_file:
            layout.account.own(Path(password_file.name))
            password_file.write(password)
            password_file.flush()
            initdb = start(self._initdb(fresh, password_file.name))
            code = initdb.process.wait()
        if code != 0:
            raise ProcessFailed(f"initdb failed: {log_tail(layout.log / 'initdb.log')}")
        fresh.replace(layout.postgres)

    def _initdb(self, folder: Path, password_file: str) -> Command:
        arguments = ["-D", str(folder), "-U", SUPERUSER, "-A", "scram-sha-256", "--pwfile", password_file]
        arguments += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
        arguments += [] if self.durable else ["--no-sync"]
        return Command(
            "initdb",
            [str(self.binary.with_name("initdb")), *arguments],
            self.layout.account,
            death_signal=signal.SIGTERM,
            stop_signals=[(signal.SIGTERM, 5.0)],
            environment=BARE_ENVIRONMENT,
            output=self.layout.log / "initdb.log",
        )

    def _check_version(self) -> None:
        text = subprocess.run([self.binary, "--version"], capture_output=True, check=True).stdout
        binary = text.decode().split()[2].split(".")[0]
        data = (self.layout.postgres / "PG_VERSION").read_text(encoding="ascii").strip()
        if binary != data:
            raise OtherMajorVersion(
                f"{self.layout.postgres} was made by Postgres {data}, the binaries are {binary}; set CDP_PG_BIN."
            )


def _lock_of(socket: Path) -> Path:
    return socket.with_name(socket.name + ".lock")
