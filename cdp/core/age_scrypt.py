"""Files encrypted under a passphrase in the age format, as streams: memory stays that of a chunk.

The library that reads and writes such files holds them whole, so the header and the chunks are made here; any age tool
opens them.
Source: https://github.com/C2SP/C2SP/blob/main/age.md (header, scrypt recipient stanza, payload), RFC 7914 (scrypt)
"""

import asyncio
import base64
import hmac
import secrets
from collections.abc import AsyncIterable, AsyncIterator

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

CHUNK_BYTES = 64 * 1024
WORK_FACTOR = 15
"""Log2 of scrypt's cost: 32 MB and a tenth of a second for each guess."""
_KEY_BYTES, _FILE_KEY_BYTES, _SALT_BYTES = 32, 16, 16
_ZERO = bytes(12)


async def encrypt(passphrase: str, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The file; deriving its key takes 32 MB for a moment, in a thread."""
    file_key, nonce = secrets.token_bytes(_FILE_KEY_BYTES), secrets.token_bytes(_SALT_BYTES)
    yield await asyncio.to_thread(_header, passphrase, file_key) + nonce
    cipher = ChaCha20Poly1305(_derived(file_key, salt=nonce, info=b"payload"))
    held, number = b"", 0
    async for chunk in chunks:
        held += chunk
        while len(held) > CHUNK_BYTES:  # the last chunk is never an empty one
            yield cipher.encrypt(_nonce(number, last=False), held[:CHUNK_BYTES], None)
            held, number = held[CHUNK_BYTES:], number + 1
    yield cipher.encrypt(_nonce(number, last=True), held, None)


def _header(passphrase: str, file_key: bytes) -> bytes:
    salt = secrets.token_bytes(_SALT_BYTES)
    label = b"age-encryption.org/v1/scrypt" + salt
    key = Scrypt(salt=label, length=_KEY_BYTES, n=1 << WORK_FACTOR, r=8, p=1).derive(passphrase.encode())
    wrapped = ChaCha20Poly1305(key).encrypt(_ZERO, file_key, None)
    head = f"age-encryption.org/v1\n-> scrypt {_text(salt)} {WORK_FACTOR}\n{_text(wrapped)}\n---".encode()
    mac = hmac.digest(_derived(file_key, salt=b"", info=b"header"), head, "sha256")
    return head + f" {_text(mac)}\n".encode()


def _derived(key: bytes, *, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=info).derive(key)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode()
