"""Customers who come from the provider: found by their link, or registered with their agreement to the policy."""

from uuid import UUID

from sqlalchemy import exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, reference
from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.accounts import PolicyNotAccepted
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sessions import Person
from cdp.operations.collection import Origin
from cdp.operations.constraints import refusing
from cdp.operations.federation import identities
from cdp.operations.federation.arrival import Arrival
from cdp.operations.federation.identities import IdentityTaken
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerKind, CustomerSuppression, IdentityType, customer, identity
from cdp.tables.policy import AcceptanceDecision, CollectionPoint, collection, policy_acceptance

ISSUER = "external"


async def person_of(tx: Tx, customer_id: UUID) -> Person | None:
    """The account of a linked customer."""
    row = await tx.first(
        select(account.c.id, account.c.username, customer.c.audit_ref)
        .join_from(account, customer, customer.c.id == account.c.customer_id)
        .where(account.c.customer_id == customer_id)
    )
    return Person(Actor.CUSTOMER, row.id, row.username, CustomerId(customer_id), row.audit_ref) if row else None


async def owns_address(tx: Tx, arrival: Arrival) -> bool:
    """Whether somebody here has proven the address that the provider has proven too; nothing is said of others."""
    if arrival.email is None or not arrival.is_email_verified:
        return False
    proven = exists().where(
        email_address.c.customer_id == account.c.customer_id,
        email_address.c.normalized == arrival.email.lower(),
        email_address.c.verified_at.is_not(None),
    )
    return await tx.scalar(select(account.c.id).where(proven).limit(1)) is not None


async def register(tx: Tx, platform: Platform, arrival: Arrival, *, accepts_policy: bool) -> Person:
    """Make an account without a password and link it. Raises PolicyNotAccepted, IdentityTaken."""
    if not accepts_policy:
        raise PolicyNotAccepted(field="policy")
    customer_id, account_id, audit_ref = CustomerId(new_id()), new_id(), new_id()
    origin = await _create(tx, platform, customer_id, audit_ref, arrival)
    with refusing({"account_username_key": IdentityTaken}):
        await tx.execute(insert(account).values(id=account_id, **origin, username=arrival.own_name))
    viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id)
    details = {"issuer": arrival.issuer}
    await audit.record(
        tx,
        viewer,
        "account.registered",
        subject_ref=audit_ref,
        object_type="Account",
        object_id=account_id,
        details=details,
    )
    await identities.link(tx, platform, Owner(customer_id), arrival)
    if arrival.email is not None:
        normalized = arrival.email.lower()
        await tx.execute(
            insert(email_address).values(
                id=new_id(), **origin, address=arrival.email, normalized=normalized, is_primary=True
            )
        )
        claim = {"type": IdentityType.EMAIL, "value": normalized}
        await tx.execute(upsert(identity).values(id=new_id(), **origin, **claim).on_conflict_do_nothing())
        if arrival.is_email_verified:
            await email_proofs.prove_address(tx, platform, viewer, normalized)
    return Person(Actor.CUSTOMER, account_id, arrival.own_name, customer_id, audit_ref)


async def _create(tx: Tx, platform: Platform, customer_id: CustomerId, audit_ref: UUID, arrival: Arrival) -> Origin:
    """Customer, collection, identity, agreement; they point at each other, which the database checks at the commit."""
    now = platform.clock()
    in_force = await reference.current(tx, now)
    collection_id, identity_id = new_id(), new_id()
    origin = Origin(customer_id=customer_id, origin_identity_id=identity_id, collection_id=collection_id)
    await tx.execute(
        insert(customer).values(
            id=customer_id,
            kind=CustomerKind.PERSON,
            given_name=arrival.given_name,
            family_name=arrival.family_name,
            suppression=CustomerSuppression.UNCHECKED,
            brand_id=in_force.brand_id,
            audit_ref=audit_ref,
            origin_identity_id=identity_id,
            collection_id=collection_id,
        )
    )
    await tx.execute(
        insert(collection).values(
            id=collection_id,
            customer_id=customer_id,
            origin_identity_id=identity_id,
            point=CollectionPoint.REGISTRATION,
            source="external sign-in",
            collected_at=now,
            policy_version_id=in_force.policy_version_id,
            brand_id=in_force.brand_id,
        )
    )
    own = {"type": IdentityType.USERNAME, "issuer": ISSUER, "value": arrival.own_name}
    with refusing({"identity_type_issuer_value_key": IdentityTaken}):
        await tx.execute(insert(identity).values(id=identity_id, **origin, **own))
    accepted = {"policy_version_id": in_force.policy_version_id, "decision": AcceptanceDecision.ACCEPTED}
    await tx.execute(insert(policy_acceptance).values(id=new_id(), **origin, **accepted, decided_at=now))
    return origin


async def forget_password(tx: Tx, customer_id: CustomerId) -> None:
    """Close the old way in: a password that leaked long ago opens nothing once the provider answers for them."""
    mine = update(account).where(account.c.customer_id == customer_id)
    await tx.execute(mine.values(password_hash=None, version=account.c.version + 1))
