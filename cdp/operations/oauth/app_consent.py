"""Saying yes or no to an app: the answer travels from the page to the authorization endpoint as a sealed value.

It is bound to the session, the client and what was shown, and is good for a few minutes; the page it comes
from is protected against forgery, so nobody can say yes for somebody else.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from cdp.access.scopes import SCOPES
from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.platform import Platform
from cdp.core.seal import Sealer, Unsealable
from cdp.core.sign import decode, encode
from cdp.operations.oauth import clients
from cdp.operations.oauth.authorization_details import (
    PARAMETER,
    Details,
    InvalidAuthorizationDetails,
    canonical,
    describe,
    read,
)
from cdp.operations.oauth.clients import AUTHORIZE_PATH, UnknownScope
from cdp.operations.oauth.grants import realm_of
from cdp.operations.oauth.pushed import parameters_of

GOOD_FOR = timedelta(minutes=10)
ANSWER = "cdp_answer"
PROMPTED = "cdp_prompted"


@dataclass(frozen=True)
class Question:
    """What a person is asked: which app, what for."""

    client_name: str
    client_id: str
    scope: str
    wants: tuple[str, ...]
    details: Details = ()
    # What exactly is wanted beyond scopes, a sentence each.
    limits: tuple[str, ...] = ()


async def question_of(platform: Platform, path: str) -> Question:
    """Read an authorization request's address. Raises NotFound when it is none, or the client is unknown."""
    async with platform.db.transaction(Role.WORKER) as tx:
        asked = await parameters_of(tx, path, now=platform.clock())
        client = await clients.find(tx, asked.get("client_id", "")) if asked else None
    if client is None:
        raise NotFound
    scope = client.get_allowed_scope(asked.get("scope")) or ""
    try:
        details = read(asked.get(PARAMETER), client, realm_of(scope.split()))
    except (InvalidAuthorizationDetails, UnknownScope) as error:
        raise NotFound from error
    wants = tuple(SCOPES[name] for name in scope.split())
    return Question(client.name, client.client_id, scope, wants, details, tuple(map(describe, details)))


def wish_of(scope: str, details: Details) -> str:
    """All that is asked for as one text; an answer is good for exactly that."""
    return f"{scope} {hashlib.sha256(canonical(details).encode()).hexdigest()}" if details else scope


def answered(sealer: Sealer, path: str, question: Question, *, session_id: UUID, allowed: bool, now: datetime) -> str:
    """The authorization request's address with the person's answer."""
    parts = urlsplit(path)
    asked = [(name, value) for name, value in parse_qsl(parts.query) if name != ANSWER]
    wish = wish_of(question.scope, question.details)
    answer = seal_moment(sealer, _context(session_id, question.client_id, wish, allowed=allowed), now)
    return f"{AUTHORIZE_PATH}?{urlencode([*asked, (ANSWER, answer)])}"


def read_answer(
    sealer: Sealer, sealed: str | None, *, session_id: UUID, client_id: str, wish: str, now: datetime
) -> bool | None:
    """True for yes, False for no, None for no valid answer."""
    for allowed in (True, False):
        given_at = open_moment(sealer, _context(session_id, client_id, wish, allowed=allowed), sealed)
        if given_at is not None and now - given_at <= GOOD_FOR:
            return allowed
    return None


def seal_moment(sealer: Sealer, context: str, moment: datetime) -> str:
    """A point in time nobody can make up."""
    return encode(sealer.seal(str(moment.timestamp()).encode(), context))


def open_moment(sealer: Sealer, context: str, sealed: str | None) -> datetime | None:
    """Read one back; None when it is absent, changed or of another context."""
    if not sealed:
        return None
    try:
        return datetime.fromtimestamp(float(sealer.open(decode(sealed), context)), UTC)
    except (Unsealable, ValueError):
        return None


def _context(session_id: UUID, client_id: str, wish: str, *, allowed: bool) -> str:
    return f"oauth.answer:{session_id}:{client_id}:{wish}:{'yes' if allowed else 'no'}"
