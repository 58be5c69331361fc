"""The suppression list: keyed hashes of identifiers that no source and no import may bring back.

It stops sources, not people: whoever registers again and proves the address lifts it. Keys are versioned and never
retired, so a lookup tries them all. Somebody else's identifier is never suppressed: an address that another customer
holds too stays out of the list.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from cdp.connectors.base import Identifier
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.seal import KeyedHash, Pepper
from cdp.tables.certificate import suppression
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import IdentityType, identity

STRONG = (IdentityType.EMAIL, IdentityType.PHONE)


@dataclass(frozen=True)
class Entry:
    """One line of the list."""

    type: str
    hash: KeyedHash


def entries(pepper: Pepper, identifiers: Iterable[Identifier]) -> list[Entry]:
    """The lines of a person: their strong identifiers, hashed with the newest key."""
    strong = {(known.type, known.value) for known in identifiers if known.type in STRONG}
    return [Entry(kind, pepper.hash(kind, value)) for kind, value in sorted(strong)]


async def unshared(tx: Tx, customer_id: CustomerId, identifiers: Iterable[Identifier]) -> list[Identifier]:
    """The strong identifiers that no other customer holds."""
    strong = [known for known in identifiers if known.type in STRONG]
    values = [known.value for known in strong]
    emails = select(email_address.c.normalized).where(
        email_address.c.normalized.in_(values), email_address.c.customer_id != customer_id
    )
    phones = select(phone_number.c.e164).where(
        phone_number.c.e164.in_(values), phone_number.c.customer_id != customer_id
    )
    others = select(identity.c.value).where(
        identity.c.type.in_(STRONG),
        identity.c.issuer == "",
        identity.c.value.in_(values),
        identity.c.customer_id != customer_id,
    )
    shared = {row[0] for row in await tx.all(emails.union(phones, others))}
    return [known for known in strong if known.value not in shared]


async def suppress(tx: Tx, request_id: RequestId, lines: Iterable[Entry]) -> int:
    """Put a request's lines on the list, once however often it is called; returns how many are new."""
    there = select(suppression.c.value_hash).where(suppression.c.request_id == request_id)
    known = {bytes(row.value_hash) for row in await tx.all(there)}
    rows = [
        {
            "id": new_id(),
            "identity_type": line.type,
            "value_hash": line.hash.value,
            "key_version": line.hash.key_version,
            "request_id": request_id,
        }
        for line in lines
        if line.hash.value not in known
    ]
    if rows:
        await tx.execute(insert(suppression), rows)
    return len(rows)


async def is_suppressed(tx: Tx, pepper: Pepper, identity_type: str, value: str) -> bool:
    """Whether a normalised identifier is on the list and not lifted."""
    hashes = [known.value for known in pepper.hashes(identity_type, value)]
    found = select(suppression.c.id).where(suppression.c.value_hash.in_(hashes), suppression.c.lifted_at.is_(None))
    return await tx.scalar(found.limit(1)) is not None


async def lift(tx: Tx, pepper: Pepper, identity_type: str, value: str, *, now: datetime) -> int:
    """End the suppression of an identifier that its owner has proven; answers how many lines it ended."""
    hashes = [known.value for known in pepper.hashes(identity_type, value)]
    lifted = await tx.execute(
        update(suppression)
        .where(suppression.c.value_hash.in_(hashes), suppression.c.lifted_at.is_(None))
        .values(lifted_at=now)
    )
    return lifted.rowcount
