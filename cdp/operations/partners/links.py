"""Links of customers: whoever has one reads some areas of the profile, for one purpose, until it expires.

Only the hash of what opens it is kept. Every opening counts, and stands in the customer's log of disclosures before
anything is read.
Source: GDPR art. 12(2) and 15; promise P10 of the privacy policy.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, insert, literal, select, update

from cdp.access.authorization_types import AREAS
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import Forbidden, InvalidInput, NotFound
from cdp.core.ids import CustomerId, new_id, new_token
from cdp.core.platform import Platform
from cdp.operations import audit, collection, values
from cdp.operations.audit.events import request_id
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.partner import disclosure
from cdp.tables.policy import LegalBasis
from cdp.tables.sharing import shared_link

SCOPE = "privacy:export"
OBJECT = "SharedLink"
# How somebody gets in is nobody's to share.
SHAREABLE_AREAS = frozenset(AREAS) - {"signing_in"}
LONGEST_HOURS = 30 * 24
MOST_USES = 50
LONGEST_PURPOSE = 60
CLIENT = "shared-link"


class LinkInvalid(InvalidInput):
    """A link names areas of the profile, at least one, and lives between one hour and thirty days."""

    code = "LINK_INVALID"


class LinkGone(NotFound):
    """This link does not open anything, or no more."""

    code = "LINK_GONE"


class NotYoursToShare(Forbidden):
    """Only customers themselves let others read."""

    code = "NOT_YOURS_TO_SHARE"


@dataclass(frozen=True)
class NewLink:
    """What to share, with whom, and why, in the customer's own words."""

    recipient: str = field(repr=False)
    purpose: str = field(repr=False)
    areas: frozenset[str]
    hours: int


@dataclass(frozen=True)
class Opened:
    """An opened link: as whom its page reads, and what it is for."""

    viewer: Viewer
    recipient: str = field(repr=False)
    purpose: str = field(repr=False)
    areas: frozenset[str]


async def make(tx: Tx, viewer: Viewer, platform: Platform, wanted: NewLink) -> tuple[UUID, str]:
    """Make a link of the viewer's own; returns its id and what opens it, which is shown once.

    Raises MissingScope, NotYoursToShare, StepUpRequired, LinkInvalid, CustomerFrozen, InvalidText.
    """
    _require(viewer)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    if not wanted.areas or not wanted.areas <= SHAREABLE_AREAS or not 1 <= wanted.hours <= LONGEST_HOURS:
        raise LinkInvalid
    await collection.lock(tx, viewer)
    link_id, token = new_id(), new_token()
    await tx.execute(
        insert(shared_link).values(
            id=link_id,
            customer_id=viewer.subject,
            token_hash=digest(token),
            recipient=values.text(wanted.recipient, "recipient", longest=200),
            purpose=values.text(wanted.purpose, "purpose", longest=LONGEST_PURPOSE),
            areas=sorted(wanted.areas),
            expires_at=platform.clock() + timedelta(hours=wanted.hours),
        )
    )
    await _note(tx, viewer, "shared_link.made", link_id, viewer.subject)
    return link_id, token


async def revoke(tx: Tx, viewer: Viewer, link_id: UUID) -> None:
    """Take a link back. Raises MissingScope, NotYoursToShare, NotFound for one that is not the viewer's or is over."""
    _require(viewer)
    ended = await tx.execute(
        update(shared_link)
        .where(
            shared_link.c.id == link_id,
            shared_link.c.customer_id == viewer.subject,
            shared_link.c.revoked_at.is_(None),
        )
        .values(revoked_at=func.now())
    )
    if ended.rowcount != 1:
        raise NotFound
    await _note(tx, viewer, "shared_link.revoked", link_id, viewer.subject)


async def open_link(tx: Tx, token: str) -> Opened:
    """Open a link, and note the disclosure; what it shows is read afterwards. Raises LinkGone."""
    active = select(customer.c.id).where(customer.c.status == CustomerStatus.ACTIVE)
    row = await tx.first(
        update(shared_link)
        .where(
            shared_link.c.token_hash == digest(token),
            shared_link.c.revoked_at.is_(None),
            shared_link.c.expires_at > func.now(),
            shared_link.c.use_count < MOST_USES,
            shared_link.c.customer_id.in_(active),
        )
        .values(use_count=shared_link.c.use_count + 1, last_used_at=func.now())
        .returning(shared_link)
    )
    if row is None:
        raise LinkGone
    areas = frozenset(row.areas)
    edges = sorted(f"Customer.{edge}" for area in areas for edge in AREAS[area].edges)
    await tx.execute(
        insert(disclosure).values(
            id=new_id(),
            customer_id=row.customer_id,
            link_id=row.id,
            recipient=row.recipient,
            purpose=row.purpose,
            legal_basis=LegalBasis.CONSENT.value,
            fields=["Customer.displayName", *edges],
            request=literal(request_id()),
        )
    )
    viewer = Viewer(
        Actor.CUSTOMER,
        customer_id=CustomerId(row.customer_id),
        scopes=frozenset({"profile:read"}),
        client_id=CLIENT,
        areas=areas,
    )
    await _note(tx, viewer, "shared_link.opened", row.id, row.customer_id)
    return Opened(viewer, row.recipient, row.purpose, areas)


async def is_live(tx: Tx, token: str) -> bool:
    """Whether a link would open; nothing is noted."""
    live = select(shared_link.c.id).where(
        shared_link.c.token_hash == digest(token),
        shared_link.c.revoked_at.is_(None),
        shared_link.c.expires_at > func.now(),
        shared_link.c.use_count < MOST_USES,
    )
    return await tx.scalar(live) is not None


def _require(viewer: Viewer) -> None:
    viewer.require_scope(SCOPE)
    if viewer.actor is not Actor.CUSTOMER or viewer.acting_staff_id is not None:
        raise NotYoursToShare


def digest(token: str) -> bytes:
    """How what opens a link is stored."""
    return hashlib.sha256(token.encode()).digest()


async def _note(tx: Tx, viewer: Viewer, action: str, link_id: UUID, customer_id: UUID) -> None:
    subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == customer_id))
    await audit.record(tx, viewer, action, subject_ref=subject_ref, object_type=OBJECT, object_id=link_id)
