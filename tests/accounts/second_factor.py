"""An authenticator app in a test's hands, and what the platform holds about whoever uses it.

app = await set_up(browser)                 sets one up on /account/security; ``app.codes`` are the recovery codes
app.code(platform)                          the six digits of now; ``ahead`` steps later
"""

import re
from dataclasses import dataclass

import httpx
import pyotp
from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.tables.account import account, session
from cdp.tables.audit import audit_event
from cdp.tables.customer import customer
from cdp.tables.second_factor import totp
from tests.browser import forms

SECURITY = "/account/security"


@dataclass
class App:
    """What a phone knows."""

    secret: str
    codes: list[str]

    def code(self, platform: Platform, *, ahead: int = 0) -> str:
        return pyotp.TOTP(self.secret).generate_otp(int(platform.clock().timestamp()) // 30 + ahead)


def secret_on(page: httpx.Response) -> str:
    return re.search(r'<code class="long">([A-Z2-7 ]+)</code>', page.text)[1].replace(" ", "")


def recovery_codes_on(page: httpx.Response) -> list[str]:
    return re.findall(r"<code>([a-z2-7]{4}(?:-[a-z2-7]{4}){3})</code>", page.text)


async def set_up(browser: httpx.AsyncClient, platform: Platform, *, at: str = f"{SECURITY}/authenticator") -> App:
    """The first code is of one step ago, so that the one of now is still good."""
    page = await browser.get(at)
    app = App(secret_on(page), [])
    answer = await browser.post(at, data={**forms(page)[at], "code": app.code(platform, ahead=-1)})
    app.codes = recovery_codes_on(answer)
    assert len(app.codes) == 10, answer.text
    return app


async def events(platform: Platform, username: str) -> list[tuple[str, str | None]]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(audit_event.c.action, audit_event.c.code).join_from(
            audit_event, customer, customer.c.audit_ref == audit_event.c.subject_ref
        )
        mine = mine.join(account, account.c.customer_id == customer.c.id).where(account.c.username == username)
        return [tuple(row) for row in await tx.all(mine.order_by(audit_event.c.id))]


async def living_sessions(platform: Platform, username: str) -> list[list[str]]:
    """How each living session was proven."""
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(session.c.amr).join_from(session, account, account.c.id == session.c.account_id)
        mine = mine.where(account.c.username == username, session.c.revoked_at.is_(None)).order_by(session.c.id)
        return [row.amr for row in await tx.all(mine)]


async def sealed_secret(platform: Platform, username: str) -> bytes | None:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(totp.c.secret_sealed).join_from(totp, account, account.c.customer_id == totp.c.customer_id)
        return await tx.scalar(mine.where(account.c.username == username))
