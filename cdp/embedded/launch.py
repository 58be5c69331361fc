"""Become a supervised process: drop rights, tie our life to the parent's, then exec.

Runs as a script, ``python -I -S launch.py PARENT SIGNAL UID GID COMMAND…``, so it imports the standard library alone.
A fresh interpreter instead of ``preexec_fn``: code between fork and exec may deadlock once the parent has threads.

The order is the point. Changing credentials clears the parent-death signal, so it is set afterwards; the parent may die
before it is set, so its pid is compared afterwards (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Exec the command as the account; never returns."""
    parent, death_signal, uid, gid = (int(text) for text in arguments[:4])
    command = arguments[4:]
    if uid != os.geteuid():
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
    os.umask(0o077)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
