"""Telling apps that somebody signed out: claim a notice under a lease, post a signed logout token, settle.

    queued -> sending -> sent
                      \\-> queued (again, later) -> … -> failed

The app's address is called outside any transaction. It may be told twice (a worker dies after the call), each time with
a token of its own. Who was meant is forgotten with the settle.
Source: OpenID Connect Back-Channel Logout 1.0, https://openid.net/specs/openid-connect-backchannel-1_0.html
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import func, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Tx
from cdp.core.http import AnswerTooLarge, CallFailed, TargetForbidden
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations import audit
from cdp.operations.accounts.logout_notices import JOB
from cdp.operations.backoff import wait_s
from cdp.operations.oauth.tokens import issuer_of
from cdp.tables.logout import NOTICE_TRANSITIONS, NoticeStatus, logout_notice
from cdp.tables.oauth import oauth_client

TYP = "logout+jwt"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_LIFE_S = 120
TIMEOUT_S = 10.0
LARGEST_ANSWER = 64 * 1024
OPEN = (NoticeStatus.QUEUED, NoticeStatus.SENDING)
# The app may think otherwise later; everything else below 500 is its last word.
PASSING = frozenset({408, 425, 429})


class Verdict(StrEnum):
    """What became of one call."""

    TAKEN = "taken"
    REFUSED = "refused"
    TRY_AGAIN = "try_again"


@dataclass(frozen=True)
class Notice:
    """A notice this worker may deliver now; ``fence`` is the number of its claim."""

    id: UUID
    fence: int
    attempt: int
    url: str
    client_id: str
    subject: UUID
    session_id: UUID
    subject_ref: UUID | None


@dataclass(frozen=True)
class Delivered:
    """What a call came to; ``code`` says why it was not taken."""

    verdict: Verdict
    code: str | None = None


async def due(tx: Tx, *, limit: int) -> list[UUID]:
    """Notices nobody rang for, or whose worker died."""
    found = select(logout_notice.c.id).where(
        logout_notice.c.status.in_(OPEN), logout_notice.c.next_run_at <= func.now()
    )
    return [row.id for row in await tx.all(found.order_by(logout_notice.c.next_run_at).limit(limit))]


async def claim(tx: Tx, notice_id: UUID, *, lease_s: float) -> Notice | None:
    """Take a due notice for ``lease_s`` seconds; None when it is not due or somebody else has it."""
    free = (
        select(logout_notice.c.id)
        .where(
            logout_notice.c.id == notice_id, logout_notice.c.status.in_(OPEN), logout_notice.c.next_run_at <= func.now()
        )
        .with_for_update(skip_locked=True)
    )
    row = await tx.first(
        update(logout_notice)
        .where(logout_notice.c.id.in_(free), oauth_client.c.id == logout_notice.c.client_id)
        .values(
            status=NoticeStatus.SENDING,
            fence=logout_notice.c.fence + 1,
            attempt=logout_notice.c.attempt + 1,
            next_run_at=func.now() + timedelta(seconds=lease_s),
        )
        .returning(logout_notice, oauth_client.c.backchannel_logout_uri, oauth_client.c.client_id.label("audience"))
    )
    if row is None:
        return None
    return Notice(
        id=row.id,
        fence=row.fence,
        attempt=row.attempt,
        url=row.backchannel_logout_uri or "",
        client_id=row.audience,
        subject=row.subject,
        session_id=row.session_id,
        subject_ref=row.subject_ref,
    )


def logout_token(platform: Platform, notice: Notice) -> str:
    """Sign the token of one try (section 2.4)."""
    issuer, now = issuer_of(platform), int(platform.clock().timestamp())
    claims = {
        "iss": issuer.url,
        "aud": notice.client_id,
        "sub": str(notice.subject),
        "sid": str(notice.session_id),
        "iat": now,
        "exp": now + TOKEN_LIFE_S,
        "jti": f"{notice.id}.{notice.attempt}",
        "events": {EVENT: {}},
    }
    return issuer.keys.sign(claims, typ=TYP)


async def deliver(platform: Platform, notice: Notice) -> Delivered:
    """Post the token to the app; whatever happens comes back as a verdict (section 2.8)."""
    body = urlencode({"logout_token": logout_token(platform, notice)}).encode()
    try:
        answer = await platform.outbound.request(
            "POST",
            notice.url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=body,
            timeout_s=min(TIMEOUT_S, platform.settings.task_timeout_s),
            max_bytes=LARGEST_ANSWER,
        )
    except TargetForbidden as error:
        return Delivered(Verdict.REFUSED, error.code)
    except (CallFailed, AnswerTooLarge) as error:
        return Delivered(Verdict.TRY_AGAIN, error.code)
    if answer.status in {200, 204}:
        return Delivered(Verdict.TAKEN)
    is_final = answer.status < 500 and answer.status not in PASSING
    return Delivered(Verdict.REFUSED if is_final else Verdict.TRY_AGAIN, f"HTTP_{answer.status}")


async def settle(tx: Tx, notice: Notice, delivered: Delivered, *, settings: Settings) -> NoticeStatus | None:
    """Record what became of a claim; None when it is no longer the newest."""
    status = _after(delivered, notice, settings)
    if status not in NOTICE_TRANSITIONS[NoticeStatus.SENDING]:
        raise ValueError(f"a logout notice never goes from sending to {status}")
    is_over = status is not NoticeStatus.QUEUED
    delay_s = wait_s(notice.attempt, base_s=settings.retry_base_s)
    settled = await tx.execute(
        update(logout_notice)
        .where(
            logout_notice.c.id == notice.id,
            logout_notice.c.status == NoticeStatus.SENDING,
            logout_notice.c.fence == notice.fence,
        )
        .values(
            status=status,
            code=delivered.code,
            next_run_at=func.now() + timedelta(seconds=delay_s),
            **({"settled_at": func.now(), "subject": None} if is_over else {}),
        )
    )
    if settled.rowcount != 1:
        return None
    if not is_over:
        tx.ring(JOB, notice.id, defer_s=delay_s)
        return status
    await audit.record(
        tx,
        SYSTEM,
        f"logout.{status.value}",
        subject_ref=notice.subject_ref,
        object_type="LogoutNotice",
        object_id=notice.id,
        outcome="ok" if status is NoticeStatus.SENT else "failed",
        code=delivered.code,
        details={"client": notice.client_id, "attempt": notice.attempt},
    )
    return status


def _after(delivered: Delivered, notice: Notice, settings: Settings) -> NoticeStatus:
    if delivered.verdict is Verdict.TAKEN:
        return NoticeStatus.SENT
    if delivered.verdict is Verdict.REFUSED or notice.attempt >= settings.max_attempts:
        return NoticeStatus.FAILED
    return NoticeStatus.QUEUED
