"""Offers of partners, sent by us to customers who agreed: the partner learns how many, and never who (promise P9).

A partner's program proposes one under a grant that lets it offer; somebody here reads and approves it. It is sent in
batches by customer id, each in one transaction with how far it got, so that a killed worker neither skips nor repeats.
Sources: GDPR art. 6(1)(a), 7, 21(2).
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Select, Text, Uuid, any_, false, func, insert, literal, select, update

from cdp.access import departures
from cdp.access.sharing import OFFER_SCOPE
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.access.withholding import covered, lives, withheld
from cdp.core.db import Tx
from cdp.core.errors import Conflict, Forbidden, NotFound
from cdp.core.ids import new_id
from cdp.core.platform import Platform
from cdp.operations import audit, values
from cdp.operations.partners.partners import require
from cdp.operations.suppression import kind_of
from cdp.tables.certificate import suppression
from cdp.tables.consent import Channel, ConsentAction, consent
from cdp.tables.contact import email_address
from cdp.tables.customer import IdentityType, customer
from cdp.tables.message import message
from cdp.tables.partner import GrantAction, partner, partner_grant
from cdp.tables.sharing import OFFER_TRANSITIONS, OfferStatus, partner_offer

OBJECT = "PartnerOffer"
TEMPLATE = "partner_offer"
BATCH = 500
FOOT = (
    "\n\n--\n{sender} asked us to send you this, and does not know who you are. You get it because you agreed to "
    "promotions;\nyou can withdraw that at any time under Preferences in your account.\n"
)


class OfferNotCovered(Forbidden):
    """The grant does not let this partner have offers sent for this purpose."""

    code = "OFFER_NOT_COVERED"


class OfferNotOpen(Conflict):
    """This offer does not wait for that."""

    code = "OFFER_NOT_OPEN"


async def propose(tx: Tx, viewer: Viewer, *, subject: str, body: str) -> UUID:
    """Propose an offer as a partner's program, for the purpose of its token. Returns its id.

    Raises MissingScope, OfferNotCovered, InvalidText.
    """
    viewer.require_scope(OFFER_SCOPE)
    if viewer.actor is not Actor.CLIENT or viewer.sharing is None:
        raise OfferNotCovered
    grant_id = viewer.sharing.grant_id
    offering = select(partner_grant.c.id).where(
        partner_grant.c.id == grant_id,
        literal(GrantAction.OFFER.value) == any_(partner_grant.c.actions),
        lives(literal(grant_id, Uuid())),
    )
    if await tx.scalar(offering) is None:
        raise OfferNotCovered
    offer_id = new_id()
    await tx.execute(
        insert(partner_offer).values(
            id=offer_id,
            grant_id=grant_id,
            purpose=viewer.purpose,
            subject=values.text(subject, "subject", longest=200),
            body=values.text(body, "body", longest=5000, lines=True),
        )
    )
    await _note(tx, viewer, "partner_offer.proposed", offer_id)
    return offer_id


async def approve(tx: Tx, viewer: Viewer, platform: Platform, offer_id: UUID) -> None:
    """Let an offer go out. Raises MissingScope, PartnerRoleNeeded, StepUpRequired, NotFound, OfferNotOpen."""
    require(viewer, platform)
    await _decide(tx, viewer, offer_id, OfferStatus.APPROVED, "partner_offer.approved")


async def refuse(tx: Tx, viewer: Viewer, platform: Platform, offer_id: UUID) -> None:
    """Let an offer not go out. Raises like ``approve``."""
    require(viewer, platform)
    await _decide(tx, viewer, offer_id, OfferStatus.REFUSED, "partner_offer.refused")


async def send_due(tx: Tx, platform: Platform) -> int:
    """Send the next batch of one approved offer; returns how many customers it has decided about, 0 when none waits.

    An offer whose grant has ended meanwhile goes no further.
    """
    waiting = (
        select(
            partner_offer,
            partner_grant.c.brands,
            partner_grant.c.countries,
            partner.c.name,
            lives(partner_grant.c.id).label("lives"),
        )
        .select_from(partner_offer.join(partner_grant).join(partner))
        .where(partner_offer.c.status == OfferStatus.APPROVED)
        .order_by(partner_offer.c.id)
        .limit(1)
        .with_for_update(of=partner_offer, skip_locked=True)
    )
    offer = await tx.first(waiting)
    if offer is None:
        return 0
    people = await tx.all(_next(offer)) if offer.lives else []
    if not people:
        new = OfferStatus.SENT if offer.lives else OfferStatus.STOPPED
        done = {"status": new, "completed_at": func.now()}
        await tx.execute(update(partner_offer).where(partner_offer.c.id == offer.id).values(done))
        await _note(tx, SYSTEM, f"partner_offer.{new.value}", offer.id)
        return 0
    refused = await _suppressed(tx, platform, [row.address for row in people if row.address])
    reached = [row for row in people if row.address and not row.is_withheld and row.address not in refused]
    if reached:
        await tx.execute(insert(message), [_message(offer, row) for row in reached])
    moved = {
        "position": people[-1].id,
        "sent_count": partner_offer.c.sent_count + len(reached),
        "withheld_count": partner_offer.c.withheld_count + len(people) - len(reached),
    }
    await tx.execute(update(partner_offer).where(partner_offer.c.id == offer.id).values(moved))
    return len(people)


def _next(offer: Row[Any]) -> Select[tuple[UUID, str | None, bool]]:
    """The next customers the grant covers, by id, with the address to write to and whether they are withheld."""
    purpose = literal(offer.purpose, Text())
    people = covered(
        customer.c,
        brands=literal(offer.brands, ARRAY(Uuid())) if offer.brands else None,
        countries=literal(offer.countries, ARRAY(Text())) if offer.countries else None,
    )
    if offer.position is not None:
        people.append(customer.c.id > offer.position)
    address = (
        select(email_address.c.address)
        .where(
            email_address.c.customer_id == customer.c.id,
            email_address.c.verified_at.is_not(None),
            departures.kept(email_address.c, of_many=True),
        )
        .order_by(email_address.c.is_primary.desc(), email_address.c.id)
        .limit(1)
        .scalar_subquery()
    )
    is_narrowed = bool(offer.brands)
    kept_back = withheld(customer.c, purpose=purpose, needs_consent=True, by_brand=is_narrowed) | ~_by_mail(purpose)
    columns = (customer.c.id, address.label("address"), kept_back.label("is_withheld"))
    return select(*columns).where(*people).order_by(customer.c.id).limit(BATCH)


def _by_mail(purpose: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the newest decision about e-mail, or about any channel, is a yes; none is no."""
    newest = (
        select(consent.c.action)
        .where(
            consent.c.customer_id == customer.c.id,
            consent.c.purpose == purpose,
            consent.c.channel.in_([Channel.EMAIL, Channel.ANY]),
            departures.kept(consent.c, of_many=True),
        )
        .order_by(consent.c.recorded_at.desc(), consent.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(newest == ConsentAction.GIVEN, false())


async def _suppressed(tx: Tx, platform: Platform, addresses: list[str]) -> set[str]:
    kind = kind_of(IdentityType.EMAIL.value)
    hashes = {one.value: known for known in addresses for one in platform.pepper.hashes(kind, known.lower())}
    listed = select(suppression.c.value_hash).where(
        suppression.c.value_hash.in_(list(hashes)), suppression.c.lifted_at.is_(None)
    )
    return {hashes[bytes(row.value_hash)] for row in await tx.all(listed)}


def _message(offer: Row[Any], person: Row[Any]) -> dict[str, object]:
    return {
        "id": new_id(),
        "customer_id": person.id,
        "purpose": offer.purpose,
        "template": TEMPLATE,
        "recipient": person.address,
        "subject": offer.subject,
        "body": offer.body + FOOT.format(sender=offer.name),
    }


async def _decide(tx: Tx, viewer: Viewer, offer_id: UUID, new: OfferStatus, action: str) -> None:
    if await tx.scalar(select(partner_offer.c.id).where(partner_offer.c.id == offer_id)) is None:
        raise NotFound
    before = [old for old, following in OFFER_TRANSITIONS.items() if new in following]
    moved = await tx.execute(
        update(partner_offer)
        .where(partner_offer.c.id == offer_id, partner_offer.c.status.in_(before))
        .values(status=new, decided_by_id=viewer.staff_id, decided_at=func.now())
    )
    if moved.rowcount != 1:
        raise OfferNotOpen
    await _note(tx, viewer, action, offer_id)


async def _note(tx: Tx, viewer: Viewer, action: str, offer_id: UUID) -> None:
    await audit.record(tx, viewer, action, subject_ref=None, object_type=OBJECT, object_id=offer_id)
