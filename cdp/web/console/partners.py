"""Partners: what each may see, what waits for a second or third person, and ending it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, Forbidden, InvalidInput, NotFound, StepUpRequired
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.partners import grants, offers, orders, recalls
from cdp.tables.partner import GrantStatus
from cdp.tables.sharing import OfferStatus, OrderStatus
from cdp.web.visit import Problem, Visit
from cdp.web.words import Said, with_times

HERE = "/console/partners"
GRANT: Mapping[str, Said] = {
    GrantStatus.PROPOSED.name: ("Proposed, two more people", "warn"),
    GrantStatus.ENDORSED.name: ("Endorsed, one more person", "warn"),
    GrantStatus.ACTIVE.name: ("In force", "good"),
    GrantStatus.REFUSED.name: ("Refused", ""),
    GrantStatus.REVOKED.name: ("Revoked", ""),
    GrantStatus.EXPIRED.name: ("Over", ""),
}
OFFER: Mapping[str, Said] = {
    OfferStatus.PROPOSED.name: ("To be read", "warn"),
    OfferStatus.APPROVED.name: ("Going out", "good"),
    OfferStatus.SENT.name: ("Sent", "good"),
    OfferStatus.STOPPED.name: ("Stopped: the grant ended", "warn"),
    OfferStatus.REFUSED.name: ("Refused", ""),
}
ORDER: Mapping[str, Said] = {
    OrderStatus.PROPOSED.name: ("Recorded, two more people", "warn"),
    OrderStatus.ENDORSED.name: ("Endorsed, one more person", "warn"),
    OrderStatus.APPROVED.name: ("Approved", "good"),
    OrderStatus.DISCLOSED.name: ("Followed", "good"),
    OrderStatus.REFUSED.name: ("Refused", ""),
}
KINDS: Mapping[str, str] = {
    "grant": "PartnerGrant",
    "offer": "PartnerOffer",
    "order": "LegalOrder",
    "recall": "PartnerRecall",
}


async def show(visit: Visit) -> Response:
    """Every partner, offer and order."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Agree, refuse, revoke or note an answer: what of which kind is in the address, which one in the form."""
    kind, what = str(visit.request.path_params["kind"]), str(visit.request.path_params["what"])
    if kind not in KINDS:
        raise NotFound
    try:
        wanted = parse_global_id(visit.field("id"), expected=KINDS[kind])[1]
    except InvalidGlobalId as error:
        raise NotFound from error
    platform, viewer = visit.platform, visit.viewer
    try:
        async with (
            audit.refusing(platform.db, viewer, f"partner.{what}"),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await _decide(tx, visit, (kind, what), wanted)
    except StepUpRequired:
        raise
    except (Conflict, InvalidInput, Forbidden) as error:
        return await _page(visit, [Problem("", error.message)], status=max(422, error.status))
    return visit.redirect(HERE)


async def _decide(tx: Tx, visit: Visit, asked: tuple[str, str], wanted: UUID) -> None:
    platform, viewer, reason = visit.platform, visit.viewer, visit.field("reason")
    match asked:
        case ("grant", "agree"):
            await grants.agree(tx, viewer, platform, wanted)
        case ("grant", "refuse"):
            await grants.refuse(tx, viewer, platform, wanted, reason=reason)
        case ("grant", "revoke"):
            await grants.revoke(tx, viewer, platform, wanted, reason=reason)
        case ("offer", "agree"):
            await offers.approve(tx, viewer, platform, wanted)
        case ("offer", "refuse"):
            await offers.refuse(tx, viewer, platform, wanted)
        case ("order", "agree"):
            await orders.agree(tx, viewer, platform, wanted)
        case ("order", "refuse"):
            await orders.refuse(tx, viewer, platform, wanted, reason=reason)
        case ("recall", "answer"):
            await recalls.acknowledge(tx, viewer, platform, wanted, note=reason or None)
        case _:
            raise NotFound


async def _page(visit: Visit, problems: list[Problem], *, status: int | None = None) -> Response:
    found: dict[str, Any] = with_times(await visit.read("console/partners.graphql"))
    return visit.page(
        "console/partners.html",
        title="Partners",
        problems=problems,
        status=status,
        partners=found["partners"],
        offers=found["partnerOffers"],
        orders=found["legalOrders"]["nodes"],
        said={"grant": GRANT, "offer": OFFER, "order": ORDER},
        mine=str(visit.viewer.staff_id),
    )
