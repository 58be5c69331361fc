"""Add a partner, and propose what it may see: first its function, then the fields that function lets us grant."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.responses import Response

from cdp.access.sharing import SHAREABLE
from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations import audit
from cdp.operations.partners import grants, partners
from cdp.operations.partners.grants import BasisMismatch, FieldBeyondFunction, GrantIncomplete, Terms
from cdp.operations.partners.partners import NewPartner, PartnerCodeInvalid, PartnerExists, ProgramUnfit
from cdp.tables.partner import GrantAction, PartnerFunction
from cdp.tables.policy import LegalBasis
from cdp.web.console.partners import HERE
from cdp.web.visit import Problem, Visit

ADDING = f"{HERE}/new"
PROPOSING = f"{HERE}/{{id}}/grants/new"
USUAL_DAYS, USUAL_RETENTION_DAYS = 365, 30
FUNCTION: Mapping[PartnerFunction, str] = {
    PartnerFunction.PROMOTIONS: "Promotions",
    PartnerFunction.EMAIL_CONTACT: "Contact by e-mail",
    PartnerFunction.DATA_MANAGEMENT: "Data management",
    PartnerFunction.PAYMENT_PROCESSING: "Card and payment processing",
    PartnerFunction.CUSTOMER_SERVICE: "Customer service",
}
ACTION: Mapping[GrantAction, str] = {
    GrantAction.READ: "Read the fields below",
    GrantAction.OFFER: "Have offers sent by us, without learning to whom",
}
BASIS: Mapping[LegalBasis, str] = {
    LegalBasis.CONSENT: "Consent",
    LegalBasis.CONTRACT: "Contract",
    LegalBasis.LEGAL_OBLIGATION: "Legal obligation",
    LegalBasis.LEGITIMATE_INTEREST: "Legitimate interest",
}
_PLACES: Mapping[type[Exception], str] = {
    PartnerCodeInvalid: "code",
    PartnerExists: "code",
    ProgramUnfit: "client_id",
    FieldBeyondFunction: "fields",
    BasisMismatch: "legal_basis",
    GrantIncomplete: "purposes",
}
_NEW = ("code", "name", "contact", "client_id")
_TYPED = ("legal_basis", "countries", "retention_days", "contract_reference", "valid_from", "valid_until")


async def show_adding(visit: Visit) -> Response:
    """The form to add a partner."""
    partners.require(visit.viewer, visit.platform)
    return _adding(visit, [])


async def add(visit: Visit) -> Response:
    """Add it; it sees nobody."""
    platform, viewer = visit.platform, visit.viewer
    given = {name: visit.field(name) for name in _NEW}
    wanted = NewPartner(given["code"], given["name"], given["contact"], given["client_id"] or None)
    try:
        async with audit.refusing(platform.db, viewer, "partner.added"), platform.db.transaction(Role.WORKER) as tx:
            await partners.add(tx, viewer, platform, wanted)
    except NotFound:
        return _adding(visit, [Problem("client_id", "There is no such program.")])
    except (Conflict, InvalidInput) as error:
        place = str(error.extensions.get("field") or _PLACES.get(type(error), ""))
        return _adding(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(HERE)


def _adding(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    typed = {name: visit.field(name) for name in _NEW}
    return visit.page(
        "console/adding.html", title="Add a partner", problems=problems, status=status, typed=typed, here=ADDING
    )


async def show_proposing(visit: Visit) -> Response:
    """The form to propose a grant, for the function that the address names."""
    partners.require(visit.viewer, visit.platform)
    return await _proposing(visit, [])


async def propose(visit: Visit) -> Response:
    """Propose it; two others agree before it gives anything."""
    platform, viewer = visit.platform, visit.viewer
    try:
        terms = _terms(visit)
        async with (
            audit.refusing(platform.db, viewer, "partner_grant.proposed"),
            platform.db.transaction(Role.WORKER) as tx,
        ):
            await grants.propose(tx, viewer, platform, _id(visit), terms)
    except (Conflict, InvalidInput) as error:
        place = "contract_reference" if error.extensions.get("field") else _PLACES.get(type(error), "")
        return await _proposing(visit, [Problem(place, error.message)], status=max(422, error.status))
    return visit.redirect(HERE)


def _terms(visit: Visit) -> Terms:
    """What was ticked and typed. Raises GrantIncomplete."""
    days = visit.field("retention_days")
    try:
        return Terms(
            PartnerFunction(visit.field("function")),
            _ticked(visit, "purpose"),
            _ticked(visit, "field"),
            LegalBasis(visit.field("legal_basis")),
            _day(visit.field("valid_from")),
            _day(visit.field("valid_until")),
            int(days) if days.isascii() and days.isdigit() and len(days) < 6 else 0,
            visit.field("contract_reference"),
            frozenset(GrantAction(one) for one in _ticked(visit, "action")),
            _ticked(visit, "brand"),
            frozenset(visit.field("countries").upper().replace(",", " ").split()),
        )
    except ValueError as error:
        raise GrantIncomplete from error


def _ticked(visit: Visit, name: str) -> frozenset[str]:
    return frozenset(one for one in visit.form.getlist(name) if isinstance(one, str))


def _day(given: str) -> datetime:
    return datetime.fromisoformat(given).replace(tzinfo=UTC)


def _id(visit: Visit) -> UUID:
    try:
        return parse_global_id(str(visit.request.path_params["id"]), expected="Partner")[1]
    except InvalidGlobalId as error:
        raise NotFound from error


async def _proposing(visit: Visit, problems: Sequence[Problem], *, status: int | None = None) -> Response:
    _id(visit)
    found = await visit.read("console/granting.graphql")
    named = [one for one in found["partners"] if one["id"] == visit.request.path_params["id"]]
    if not named:
        raise NotFound
    chosen = visit.field("function") or visit.request.query_params.get("function", "")
    function = PartnerFunction(chosen) if chosen in set(PartnerFunction) else None
    return visit.page(
        "console/granting.html",
        title=f"Propose a grant for {named[0]['name']}",
        problems=problems,
        status=status,
        here=f"{HERE}/{named[0]['id']}/grants/new",
        functions=FUNCTION,
        function=function,
        said=FUNCTION[function] if function else None,
        fields=sorted(SHAREABLE[function]) if function else [],
        purposes=found["purposes"],
        brands=found["brands"],
        actions=ACTION,
        bases=BASIS,
        typed=_defaults(visit),
        ticked={name: _ticked(visit, name) for name in ("purpose", "field", "action", "brand")},
        longest=grants.LONGEST_RETENTION_DAYS,
    )


def _defaults(visit: Visit) -> Mapping[str, Any]:
    """What was typed, or what is usual: from today for a year."""
    today = visit.now.date()
    usual = {
        "retention_days": str(USUAL_RETENTION_DAYS),
        "valid_from": today.isoformat(),
        "valid_until": (today + timedelta(days=USUAL_DAYS)).isoformat(),
    }
    return {name: visit.field(name) or usual.get(name, "") for name in _TYPED}
