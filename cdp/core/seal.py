"""Sealing: AES-256-GCM for fields and for files, and keyed hashes that outlive what they stand for.

A sealed field is ``version | key id length | key id | nonce | ciphertext``; the caller's context is authenticated, so a
value can not be moved to another row. A sealed file is a sequence of 64 KiB chunks in the STREAM construction (Hoang et
al., "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", https://eprint.iacr.org/2015/189): chunks
can not be reordered, dropped or cut off, and any range can be opened alone.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdp.core.errors import PlatformError
from cdp.core.keys import KeyStore

LOCAL = "master"
RELOAD_EVERY_S = 60.0
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
PREFIX_BYTES = 7
_MAGIC = b"CDPF1"
HEADER_BYTES = len(_MAGIC) + PREFIX_BYTES


class Unsealable(PlatformError):
    """This sealed value was changed, moved, or belongs to other keys."""

    code = "UNSEALABLE"


class Sealer:
    """Seals small values under master keys; the first key seals, all keys open.

    ``reload`` reads the keys again where another process may have made one: asked when a value names a key unknown
    here, and before sealing when the last look is a minute old.
    """

    def __init__(self, keys: Mapping[str, bytes], *, reload: Callable[[], Mapping[str, bytes]] | None = None) -> None:
        self._reload = reload
        self._take(keys)

    def _take(self, keys: Mapping[str, bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys.values()):
            raise ValueError("a master key is 32 bytes")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(keys))
        self._taken_at = time.monotonic()

    @property
    def current(self) -> str:
        """Id of the key that seals."""
        if self._reload is not None and time.monotonic() - self._taken_at > RELOAD_EVERY_S:
            self._take(self._reload())
        return self._current

    @property
    def key_ids(self) -> list[str]:
        """Every key that opens, the one that seals first."""
        return list(self._ciphers)

    @classmethod
    def from_settings(cls, master_keys: str, store: KeyStore) -> "Sealer":
        """Parse ``id:base64,id:base64`` (newest first); empty means keys kept in the key store."""
        if not master_keys:
            store.create(LOCAL)
            return cls(local_keys(store), reload=lambda: local_keys(store))
        try:
            pairs = [entry.strip().split(":", 1) for entry in master_keys.split(",")]
            given = {key_id: base64.b64decode(text, validate=True) for key_id, text in pairs}
        except (ValueError, binascii.Error) as error:
            raise ValueError("CDP_MASTER_KEYS is id:base64 of 32 bytes, comma-separated") from error
        # A platform that began without them still holds values under its own key, until a rotation.
        return cls(given | local_keys(store))

    def seal(self, plain: bytes, context: str) -> bytes:
        """Seal a value for one place; ``context`` names it, for example ``request:<id>:identifiers``."""
        key_id = self.current
        nonce, head = os.urandom(12), head_of(key_id)
        return head + nonce + self._ciphers[key_id].encrypt(nonce, plain, head + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Open a value. Raises Unsealable when anything about it is off."""
        try:
            key_id = key_of(sealed)
            if key_id not in self._ciphers and self._reload is not None:
                self._take(self._reload())
            head, rest = sealed[: 2 + sealed[1]], sealed[2 + sealed[1] :]
            return self._ciphers[key_id].decrypt(rest[:12], rest[12:], head + context.encode())
        except (InvalidTag, KeyError, IndexError, UnicodeDecodeError, ValueError) as error:
            raise Unsealable from error


def head_of(key_id: str) -> bytes:
    """How every value begins that is sealed under a key."""
    return bytes([1, len(key_id.encode())]) + key_id.encode()


def key_of(sealed: bytes) -> str:
    """Id of the key a value is sealed under. Raises IndexError and UnicodeDecodeError for what is no such value."""
    return sealed[2 : 2 + sealed[1]].decode()


def local_keys(store: KeyStore) -> dict[str, bytes]:
    """Master keys kept in the key store itself, for one machine without ``CDP_MASTER_KEYS``: newest first."""
    return {local_id(name): store.get(name) for name in reversed(store.names(LOCAL))}


