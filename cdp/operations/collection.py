"""Collection: the customer a write is about, locked, and the row that says where its values come from.

Every personal row points to a ``collection``: point, source, time, policy version and brand (promise P4). Writes of one
customer wait for each other on the customer's row, so that "is it frozen", "is there one already" and "which is newest"
are asked and answered without a race.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from sqlalchemy import insert, select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, NotFound
from cdp.core.ids import CustomerId, new_id
from cdp.operations import reference
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.policy import CollectionPoint, collection


class CustomerFrozen(Conflict):
    """Nothing can be changed while a deletion is under way; undo it first."""

    code = "CUSTOMER_FROZEN"


class StaleVersion(Conflict):
    """Somebody changed this since you read it; read it again."""

    code = "STALE_VERSION"


class Origin(TypedDict):
    """The three columns of every personal row."""

    customer_id: CustomerId
    origin_identity_id: UUID | None
    collection_id: UUID


@dataclass(frozen=True)
class Subject:
    """The customer a write is about; its row is locked until the transaction ends."""

    customer_id: CustomerId
    audit_ref: UUID
    origin_identity_id: UUID | None
    brand_id: UUID
    version: int
    country: str | None


async def lock(tx: Tx, viewer: Viewer) -> Subject:
    """Lock the viewer's customer row for a change. Raises NotFound, and CustomerFrozen while an erasure is open."""
    found = await tx.first(
        select(
            customer.c.id,
            customer.c.audit_ref,
            customer.c.origin_identity_id,
            customer.c.brand_id,
            customer.c.version,
            customer.c.country,
            customer.c.status,
        )
        .where(customer.c.id == viewer.subject)
        .with_for_update()
    )
    if found is None:
        raise NotFound
    if found.status is not CustomerStatus.ACTIVE:
        raise CustomerFrozen
    return Subject(
        CustomerId(found.id), found.audit_ref, found.origin_identity_id, found.brand_id, found.version, found.country
    )


async def collect(
    tx: Tx, viewer: Viewer, subject: Subject, *, now: datetime, point: CollectionPoint | None = None
) -> Origin:
    """Write the collection row of what the viewer is about to enter; answers what each new row carries."""
    in_force = await reference.current(tx, now)
    collection_id = new_id()
    by_staff = viewer.actor is Actor.STAFF
    await tx.execute(
        insert(collection).values(
            id=collection_id,
            customer_id=subject.customer_id,
            origin_identity_id=subject.origin_identity_id,
            point=point or (CollectionPoint.AGENT if by_staff else CollectionPoint.ACCOUNT_PAGE),
            source=f"client:{viewer.client_id}" if viewer.client_id else "account page",
            collected_at=now,
            policy_version_id=in_force.policy_version_id,
            brand_id=subject.brand_id,
        )
    )
    return Origin(
        customer_id=subject.customer_id,
        origin_identity_id=subject.origin_identity_id,
        collection_id=collection_id,
    )


def check_version(current: int, expected: int | None) -> None:
    """Refuse a change of something that is no longer what its writer read. Raises StaleVersion."""
    if expected is not None and expected != current:
        raise StaleVersion(currentVersion=current)
