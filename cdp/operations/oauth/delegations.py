"""A member of staff acts for a customer: for a reason, in a case, for a few minutes (RFC 8693, delegation).

The grant is the customer's, so that it ends with everything of theirs, and names who acts. How fresh and how strong the
sign-in is, which values are masked: all of that is the agent's. The log knows both.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select

from cdp.access.delegation import lendable
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Forbidden, InvalidInput, PlatformError
from cdp.core.ids import CustomerId, new_id, parse_global_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.audit import Note
from cdp.operations.oauth.clients import OAuthClient, UnknownScope
from cdp.operations.oauth.grants import Grant
from cdp.operations.oauth.tokens import AccessToken
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.oauth import oauth_grant

LONGEST_REASON = 500
LONGEST_CASE = 100


class DelegationForbidden(Forbidden):
    """You may not act for customers, or not through this app."""

    code = "DELEGATION_FORBIDDEN"


class CustomerNotServed(InvalidInput):
    """Nobody can act for this customer: there is no such customer, or their data is restricted or being erased."""

    code = "CUSTOMER_NOT_SERVED"


@dataclass(frozen=True)
class Wanted:
    """What an agent asks for; ``customer`` is a global id, ``scope`` may be empty for all that is possible."""

    customer: str
    scope: str
    reason: str = field(repr=False)
    case_reference: str


async def open(  # noqa: A001
    tx: Tx, platform: Platform, client: OAuthClient, agent: AccessToken, wanted: Wanted
) -> Grant:
    """Open a grant of the customer's in which the agent acts. Locks the customer row.

    Raises DelegationForbidden, StepUpRequired, UnknownScope, CustomerNotServed, InvalidText, InvalidGlobalId.
    """
    viewer, possible = agent.viewer, lendable(agent.viewer) & set(client.scopes)
    if not possible or agent.client_id != client.client_id:
        raise DelegationForbidden
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    asked = set(wanted.scope.split()) or possible
    if strange := asked - possible:
        raise UnknownScope(scopes=sorted(strange))
    reason = values.text(wanted.reason, "reason", longest=LONGEST_REASON)
    case = values.text(wanted.case_reference, "case_ref", longest=LONGEST_CASE)
    _, row_id = parse_global_id(wanted.customer, expected="Customer")
    audit_ref = await _served(tx, row_id)
    assert viewer.authenticated_at is not None, "require_fresh would have refused"
    grant = Grant(
        id=new_id(),
        client_id=client.client_id,
        scope=" ".join(sorted(asked)),
        authenticated_at=viewer.authenticated_at,
        customer_id=CustomerId(row_id),
        session_id=viewer.session_id,
        amr=viewer.amr,
        acting_staff_id=viewer.staff_id,
    )
    await _write(tx, client, grant, reason=reason, case=case, now=platform.clock())
    await audit.record(
        tx,
        viewer,
        "delegation.opened",
        subject_ref=audit_ref,
        object_type="OAuthGrant",
        object_id=grant.id,
        details={"scopes": sorted(asked)},
        note=Note(CustomerId(row_id), f"{case}: {reason}"),
    )
    return grant


async def _served(tx: Tx, customer_id: UUID) -> UUID:
    found = select(customer.c.audit_ref).where(
        customer.c.id == customer_id,
        customer.c.status == CustomerStatus.ACTIVE,
        customer.c.restricted_at.is_(None),
    )
    audit_ref: UUID | None = await tx.scalar(found.with_for_update())
    if audit_ref is None:
        raise CustomerNotServed
    return audit_ref


async def _write(tx: Tx, client: OAuthClient, grant: Grant, *, reason: str, case: str, now: datetime) -> None:
    await tx.execute(
        insert(oauth_grant).values(
            id=grant.id,
            customer_id=grant.customer_id,
            acting_staff_id=grant.acting_staff_id,
            client_id=client.id,
            session_id=grant.session_id,
            scope=grant.scope,
            authenticated_at=grant.authenticated_at,
            amr=list(grant.amr),
            created_at=now,
            reason=reason,
            case_reference=case,
        )
    )


async def record_refusal(tx: Tx, viewer: Viewer, wanted: Wanted, refusal: PlatformError) -> None:
    """Note that somebody who asked was refused, and about whom if there is such a customer."""
    try:
        _, row_id = parse_global_id(wanted.customer, expected="Customer")
        audit_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == row_id))
    except InvalidInput:
        audit_ref = None
    about = audit_ref if viewer.actor is Actor.STAFF else None
    await audit.record(tx, viewer, "delegation.opened", subject_ref=about, outcome="refused", code=refusal.code)
