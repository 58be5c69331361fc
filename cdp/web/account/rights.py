"""The rights that are neither a copy nor a deletion: what they are, and where each begins (GDPR art. 16, 18, 21)."""

from starlette.responses import Response

from cdp.core.errors import Conflict, InvalidInput
from cdp.operations.reference import PURPOSES
from cdp.operations.requests import objections, restrictions
from cdp.operations.requests.objections import MARKETING
from cdp.tables.policy import LegalBasis
from cdp.web.visit import Problem, Visit

PATH = "/account/rights"
RESTRICT = f"{PATH}/restrict"
OBJECT = f"{PATH}/object"
LONGEST_REASON = 2000
OBJECTABLE = tuple(one for one in PURPOSES if one.code in MARKETING or one.basis is LegalBasis.LEGITIMATE_INTEREST)


async def show(visit: Visit) -> Response:
    """Every right with its own way in."""
    return visit.page("account/rights.html", title="Your rights")


async def show_restriction(visit: Visit) -> Response:
    """What a restriction means, and the button."""
    return visit.page("account/restrict.html", title="Restrict the use of your data")


async def submit_restriction(visit: Visit) -> Response:
    """Restrict at once, or join the restriction in force."""
    viewer, platform = visit.viewer, visit.platform
    async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
        opened = await restrictions.restrict(tx, viewer, platform, reason=_reason(visit))
    return visit.redirect(f"/account/requests/{opened.reference}")


async def show_objection(visit: Visit) -> Response:
    """What can be objected to."""
    return _objection(visit, [])


async def submit_objection(visit: Visit) -> Response:
    """Object to what was ticked: direct marketing stops at once, the rest is weighed."""
    viewer, platform = visit.viewer, visit.platform
    wanted = [one for one in visit.form.getlist("purpose") if isinstance(one, str)]
    if not wanted:
        return _objection(visit, [Problem("purpose", "Choose what we should stop.")])
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            opened = await objections.object_to(tx, viewer, platform, wanted, reason=_reason(visit))
    except (InvalidInput, Conflict) as error:
        return _objection(visit, [Problem("purpose", error.message)])
    return visit.redirect(f"/account/requests/{opened.reference}")


def _objection(visit: Visit, problems: list[Problem]) -> Response:
    return visit.page(
        "account/object.html",
        title="Object to the use of your data",
        problems=problems,
        purposes=OBJECTABLE,
        marketing=MARKETING,
        ticked=visit.form.getlist("purpose"),
        reason=visit.field("reason"),
    )


def _reason(visit: Visit) -> str | None:
    return visit.field("reason")[:LONGEST_REASON] or None
