"""Whom a controller's identities mean, among the customers that are its own.

Its own are the customers of its brand. Somebody of whom we also hold rows collected under another brand is another's
customer too: what is asked is refused then, and a person decides. An address counts when it is proven, or was noted of
somebody who never had an account: what people write into their own profile leads nobody to it.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import CompoundSelect, Subquery, exists, or_, select, union_all

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.operations.providers.opendsr.wire import Identity
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import IdentityType, customer, identity
from cdp.tables.policy import collection

BATCH = 5000


@dataclass(frozen=True)
class Found:
    """Who was meant. ``code`` says why nothing can be done about them."""

    customer_id: CustomerId | None = None
    code: str | None = None


async def search(tx: Tx, brand_id: UUID, numbering: str, identities: tuple[Identity, ...]) -> Found:
    """Look for the one customer that a controller's identities mean; as the worker. Hashed ones read them all."""
    people: set[UUID] = set()
    for kind in (IdentityType.EMAIL, IdentityType.CUSTOMER_NUMBER):
        sought = [one for one in identities if one.type is kind and one.sought]
        if not sought or (kind is IdentityType.CUSTOMER_NUMBER and not numbering):
            continue
        own = _own(_numbers(numbering) if kind is IdentityType.CUSTOMER_NUMBER else _addresses(), brand_id)
        for one in sought:
            people |= await _matching(tx, own, one)
    if len(people) > 1:
        return Found(code="IDENTITIES_OF_SEVERAL_PEOPLE")
    if not people:
        return Found()
    customer_id = CustomerId(people.pop())
    others = exists().where(collection.c.customer_id == customer_id, collection.c.brand_id != brand_id)
    if await tx.scalar(select(others)):
        return Found(customer_id, "SHARED_WITH_ANOTHER_CONTROLLER")
    return Found(customer_id)


def _addresses() -> Subquery:
    has_account = exists().where(
        account.c.customer_id == email_address.c.customer_id,
        or_(account.c.password_hash.is_not(None), account.c.last_sign_in_at.is_not(None)),
    )
    contacts = select(email_address.c.customer_id, email_address.c.normalized.label("value")).where(
        or_(email_address.c.verified_at.is_not(None), ~has_account)
    )
    identities = select(identity.c.customer_id, identity.c.value).where(
        identity.c.type == IdentityType.EMAIL, identity.c.issuer == "", identity.c.verified_at.is_not(None)
    )
    both: CompoundSelect[UUID, str] = union_all(contacts, identities)
    return both.subquery("known")


def _numbers(numbering: str) -> Subquery:
    return (
        select(identity.c.customer_id, identity.c.value)
        .where(identity.c.type == IdentityType.CUSTOMER_NUMBER, identity.c.issuer == numbering)
        .subquery("known")
    )


def _own(known: Subquery, brand_id: UUID) -> Subquery:
    mine = select(known.c.customer_id, known.c.value).join(customer, customer.c.id == known.c.customer_id)
    return mine.where(customer.c.brand_id == brand_id).subquery("own")


async def _matching(tx: Tx, own: Subquery, sought: Identity) -> set[UUID]:
    everybody = select(own.c.customer_id, own.c.value)
    if sought.identity_format == "raw":
        return {row.customer_id for row in await tx.all(everybody.where(own.c.value == sought.sought))}
    found: set[UUID] = set()
    rows = await tx.connection.stream(everybody)
    async for batch in rows.partitions(BATCH):
        found |= {row.customer_id for row in batch if sought.fits(row.value)}
    return found