def local_id(name: str) -> str:
    """The id of a master key by the name of its file: ``master`` is ``local``, ``master-0002`` is ``local-0002``."""
    return name.replace(LOCAL, "local", 1)


@dataclass(frozen=True)
class KeyedHash:
    """A hash only we can make; ``key_version`` says with which key."""

    value: bytes
    key_version: int


class Pepper:
    """HMAC-SHA256 under versioned keys that are never retired: suppression list, journal, pseudonyms."""

    def __init__(self, store: KeyStore) -> None:
        store.create("pepper-0001")
        names = store.names("pepper-")
        self._keys = {int(name.removeprefix("pepper-")): store.get(name) for name in names}
        self.current = max(self._keys)

    def hash(self, kind: str, value: str) -> KeyedHash:
        """Hash with the newest key; ``kind`` separates e-mail from phone."""
        return KeyedHash(self._mac(self.current, kind, value), self.current)

    def hashes(self, kind: str, value: str) -> list[KeyedHash]:
        """Hash with every key, newest first: a lookup tries them all."""
        return [KeyedHash(self._mac(v, kind, value), v) for v in sorted(self._keys, reverse=True)]

    @property
    def fingerprint(self) -> bytes:
        """What tells this key store from another one: a hash of nothing under its oldest key. 32 bytes."""
        return self._mac(min(self._keys), "key store", "")

    def _mac(self, version: int, kind: str, value: str) -> bytes:
        return hmac.new(self._keys[version], f"{kind}\0{value}".encode(), hashlib.sha256).digest()


def _nonce(prefix: bytes, index: int, *, last: bool) -> bytes:
    return prefix + index.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


async def seal_stream(key: bytes, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Seal a byte stream with bounded memory; yields the header, then sealed chunks of 64 KiB + 16."""
    cipher, prefix = AESGCM(key), secrets.token_bytes(PREFIX_BYTES)
    yield _MAGIC + prefix
    held, index = bytearray(), 0
    async for chunk in chunks:
        held += chunk
        while len(held) > CHUNK_BYTES:
            yield cipher.encrypt(_nonce(prefix, index, last=False), bytes(held[:CHUNK_BYTES]), None)
            del held[:CHUNK_BYTES]
            index += 1
    yield cipher.encrypt(_nonce(prefix, index, last=True), bytes(held), None)


def sealed_size(plain_bytes: int) -> int:
    """Bytes a sealed file of ``plain_bytes`` takes."""
    return HEADER_BYTES + plain_bytes + TAG_BYTES * max(1, -(-plain_bytes // CHUNK_BYTES))


def open_header(header: bytes) -> bytes:
    """Check a sealed file's header and return its nonce prefix."""
    if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
        raise Unsealable
    return header[len(_MAGIC) :]


def open_chunk(key: bytes, prefix: bytes, index: int, sealed: bytes, *, last: bool) -> bytes:
    """Open chunk number ``index``; ``last`` must be true for exactly the final one. Raises Unsealable."""
    try:
        return AESGCM(key).decrypt(_nonce(prefix, index, last=last), sealed, None)
    except InvalidTag as error:
        raise Unsealable from error


async def open_stream(key: bytes, sealed: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Open what seal_stream made; raises Unsealable on any change, also when the end is missing."""
    held, prefix, index, step = bytearray(), b"", 0, CHUNK_BYTES + TAG_BYTES
    async for chunk in sealed:
        held += chunk
        if not prefix:
            if len(held) < HEADER_BYTES:
                continue
            prefix = open_header(bytes(held[:HEADER_BYTES]))
            del held[:HEADER_BYTES]
        while len(held) > step:
            yield open_chunk(key, prefix, index, bytes(held[:step]), last=False)
            del held[:step]
            index += 1
    if not prefix:
        raise Unsealable
    yield open_chunk(key, prefix, index, bytes(held), last=True)
