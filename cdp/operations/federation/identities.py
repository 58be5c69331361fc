"""Links between people here and their identities at a provider, and the session somebody linked gets."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, insert, select, update

from cdp.access.viewer import Actor
from cdp.core.db import Tx
from cdp.core.errors import Conflict
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.accounts import entrance, sessions
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sessions import Person
from cdp.operations.constraints import refusing
from cdp.operations.federation.arrival import Arrival
from cdp.tables.federation import external_identity

PROOF = "federation.id_token"


class IdentityTaken(Conflict):
    """This sign-in belongs to another account already."""

    code = "EXTERNAL_IDENTITY_TAKEN"


TAKEN: Mapping[str, type[IdentityTaken]] = {
    "external_identity_customer_key": IdentityTaken,
    "external_identity_staff_key": IdentityTaken,
}


async def find(tx: Tx, actor: Actor, arrival: Arrival) -> Row[tuple[object, ...]] | None:
    """The link of an identity in a realm. Locks it."""
    return await tx.first(_of(actor, arrival).with_for_update())


def _of(actor: Actor, arrival: Arrival) -> Select[tuple[object, ...]]:
    in_realm: ColumnElement[bool] = (
        external_identity.c.staff_id if actor is Actor.STAFF else external_identity.c.customer_id
    ).is_not(None)
    return select(external_identity).where(
        external_identity.c.issuer == arrival.issuer, external_identity.c.subject == arrival.subject, in_realm
    )


async def link(tx: Tx, platform: Platform, owner: Owner, arrival: Arrival) -> None:
    """Record that this identity is this person. Raises IdentityTaken."""
    identity_id, now = new_id(), platform.clock()
    with refusing(TAKEN):
        await tx.execute(
            insert(external_identity).values(
                id=identity_id,
                **owner.columns,
                issuer=arrival.issuer,
                subject=arrival.subject,
                created_at=now,
                last_sign_in_at=now,
            )
        )
    await audit.record(
        tx,
        owner.viewer,
        "identity.linked",
        subject_ref=await owner.audit_ref(tx),
        object_type="ExternalIdentity",
        object_id=identity_id,
        details={"issuer": arrival.issuer},
    )


async def admit(tx: Tx, platform: Platform, person: Person, visitor: Visitor, arrival: Arrival) -> SignedIn:
    """Open the session of somebody linked: as old as their sign-in at the provider."""
    done = await entrance.enter(tx, platform, person, visitor, amr=arrival.amr)
    sealed = platform.sealer.seal(arrival.id_token.encode(), PROOF) if arrival.id_token else None
    await sessions.attribute(tx, done.session_token, authenticated_at=arrival.signed_in_at, id_token_sealed=sealed)
    return done


async def note_sign_in(tx: Tx, platform: Platform, identity_id: UUID) -> None:
    """Remember when an identity was last used."""
    mine = update(external_identity).where(external_identity.c.id == identity_id)
    await tx.execute(mine.values(last_sign_in_at=platform.clock()))
