"""The key store: keys that must be able to die live here, outside Postgres and outside its backups.

A key is a file of mode 0600 in one folder. Destroying a key makes everything sealed under it unreadable for good, in
every backup too (crypto-shredding, NIST SP 800-88 rev. 1, "cryptographic erase",
https://doi.org/10.6028/NIST.SP.800-88r1). Losing this folder loses all sealed data: back it up apart.
"""

import os
import re
import secrets
from pathlib import Path

from cdp.core.errors import PlatformError

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class KeyGone(PlatformError):
    """The key of this object was destroyed; it can not be read any more."""

    code = "KEY_GONE"
    status = 410


class KeyStore:
    """Named secrets in a folder; creation is atomic, so that two processes agree on one key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("a key's name is lower-case letters, digits, dots and dashes")
        return self.folder / f"{name}.key"

    def create(self, name: str, material: bytes | None = None) -> bytes:
        """Make a key (32 random bytes unless given), or return the one that is already there."""
        path = self._path(name)
        fresh = path.with_suffix(f".{secrets.token_hex(8)}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32) if material is None else material)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return path.read_bytes()

    def get(self, name: str) -> bytes:
        """Read a key. Raises KeyGone when it was destroyed or never made."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise KeyGone from error

    def exists(self, name: str) -> bool:
        """Whether the key is (still) there."""
        return self._path(name).exists()

    def destroy(self, name: str) -> None:
        """Overwrite and delete a key; destroying twice is fine."""
        path = self._path(name)
        try:
            with path.open("r+b") as file:
                file.write(secrets.token_bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            return

    def names(self, prefix: str = "") -> list[str]:
        """Names of all keys that start with ``prefix``, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"{prefix}*.key"))
