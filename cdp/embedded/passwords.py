"""Generated passwords of the database's login roles, one file that only its owner reads.

``postgres`` is the superuser, used by the supervisor alone; ``cdp_owner`` migrates; ``cdp_app`` is what API and worker
sign in as: it owns nothing and can only become one of the app roles.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cdp.core.errors import Unavailable

SUPERUSER = "postgres"
OWNER = "cdp_owner"
APP = "cdp_app"


class PasswordsLost(Unavailable):
    """The passwords of the embedded Postgres cannot be read; its data is locked without them."""

    code = "PASSWORDS_LOST"


def read_passwords(path: Path) -> Mapping[str, str]:
    """Password by role.

    Raises PasswordsLost when the file is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return {role: str(found[role]) for role in (SUPERUSER, OWNER, APP)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PasswordsLost(f"{path} cannot be read; the embedded Postgres is locked without it.") from error


def make_passwords(path: Path) -> Mapping[str, str]:
    """Write fresh passwords; complete on disk before the name appears, readable by nobody else at any moment."""
    fresh = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, OWNER, APP)}
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(fresh, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return fresh
