"""Ask for a copy of everything, and the copies there are."""

from starlette.responses import Response

from cdp.operations.collection import CustomerFrozen
from cdp.operations.requests import requests
from cdp.tables.customer import CustomerStatus
from cdp.tables.export import ExportStatus
from cdp.web.visit import Problem, Visit
from cdp.web.words import EXPORT_STATUS, with_times

PATH = "/account/download"


async def show(visit: Visit) -> Response:
    """What a copy holds, a button, and earlier copies."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Open the request, or join the one under way."""
    viewer, platform = visit.viewer, visit.platform
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            opened = await requests.open_export(tx, viewer, platform)
    except CustomerFrozen as error:
        return await _page(visit, [Problem("", error.message)])
    return visit.redirect(f"/account/downloads/{opened.reference}")


async def _page(visit: Visit, problems: list[Problem]) -> Response:
    customer = with_times((await visit.read("account/download.graphql"))["viewer"]["customer"])
    copies = [(row, EXPORT_STATUS[ExportStatus[row["status"]]]) for row in customer["exports"]["nodes"]]
    return visit.page(
        "account/download.html",
        title="Download your data",
        problems=problems,
        copies=copies,
        ready=ExportStatus.READY.name,
        is_frozen=customer["status"] == CustomerStatus.FROZEN.name,
        days=visit.platform.settings.export_ttl.days,
        again=None if visit.is_fresh else visit.sign_in_again(PATH),
    )
