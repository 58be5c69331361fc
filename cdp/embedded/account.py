"""The account the embedded servers run as: the caller, or ``nobody`` when the caller is root.

Postgres refuses to run as root, and a database server has no business being root anyway. ``nobody`` has a passwd entry
on every Debian, which initdb demands; creating an account of our own would write outside the state folder.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cdp.core.errors import Unavailable


class NoServerAccount(Unavailable):
    """The embedded Postgres needs an account with an entry in /etc/passwd."""

    code = "NO_SERVER_ACCOUNT"


@dataclass(frozen=True)
class Account:
    """User and group ids of the servers."""

    name: str
    uid: int
    gid: int

    @property
    def is_dropped(self) -> bool:
        """Whether the servers run with fewer rights than we do."""
        return self.uid != os.geteuid()

    def reaches(self, path: Path) -> bool:
        """Ask the kernel, as this account, whether a folder can be entered or a file executed.

        Walking the mode bits ourselves would miss access control lists and mount options. For a path that does not
        exist yet, its nearest existing parent answers.
        """
        existing = next(p for p in (path, *path.parents) if p.exists())
        if not self.is_dropped:
            return os.access(existing, os.X_OK)
        question = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(existing)]
        answer = subprocess.run(question, user=self.uid, group=self.gid, extra_groups=[], cwd="/", env={}, check=False)
        return answer.returncode == 0

    def own(self, path: Path) -> None:
        """Hand a file or folder that we made to this account."""
        if self.is_dropped:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """The caller; ``nobody`` for root.

    Raises NoServerAccount when that account has no passwd entry.
    """
    try:
        entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise NoServerAccount from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
