"""The demo's people can sign in where the demo says, also when it runs again."""

from sqlalchemy import select

from cdp.cli.tour.people import COLLEAGUES, PASSWORD, PEOPLE, settle_in
from cdp.core.db import Role
from cdp.core.settings import Settings
from cdp.tables.audit import audit_event
from cdp.tables.staff import staff
from tests.browser import serving, submit, visitor


async def test_everybody_named_can_sign_in(fresh_settings: Settings) -> None:
    async with serving(fresh_settings) as app:
        platform = app.state.platform
        await settle_in(platform)
        await settle_in(platform)
        doors = [(person.email, "/account/sign-in") for person in PEOPLE]
        doors += [(username, "/console/sign-in") for username in COLLEAGUES]
        for username, page in doors:
            async with visitor(app) as browser:
                answer = await submit(browser, page, username=username, password=PASSWORD)
                assert (answer.status_code, answer.headers["location"]) == (303, page.rpartition("/")[0]), username
        async with platform.db.transaction(Role.WORKER) as tx:
            added = select(audit_event.c.object_id).where(audit_event.c.action == "staff.added")
            found = await tx.all(select(staff.c.roles).where(staff.c.id.in_(added)).order_by(staff.c.username))
    assert [tuple(row.roles) for row in found] == [roles for _, roles in COLLEAGUES.values()]
