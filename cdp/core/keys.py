"""The key store: keys that must be able to die live here, outside Postgres and outside its backups.

A key is a file of mode 0600 in one folder, sealed under the master keys (``CDP_MASTER_KEYS``): a copy of the folder
alone opens nothing. One written in the clear, before that, is read as it is until a rotation seals it.
Destroying a key makes everything sealed under it unreadable for good, in every backup too (crypto-shredding, NIST SP
800-88 rev. 1, "cryptographic erase", https://doi.org/10.6028/NIST.SP.800-88r1). Losing this folder loses all sealed
data: back it up apart.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cdp.core.errors import PlatformError

_SEALED = b"CDPK1"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class KeyGone(PlatformError):
    """The key of this object was destroyed; it can not be read any more."""

    code = "KEY_GONE"
    status = 410


class Sealing(Protocol):
    """What key files are sealed with: the master keys."""

    @property
    def current(self) -> str:
        """Id of the key that seals."""

    def seal(self, plain: bytes, context: str) -> bytes:
        """Seal a value for one place."""

    def open(self, sealed: bytes, context: str) -> bytes:
        """Open a value of that place."""


class KeyStore:
    """Named secrets in a folder; creation is atomic, so that two processes agree on one key.

    ``sealing`` is None only where the master key itself is kept.
    """

    def __init__(self, folder: Path, sealing: Sealing | None = None) -> None:
        self.folder = folder
        self._sealing = sealing
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
            file.write(self._sealed(name, secrets.token_bytes(32) if material is None else material))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        self._keep_names()
        return self.get(name)

    def _keep_names(self) -> None:
        """Make what the folder lists durable: a key whose name a power cut takes is lost with all it sealed."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def get(self, name: str) -> bytes:
        """Read a key. Raises KeyGone when it was destroyed or never made."""
        try:
            stored = self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise KeyGone from error
        if not stored.startswith(_SEALED):
            return stored
        if self._sealing is None:
            raise ValueError("this key is sealed: it is read with the master keys")
        return self._sealing.open(stored[len(_SEALED) :], _context(name))

    def sealed(self, name: str) -> bytes | None:
        """What seals a key, as it is stored; None for one in the clear. Raises KeyGone."""
        try:
            stored = self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise KeyGone from error
        return stored[len(_SEALED) :] if stored.startswith(_SEALED) else None

    def reseal(self, name: str) -> None:
        """Seal a key anew under the current master key; one that was destroyed stays so.

        What the old file held is overwritten: nothing of a key that dies later may be left under an old master key.
        """
        path = self._path(name)
        with self._locked():
            try:
                material = self.get(name)
            except KeyGone:
                return
            fresh = path.with_suffix(f".{secrets.token_hex(8)}.new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._sealed(name, material))
                file.flush()
                os.fsync(file.fileno())
            with path.open("r+b") as old:
                fresh.replace(path)
                _overwrite(old.fileno())

    def _sealed(self, name: str, material: bytes) -> bytes:
        return material if self._sealing is None else _SEALED + self._sealing.seal(material, _context(name))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time replaces or destroys: a key that is being destroyed must not come back."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def exists(self, name: str) -> bool:
        """Whether the key is (still) there."""
        return self._path(name).exists()

    def made_at(self, name: str) -> float:
        """When a key was made or last sealed anew, in seconds since 1970; 0 once it is gone."""
        try:
            return self._path(name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def destroy(self, name: str) -> None:
        """Overwrite and delete a key; destroying twice is fine."""
        path = self._path(name)
        with self._locked():
            try:
                with path.open("r+b") as file:
                    _overwrite(file.fileno())
                path.unlink()
            except FileNotFoundError:
                return

    def names(self, prefix: str = "") -> list[str]:
        """Names of all keys that start with ``prefix``, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"{prefix}*.key"))


def _context(name: str) -> str:
    return f"key:{name}"


def _overwrite(descriptor: int) -> None:
    """Replace what a file holds by noise, down to the disk."""
    os.pwrite(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size), 0)
    os.fsync(descriptor)
