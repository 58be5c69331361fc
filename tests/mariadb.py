"""A MariaDB server of one's own on a Unix socket, with nothing shared with one the machine may run already."""

import getpass
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from tests import peers

STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 30.0
REMEDY = "apt install mariadb-server"


@contextmanager
def mariadb() -> Iterator[str]:
    """Start a server and yield the URL of an empty database, with a password."""
    server, install = (shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin") for name in _PROGRAMS)
    if server is None or install is None:
        peers.missing("mariadb", REMEDY)
    with tempfile.TemporaryDirectory(prefix="maria-", dir="/tmp") as folder:
        files, socket = Path(folder) / "files", Path(folder) / "s"
        own = ["--no-defaults", f"--datadir={files}"]
        setting_up = [install, *own, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(setting_up, check=True, capture_output=True)
        shutil.chown(folder, user=_user())
        subprocess.run(["chown", "-R", _user(), folder], check=True)
        command = [server, *own, f"--socket={socket}", "--skip-networking", f"--user={_user()}"]
        command += ["--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield _prepared(process, socket)
        finally:
            process.terminate()
            process.wait(ENDED_WITHIN_S)


_PROGRAMS = ("mariadbd", "mariadb-install-db")


def _prepared(process: "subprocess.Popen[bytes]", socket: Path) -> str:
    """Wait until it answers, make a database and a user who may do nothing elsewhere."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while True:
        assert process.poll() is None, "mariadb did not start"
        try:
            with pymysql.connect(unix_socket=str(socket), user="root", autocommit=True) as connection:
                password = secrets.token_hex(8)
                with connection.cursor() as cursor:
                    cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
                    cursor.execute(f"CREATE USER cdp@localhost IDENTIFIED BY '{password}'")
                    cursor.execute("GRANT ALL ON shop.* TO cdp@localhost")
                    cursor.execute("SELECT version()")
                    peers.took_part(f"mariadb {str(cursor.fetchall()[0][0]).split('-')[0]}")
                return f"mariadb://cdp:{password}@localhost/shop?unix_socket={socket}"
        except pymysql.OperationalError:
            assert time.monotonic() < deadline, "mariadb did not start"
            time.sleep(0.1)


def _user() -> str:
    """Root runs it as the unprivileged account the package made; anybody else as themselves."""
    return "mysql" if getpass.getuser() == "root" else getpass.getuser()
