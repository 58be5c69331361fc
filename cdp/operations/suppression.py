"""The suppression list: keyed hashes of identifiers that no source and no import may bring back.

It stops sources, not people: whoever registers again and proves the address lifts it. Keys are versioned and never
retired, so a lookup tries them all. Somebody else's identifier is never suppressed: an address that another customer
holds too stays out of the list. An id that another system gave is hashed together with that system's name.

Only we can make the hashes, and statements over customers ask too: ``customer.suppression`` says what was found.
Whoever gets a contact, or loses a line of the list, is marked as unchecked, and looked up again within a minute.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, Select, Text, Uuid, any_, bindparam, insert, literal, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Identifier
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId, new_id
from cdp.core.platform import Platform
from cdp.core.seal import KeyedHash, Pepper
from cdp.core.sign import Document, encode
from cdp.operations import audit, journal
from cdp.tables.account import account
from cdp.tables.certificate import suppression
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import CustomerSuppression, IdentityType, customer, identity

# Who registered here has a user name under this issuer; it is the same name as without one.
_OURS = frozenset({"", "account"})


@dataclass(frozen=True)
class Entry:
    """One line of the list."""

    type: str
    hash: KeyedHash

    @property
    def document(self) -> Document:
        """The line as the journal keeps it."""
        return {"type": self.type, "keyVersion": self.hash.key_version, "hash": encode(self.hash.value)}


def kind_of(identity_type: str, issuer: str = "") -> str:
    """What a value is hashed with, so that the same number of two systems stays two."""
    return identity_type if issuer in _OURS else f"{identity_type}@{issuer}"


def entries(pepper: Pepper, identifiers: Iterable[Identifier]) -> list[Entry]:
    """The lines of a person: their identifiers, hashed with the newest key."""
    known = {(str(one.type), kind_of(one.type, one.issuer), one.value) for one in identifiers}
    return [Entry(kind, pepper.hash(hashed_as, value)) for kind, hashed_as, value in sorted(known)]


def _holders(column: Column[str] | Column[str | None]) -> Select[Any]:
    known = bindparam("known", type_=ARRAY(Text))
    return select(column.label("value"), column.table.c.customer_id).where(column == any_(known))


_HOLDERS = _holders(email_address.c.normalized).union(
    *map(_holders, (phone_number.c.e164, account.c.username, identity.c.value))
)
_SUPPRESS = insert(suppression)
_OF_REQUESTS = select(suppression.c.request_id, suppression.c.value_hash).where(
    suppression.c.request_id == any_(bindparam("requests", type_=ARRAY(Uuid)))
)


async def unshared(tx: Tx, people: Mapping[CustomerId, Sequence[Identifier]]) -> dict[CustomerId, list[Identifier]]:
    """Those identifiers of each customer that no other customer holds."""
    values = {known.value for identifiers in people.values() for known in identifiers}
    holders: dict[str, set[UUID]] = {}
    for row in await tx.all(_HOLDERS, {"known": sorted(values)}):
        holders.setdefault(row.value, set()).add(row.customer_id)
    return {
        customer_id: [known for known in identifiers if holders.get(known.value, set()) <= {customer_id}]
        for customer_id, identifiers in people.items()
    }


async def suppress(tx: Tx, lines: Mapping[RequestId, Sequence[Entry]]) -> dict[RequestId, int]:
    """Put the lines of requests on the list, once however often it is called; how many of each are new."""
    known: dict[UUID, set[bytes]] = {request_id: set() for request_id in lines}
    for row in await tx.all(_OF_REQUESTS, {"requests": list(lines)}):
        known[row.request_id].add(bytes(row.value_hash))
    rows = [
        {
            "id": new_id(),
            "identity_type": line.type,
            "value_hash": line.hash.value,
            "key_version": line.hash.key_version,
            "request_id": request_id,
        }
        for request_id, wanted in lines.items()
        for line in wanted
        if line.hash.value not in known[request_id]
    ]
    if rows:
        await tx.execute(_SUPPRESS, rows)
    new = Counter(row["request_id"] for row in rows)
    return {request_id: new[request_id] for request_id in lines}


async def is_suppressed(tx: Tx, pepper: Pepper, identity_type: str, value: str, *, issuer: str = "") -> bool:
    """Whether a normalised identifier is on the list and not lifted."""
    hashes = [known.value for known in pepper.hashes(kind_of(identity_type, issuer), value)]
    found = select(suppression.c.id).where(suppression.c.value_hash.in_(hashes), suppression.c.lifted_at.is_(None))
    return await tx.scalar(found.limit(1)) is not None


async def doubt(tx: Tx, customer_id: CustomerId, *, only_marked: bool = False) -> None:
    """Have a customer looked up again, or only one who is marked; until then they are shown to no partner."""
    mine = update(customer).where(customer.c.id == customer_id)
    if only_marked:
        mine = mine.where(customer.c.suppression.is_not(None))
    await tx.execute(mine.values(suppression=CustomerSuppression.UNCHECKED))


async def doubt_holders(tx: Tx, values: Iterable[str]) -> None:
    """Have everybody looked up again who has one of these addresses or numbers."""
    given = list(values)
    emails = select(email_address.c.customer_id).where(email_address.c.normalized.in_(given))
    phones = select(phone_number.c.customer_id).where(phone_number.c.e164.in_(given))
    holders = update(customer).where(customer.c.id.in_(emails.union_all(phones)))
    await tx.execute(holders.values(suppression=CustomerSuppression.UNCHECKED))


async def look_up(tx: Tx, pepper: Pepper, *, limit: int, whom: CustomerId | None = None) -> int:
    """Look up customers who are marked as unchecked, or one of them, and say what was found; answers how many.

    Not in the transaction that marks somebody: whoever puts an address on the list meanwhile would not see its holder.
    """
    unchecked = customer.c.suppression == CustomerSuppression.UNCHECKED
    taken = select(customer.c.id).where(unchecked).limit(limit).with_for_update(skip_locked=True)
    if whom is not None:
        taken = taken.where(customer.c.id == whom)
    people = [row.id for row in await tx.all(taken)]
    if not people:
        return 0
    listed = await _listed(tx, pepper, people)
    for found, value in ((listed, CustomerSuppression.LISTED), (set(people) - listed, None)):
        await tx.execute(update(customer).where(customer.c.id.in_(found), unchecked).values(suppression=value))
    for row in await tx.all(select(customer.c.audit_ref).where(customer.c.id.in_(listed))):
        await audit.record(tx, SYSTEM, "suppression.noticed", subject_ref=row.audit_ref)
    return len(people)


async def _listed(tx: Tx, pepper: Pepper, people: Sequence[UUID]) -> set[UUID]:
    """Who of these has an address or a number on the list."""
    email, phone = email_address.c, phone_number.c
    emails = select(email.customer_id, literal(IdentityType.EMAIL.value).label("kind"), email.normalized.label("value"))
    phones = select(phone.customer_id, literal(IdentityType.PHONE.value), phone.e164)
    theirs = emails.where(email.customer_id.in_(people)).union_all(
        phones.where(phone.customer_id.in_(people), phone.e164.is_not(None))
    )
    hashes: dict[bytes, set[UUID]] = {}
    for row in await tx.all(theirs):
        for known in pepper.hashes(row.kind, row.value):
            hashes.setdefault(known.value, set()).add(row.customer_id)
    found = select(suppression.c.value_hash).where(
        suppression.c.value_hash.in_(list(hashes)), suppression.c.lifted_at.is_(None)
    )
    return {holder for line in await tx.all(found) for holder in hashes[bytes(line.value_hash)]}


async def lift(tx: Tx, platform: Platform, identity_type: str, value: str, *, now: datetime) -> int:
    """End the suppression of an identifier that its owner has proven; answers how many lines it ended.

    Who signs in by it is let in by that name too. The journal keeps it, so that a restore does not undo it.
    """
    kinds = {identity_type, IdentityType.USERNAME.value}
    hashes = [(kind, known) for kind in sorted(kinds) for known in platform.pepper.hashes(kind_of(kind), value)]
    ended = await end(tx, [known.value for _, known in hashes], now=now)
    if ended:
        await doubt_holders(tx, [value])
        await journal.append_lift(tx, platform, [Entry(kind, known).document for kind, known in hashes])
    return ended


async def end(tx: Tx, hashes: Sequence[bytes], *, now: datetime) -> int:
    """End the suppression of these hashes; answers how many lines it ended."""
    lifted = await tx.execute(
        update(suppression)
        .where(suppression.c.value_hash.in_(hashes), suppression.c.lifted_at.is_(None))
        .values(lifted_at=now)
    )
    return lifted.rowcount
