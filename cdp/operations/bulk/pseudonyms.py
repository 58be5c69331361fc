"""Recipients and their pseudonyms: the same person has the same id with one recipient, and another with the next.

Each recipient has a key of its own, sealed under the master keys, since any host may work on any part. Deleting the
row makes its pseudonyms nobody's. Source: GDPR art. 4(5); HMAC: RFC 2104.
"""

import hashlib
import hmac
import secrets
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from cdp.compiler.bulk import PSEUDONYM_CHARACTERS, TYPE
from cdp.core.db import Tx
from cdp.core.ids import new_id
from cdp.core.seal import Sealer
from cdp.tables.bulk import bulk_recipient

BLOCK_BYTES = 64


async def recipient(tx: Tx, sealer: Sealer, name: str) -> UUID:
    """The recipient of this name, made on first use."""
    known = select(bulk_recipient.c.id).where(bulk_recipient.c.name == name)
    found = await tx.scalar(known)
    if found is None:
        row_id = new_id()
        sealed = sealer.seal(secrets.token_bytes(32), _context(row_id))
        made = insert(bulk_recipient).values(id=row_id, name=name, key_sealed=sealed)
        await tx.execute(made.on_conflict_do_nothing(index_elements=[bulk_recipient.c.name]))
        found = await tx.scalar(known)
    return UUID(str(found))


async def key_of(tx: Tx, sealer: Sealer, recipient_id: UUID) -> bytes:
    """The key of a recipient."""
    sealed = await tx.scalar(select(bulk_recipient.c.key_sealed).where(bulk_recipient.c.id == recipient_id))
    return sealer.open(bytes(sealed), _context(recipient_id))


def padded(key: bytes) -> tuple[str, str]:
    """The inner and outer key as HMAC-SHA256 uses them, hexadecimal: SQL has SHA-256 and nothing more."""
    block = key.ljust(BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block).hex(), bytes(byte ^ 0x5C for byte in block).hex()


def pseudonym(key: bytes, row_id: UUID, *, type_name: str = TYPE) -> str:
    """What SQL writes for this id."""
    return hmac.new(key, f"{type_name}:{row_id}".encode(), hashlib.sha256).hexdigest()[:PSEUDONYM_CHARACTERS]


def _context(recipient_id: UUID) -> str:
    return f"bulk-recipient:{recipient_id}"
