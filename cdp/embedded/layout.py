"""Where the embedded stack keeps things: one state folder, a short folder for sockets, and the URLs that follow.

    STATE/postgres/     data of Postgres (server's account, 0700)
    STATE/valkey/       append-only file of Valkey (server's account, 0700)
    STATE/run/          sockets (server's account, 0700; in /tmp if the path is too long or odd)
    STATE/log/          output of the servers, of a detached supervisor and its processes
    STATE/objects/      object store, when CDP_OBJECTS_URL is empty
    STATE/passwords     generated passwords of the database roles (0600)
    STATE/lock, STATE/record    who supervises, and what runs

Root's servers run as ``nobody``, who often cannot enter root's home. Then everything lives in /var/lib/cdp instead:
opening up a parent folder for the servers' sake would open it for everybody.
"""

import hashlib
import os
import pwd
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cdp.core.errors import Conflict, Forbidden, Unavailable
from cdp.core.settings import Environment, Settings
from cdp.embedded.account import Account, server_account
from cdp.embedded.passwords import APP, OWNER, read_passwords

DATABASE = "cdp"
SYSTEM_STATE = Path("/var/lib/cdp")
# sockaddr_un holds 108 bytes with the closing zero; ".s.PGSQL.5432.lock" is the longest name Postgres puts there.
LONGEST_RUN_BYTES = 107 - len("/.s.PGSQL.5432.lock")


class StackNotRunning(Unavailable):
    """The embedded stack is not running; start it with: cdp up."""

    code = "STACK_NOT_RUNNING"


class EmbeddedRefused(Forbidden):
    """Production does not run on embedded services."""

    code = "EMBEDDED_REFUSED"


class StateNotOurs(Conflict):
    """The state folder belongs to another user."""

    code = "STATE_NOT_OURS"


@dataclass(frozen=True)
class Parts:
    """Which parts the settings leave to the embedded stack."""

    postgres: bool
    valkey: bool
    objects: bool

    @property
    def any_server(self) -> bool:
        """Whether a server must be started."""
        return self.postgres or self.valkey


def parts_of(settings: Settings) -> Parts:
    """Every URL that is set replaces its part.

    Raises EmbeddedRefused in production, naming the settings that are missing.
    """
    parts = Parts(not settings.database_url, not settings.redis_url, not settings.objects_url)
    if settings.env is Environment.PRODUCTION and (parts.any_server or parts.objects):
        names = {
            "CDP_DATABASE_URL": parts.postgres,
            "CDP_REDIS_URL": parts.valkey,
            "CDP_OBJECTS_URL": parts.objects,
        }
        missing = ", ".join(name for name, is_missing in names.items() if is_missing)
        raise EmbeddedRefused(f"Production does not run on embedded services; set {missing}.")
    return parts


@dataclass(frozen=True)
class Layout:
    """Folders of one embedded stack and the account its servers run as."""

    state: Path
    run: Path
    account: Account
    asked_for: Path

    @property
    def is_moved(self) -> bool:
        """Whether the state lives elsewhere than asked, because the servers' account cannot get there."""
        return self.state != self.asked_for

    @property
    def notice(self) -> str:
        """What to say when the state moved; empty when it did not."""
        if not self.is_moved:
            return ""
        return f"{self.account.name} cannot enter {self.asked_for}: state is kept in {self.state}"

    @property
    def postgres(self) -> Path:
        """Data folder of Postgres."""
        return self.state / "postgres"

    @property
    def valkey(self) -> Path:
        """Data folder of Valkey."""
        return self.state / "valkey"

    @property
    def postgres_socket(self) -> Path:
        """Socket of Postgres; the name is fixed by the port."""
        return self.run / ".s.PGSQL.5432"

    @property
    def valkey_socket(self) -> Path:
        """Socket of Valkey."""
        return self.run / "valkey"

    @property
    def log(self) -> Path:
        """Folder of the servers' output."""
        return self.state / "log"

    @property
    def passwords(self) -> Path:
        """Generated passwords of the database roles."""
        return self.state / "passwords"

    @property
    def lock(self) -> Path:
        """File the one supervisor holds."""
        return self.state / "lock"

    @property
    def record(self) -> Path:
        """What runs right now, for ``cdp status``."""
        return self.state / "record"

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """URL of a database of the embedded Postgres for one of its login roles."""
        password = read_passwords(self.passwords)[role]
        return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={self.run}"

    @property
    def redis_url(self) -> str:
        """URL of the embedded Valkey."""
        return f"unix://{self.valkey_socket}"

    @property
    def objects_url(self) -> str:
        """URL of the object store on local disk."""
        return (self.state / "objects").as_uri()


