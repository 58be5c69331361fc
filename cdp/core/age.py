"""Files encrypted to one X25519 recipient in the age format, as streams: plain text is held by the chunk, never stored.

The library reads from and writes to file objects, so it runs in a thread of its own: what is fed waits in a short
queue, what comes out is taken away with each feed. An abandoned stream has to be closed, which ends its thread.
Source: https://age-encryption.org/v1
"""

import io
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import pyrage
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyrage import x25519

from cdp.core.errors import InvalidInput, PlatformError

PREFIX = b"age-encryption.org/v1\n"
PUBLIC_PREFIX, SECRET_PREFIX = "age1", "AGE-SECRET-KEY-1"
_PENDING = 1
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM = 6
_KEY_BYTES = 32


class AgeKeyInvalid(InvalidInput):
    """This is not an age key (X25519)."""

    code = "AGE_KEY_INVALID"


class AgeUnreadable(PlatformError):
    """This file was changed or cut off, or it is encrypted to somebody else."""

    code = "AGE_UNREADABLE"


class _Abandoned(Exception):
    """Whoever fed the stream has given up."""


class _Source(io.RawIOBase):
    """What was fed, as a file that can be read."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_PENDING)
        self._rest = memoryview(b"")
        self._is_over = False
        self.is_abandoned = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def put(self, chunk: bytes | None) -> None:
        """Hand over a chunk, None at the end; waits while enough is pending."""
        self._chunks.put(chunk)

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; nothing at the end."""
        if not self._rest and not self._is_over:
            chunk = self._chunks.get()
            self._is_over = chunk is None
            self._rest = memoryview(chunk or b"")
        if self.is_abandoned:
            raise _Abandoned
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)

    def drain(self) -> None:
        """Let whoever waits to hand over go on."""
        while not self._is_over:
            self._is_over = self._chunks.get() is None


class _Sink(io.RawIOBase):
    """What comes out, until it is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._held = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, written: Any, /) -> int:  # noqa: ANN401  # a buffer
        """Keep it."""
        with self._lock:
            self._held += written
        return len(written)

    def take(self) -> bytes:
        """What came out since the last time."""
        with self._lock:
            taken = bytes(self._held)
            self._held.clear()
        return taken


class _Stream:
    """One run of the library over what is fed to it."""

    def __init__(self, run: Callable[[io.RawIOBase, io.RawIOBase], None]) -> None:
        self._source, self._sink = _Source(), _Sink()
        self._failure: BaseException | None = None
        self._run = run
        self._thread = threading.Thread(target=self._work, name="age", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._run(self._source, self._sink)
        except BaseException as error:  # noqa: BLE001 - the thread that feeds raises it
            self._failure = error
        self._source.drain()

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes, give what is ready."""
        if chunk:
            self._source.put(chunk)
        return self._sink.take()

    def finish(self) -> bytes:
        """Give the rest. Raises AgeUnreadable."""
        self._source.put(None)
        self._thread.join()
        if self._failure is not None:
            raise AgeUnreadable from self._failure
        return self._sink.take()

    def close(self) -> None:
        """End a stream that is not wanted any more; fine after the end."""
        if self._thread.is_alive():
            self._source.is_abandoned = True
            self._source.put(None)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Encryption(_Stream):
    """A file being encrypted to one recipient, ``age1…``. Raises AgeKeyInvalid."""

    def __init__(self, recipient: str) -> None:
        key = public_key(recipient)
        super().__init__(lambda source, sink: pyrage.encrypt_io(source, sink, [key]))


class Decryption(_Stream):
    """A file being decrypted with one identity, ``AGE-SECRET-KEY-1…``; what comes out is authentic by the chunk.

    Raises AgeKeyInvalid; the end raises AgeUnreadable, so nothing counts before it.
    """

    def __init__(self, identity: str) -> None:
        key = secret_key(identity)
        super().__init__(lambda source, sink: pyrage.decrypt_io(source, sink, [key]))


def public_key(text: str) -> x25519.Recipient:
    """Read a recipient. Raises AgeKeyInvalid, also for a point whose shared secrets are all zero (RFC 7748 6.1)."""
    try:
        found = x25519.Recipient.from_str(text)
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(_raw(text)))
    except (pyrage.RecipientError, ValueError) as error:
        raise AgeKeyInvalid from error
    return found


def _raw(text: str) -> bytes:
    """The 32 bytes of a recipient whose checksum was seen to hold (BIP 173)."""
    bits = 0
    digits = text.lower().removeprefix(PUBLIC_PREFIX)[:-_CHECKSUM]
    for digit in digits:
        bits = bits << 5 | _BECH32.index(digit)
    return (bits >> (5 * len(digits) - 8 * _KEY_BYTES)).to_bytes(_KEY_BYTES, "big")


def secret_key(text: str) -> x25519.Identity:
    """Read an identity. Raises AgeKeyInvalid."""
    try:
        return x25519.Identity.from_str(text.strip())
    except pyrage.IdentityError:
        raise AgeKeyInvalid from None  # the library's error might quote the key


def identity_of(lines: Iterable[str]) -> str:
    """The one identity of a key file as age-keygen writes it. Raises AgeKeyInvalid."""
    found = [line.strip() for line in lines if line.strip().startswith(SECRET_PREFIX)]
    if len(found) != 1:
        raise AgeKeyInvalid
    secret_key(found[0])
    return found[0]


def recipient_of(identity: str) -> str:
    """The public half of an identity. Raises AgeKeyInvalid."""
    return str(secret_key(identity).to_public())


def new_identity() -> str:
    """A fresh identity."""
    return str(x25519.Identity.generate())


def encrypt(recipient: str, plain: bytes) -> bytes:
    """A small file at once. Raises AgeKeyInvalid."""
    sealed: bytes = pyrage.encrypt(plain, [public_key(recipient)])
    return sealed


def decrypt(identity: str, sealed: bytes) -> bytes:
    """A small file at once. Raises AgeKeyInvalid, AgeUnreadable."""
    key = secret_key(identity)
    try:
        plain: bytes = pyrage.decrypt(sealed, [key])
    except pyrage.DecryptError as error:
        raise AgeUnreadable from error
    return plain
