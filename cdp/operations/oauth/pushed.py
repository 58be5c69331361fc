"""Requests pushed ahead: the client hands its authorization request to us, the browser carries only a reference.

A reference is 256 random bits, good for ten minutes, which leaves time to sign in, and for one answer to the client.
Source: RFC 9126, https://www.rfc-editor.org/rfc/rfc9126.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import insert, select, update

from cdp.core.db import Role, Tx
from cdp.core.ids import new_id, new_token
from cdp.core.platform import Platform
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import AUTHORIZE_PATH, OAuthClient
from cdp.operations.oauth.grants import digest
from cdp.tables.oauth import oauth_client, oauth_pushed_request

REFERENCE = "urn:ietf:params:oauth:request_uri:"
LIFE = timedelta(minutes=10)
# What proves the client is not part of the request, and hints at a person are kept nowhere.
DROPPED = frozenset(
    {"client_secret", "client_assertion", "client_assertion_type", "request_uri", "login_hint", "id_token_hint"}
)


async def push(tx: Tx, client: OAuthClient, parameters: Mapping[str, str], *, now: datetime) -> str:
    """Keep a request that was found in order; answers its reference."""
    token = new_token()
    await tx.execute(
        insert(oauth_pushed_request).values(
            id=new_id(),
            reference_hash=digest(token),
            client_id=client.id,
            parameters={name: value for name, value in parameters.items() if name not in DROPPED},
            created_at=now,
            expires_at=now + LIFE,
        )
    )
    return REFERENCE + token


async def find(tx: Tx, client_id: str, reference: str, *, now: datetime) -> Mapping[str, str] | None:
    """The request behind a reference; None when it is unknown, of another client, expired or answered."""
    found = await tx.scalar(
        select(oauth_pushed_request.c.parameters)
        .join(oauth_client)
        .where(
            oauth_pushed_request.c.reference_hash == digest(reference.removeprefix(REFERENCE)),
            oauth_client.c.client_id == client_id,
            oauth_pushed_request.c.used_at.is_(None),
            oauth_pushed_request.c.expires_at > now,
        )
    )
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else None


async def use_up(tx: Tx, reference: str, *, now: datetime) -> bool:
    """Mark a request as answered; False when it was, or has expired."""
    used = await tx.scalar(
        update(oauth_pushed_request)
        .where(
            oauth_pushed_request.c.reference_hash == digest(reference.removeprefix(REFERENCE)),
            oauth_pushed_request.c.used_at.is_(None),
            oauth_pushed_request.c.expires_at > now,
        )
        .values(used_at=now)
        .returning(oauth_pushed_request.c.id)
    )
    return used is not None


async def parameters_of(tx: Tx, path: str, *, now: datetime) -> Mapping[str, str]:
    """What an authorization request's address asks for, wherever it is written; nothing for other addresses."""
    parts = urlsplit(path)
    if parts.path != AUTHORIZE_PATH:
        return {}
    sent = dict(parse_qsl(parts.query))
    if not sent.get("request_uri", "").startswith(REFERENCE):
        return sent
    client_id = sent.get("client_id", "")
    return await find(tx, client_id, sent["request_uri"], now=now) or {}


async def form_target(platform: Platform, path: str) -> str | None:
    """The origin a form ends at when ``path`` is an authorization request: that of the client's redirect address.

    The browser checks the policy of the page that posted against every redirect that follows. None for other paths and
    for requests that name an address the client has not registered.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        asked = await parameters_of(tx, path, now=platform.clock())
        client = await clients.find(tx, asked.get("client_id", "")) if asked else None
    redirect_uri = asked.get("redirect_uri", "")
    if client is None or not client.check_redirect_uri(redirect_uri):
        return None
    target = urlsplit(redirect_uri)
    return f"{target.scheme}://{target.netloc}" if target.netloc else f"{target.scheme}:"