def layout_of(settings: Settings) -> Layout:
    """Decide where the stack lives. Creates nothing.

    Raises StateNotOurs when another user made the state folder.
    """
    asked_for = Path(os.path.abspath(settings.state_dir))  # noqa: PTH100 - keeps symbolic links, as the user typed them
    account = server_account()
    state = asked_for
    if parts_of(settings).any_server and not account.reaches(asked_for):
        state = SYSTEM_STATE / _digest(asked_for)
    if state.exists() and (owner := state.stat().st_uid) != os.geteuid():
        raise StateNotOurs(
            f"The state folder {state} belongs to {_user_name(owner)}; run as that user or set CDP_STATE_DIR."
        )
    return Layout(state, _run_folder(state), account, asked_for)


def create(layout: Layout) -> None:
    """Make the folders, each with the least rights that work; never touches a parent's mode."""
    mode = 0o711 if layout.account.is_dropped else 0o700
    missing = [parent for parent in layout.state.parents if not parent.exists()]
    for parent in reversed(missing):  # ours then; a strict umask must not lock the servers out
        _own_folder(parent, mode)
    _own_folder(layout.state, mode)
    _own_folder(layout.log, 0o700)
    for folder in (layout.run, layout.valkey):
        _own_folder(folder, 0o700, layout.account)


def leave(layout: Layout) -> None:
    """Remove what lies outside the state folder: nothing, unless the sockets had to move to /tmp."""
    if not layout.run.is_relative_to(layout.state):
        shutil.rmtree(layout.run, ignore_errors=True)


def resolve(settings: Settings) -> Settings:
    """Fill the empty URLs from the running embedded stack, and point ``state_dir`` at where its state really is.

    Raises StackNotRunning when a needed server does not answer, EmbeddedRefused in production.
    """
    parts = parts_of(settings)
    if not (parts.any_server or parts.objects):
        return settings
    layout = layout_of(settings)
    if parts.postgres and not answers(layout.postgres_socket):
        raise StackNotRunning
    if parts.valkey and not answers(layout.valkey_socket):
        raise StackNotRunning
    return settings_for(settings, layout)


def settings_for(settings: Settings, layout: Layout) -> Settings:
    """Fill the empty URLs for a stack that lives at ``layout``."""
    parts = parts_of(settings)
    filled: dict[str, object] = {"state_dir": layout.state}
    if parts.postgres:
        filled |= {
            "database_url": layout.database_url(APP),
            "database_owner_url": layout.database_url(OWNER),
        }
    if parts.valkey:
        filled["redis_url"] = layout.redis_url
    if parts.objects:
        filled["objects_url"] = layout.objects_url
    return settings.model_copy(update=filled)


def answers(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _run_folder(state: Path) -> Path:
    """STATE/run, or a short folder in /tmp when that name does not fit a socket address or a URL.

    arq does not unescape the path of a unix:// URL, so a name that needs escaping will not do.
    """
    run = state / "run"
    if len(os.fsencode(run)) <= LONGEST_RUN_BYTES and quote(str(run)) == str(run):
        return run
    return Path(tempfile.gettempdir()) / f"cdp-{_digest(state)}"


def _own_folder(path: Path, mode: int, account: Account | None = None) -> None:
    """Make a folder, or check that the one found is ours: a name in /tmp may have been taken by somebody else."""
    path.mkdir(mode=mode, exist_ok=True)
    found = path.lstat()
    owners = {os.geteuid(), account.uid if account else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise StateNotOurs(f"{path} belongs to {_user_name(found.st_uid)}, not to us.")
    path.chmod(mode)
    if account:
        account.own(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
