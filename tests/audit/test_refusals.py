"""What is refused to somebody signed in is in the log, by page as by GraphQL, in a transaction of its own, once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update
from starlette.applications import Starlette

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.errors import Forbidden
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.tables.account import account, session
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from tests.browser import forms, visitor
from tests.site import app, new_customer, new_staff, platform, signed_in

__all__ = ["app", "new_customer", "new_staff", "platform", "signed_in"]
SignedIn = Callable[..., Awaitable[httpx.AsyncClient]]
Named = Callable[..., Awaitable[str]]
Refusal = tuple[str, str | None, dict[str, Any]]


async def refusals(platform: Platform, name: str) -> list[Refusal]:
    """Refused to the customer of this user name, oldest first."""
    mine = select(customer.c.audit_ref).join(account, account.c.customer_id == customer.c.id)
    log = audit_event.c
    found = select(audit_event).where(
        log.subject_ref.in_(mine.where(account.c.username == name)), log.outcome == "refused"
    )
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(found.order_by(log.id))
    assert all((row.actor_kind, len(row.request or "")) == ("customer", 16) for row in rows)
    return [(row.action, row.code, row.details) for row in rows]


async def age(platform: Platform, name: str) -> None:
    """Let somebody's sign-in grow too old for what needs a fresh one."""
    owner = select(account.c.customer_id).where(account.c.username == name)
    async with platform.db.transaction(Role.WORKER) as tx:
        past = session.c.authenticated_at - timedelta(hours=1)
        await tx.execute(update(session).where(session.c.customer_id.in_(owner)).values(authenticated_at=past))


async def test_a_page_that_refuses_says_so_in_the_log(
    app: Starlette, platform: Platform, new_customer: Named, signed_in: SignedIn
) -> None:
    name, bystander = await new_customer(), await new_customer()
    browser = await signed_in(name)
    assert (await browser.post("/account/sign-out", data={"csrf": "forged"})).status_code == 403
    assert await refusals(platform, name) == [("page.submitted", "CSRF_REFUSED", {"page": "/account/sign-out"})]
    assert await refusals(platform, bystander) == []


async def test_a_stale_sign_in_is_a_refusal_where_something_was_sent(
    app: Starlette, platform: Platform, new_customer: Named, signed_in: SignedIn
) -> None:
    """Opening the page merely leads to the sign-in; that is a question, and nothing was refused."""
    name = await new_customer()
    browser = await signed_in(name)
    fields = forms(await browser.get("/account/delete"))["/account/delete"]
    await age(platform, name)
    await browser.get("/account/delete")
    assert await refusals(platform, name) == []
    answer = await browser.post("/account/delete", data={**fields, "confirm": "delete"})
    assert answer.status_code == 303
    assert [one[:2] for one in await refusals(platform, name)] == [("page.submitted", "STEP_UP_REQUIRED")]


async def test_strangers_can_not_fill_the_log(app: Starlette, platform: Platform) -> None:
    async def count() -> int:
        async with platform.db.transaction(Role.WORKER) as tx:
            pages = audit_event.c.action.in_(["page.opened", "page.submitted"])
            return int(await tx.scalar(select(func.count()).select_from(audit_event).where(pages)))

    before = await count()
    async with visitor(app) as stranger:
        assert (await stranger.post("/account/sign-in", data={"csrf": "forged"})).status_code == 403
        await stranger.get("/account/delete")
    assert await count() == before


async def test_a_refusal_is_recorded_once_however_many_doors_it_passes(platform: Platform) -> None:
    async def refused() -> None:
        async with audit.refusing(platform.db, SYSTEM, "test.outer"), audit.refusing(platform.db, SYSTEM, "test.inner"):
            raise Forbidden

    with pytest.raises(Forbidden):
        await refused()
    async with platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(audit_event.c.action).where(audit_event.c.action.like("test.%ner")))
    assert [row.action for row in rows] == ["test.inner"]
