"""Ask for a copy of everything, and the copies there are."""

from starlette.responses import Response

from cdp.operations import requests
from cdp.web.reading import read
from cdp.web.visit import Visit
from cdp.web.words import parsed_times


async def show(visit: Visit) -> Response:
    """What a copy holds, a button, and earlier copies."""
    customer = (await read(visit, "account/download"))["viewer"]["customer"]
    packages = parsed_times(customer["exports"]["nodes"])
    days = visit.platform.settings.export_ttl.days
    return visit.page("account/download.html", title="Download your data", packages=packages, days=days)


async def submit(visit: Visit) -> Response:
    """Open the request, or join the one under way."""
    viewer, platform = visit.viewer, visit.platform
    async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
        opened = await requests.open_export(tx, viewer, platform)
    return visit.redirect(f"/account/downloads/{opened.reference}")
