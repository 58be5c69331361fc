"""Clients that register themselves, each by an invitation: an initial access token, good once and for days.

What they get is the least there is: scopes of customers, codes and refresh tokens, and people are asked to agree.
Source: RFC 7591, https://www.rfc-editor.org/rfc/rfc7591.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert, update

from cdp.access.authorization_types import TYPES
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput, Unauthenticated
from cdp.core.ids import new_id, new_token
from cdp.operations import audit
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import CODE_AND_REFRESH, NewClient
from cdp.operations.oauth.grants import digest
from cdp.operations.values import text
from cdp.tables.oauth import oauth_registration_token

LONGEST_INVITATION = timedelta(days=30)
MOST_ADDRESSES = 10
AUTH_METHODS = frozenset({"none", "client_secret_basic", "client_secret_post", "private_key_jwt"})


class InvitationInvalid(Unauthenticated):
    """This invitation does not exist, has expired, or was used."""

    code = "INVITATION_INVALID"


class InvalidClientMetadata(InvalidInput):
    """A member of this client's metadata is not what it must be."""

    code = "INVALID_CLIENT_METADATA"


@dataclass(frozen=True)
class Wish:
    """Metadata of a client as it wants to be registered, read but not yet judged."""

    name: str
    redirect_uris: Sequence[str]
    post_logout_redirect_uris: Sequence[str]
    grant_types: Sequence[str]
    scopes: Sequence[str]
    auth_method: str
    jwks: object
    authorization_types: Sequence[str]
    requires_pushed: bool
    requires_dpop: bool


async def invite(tx: Tx, viewer: Viewer, purpose: str, *, now: datetime, life: timedelta) -> str:
    """Make an invitation; ``purpose`` is a note for us. Its value is shown once and kept nowhere."""
    if not timedelta(0) < life <= LONGEST_INVITATION:
        raise InvalidInput("An invitation is good for at most 30 days.")
    token, row_id = new_token(), new_id()
    row = {
        "id": row_id,
        "token_hash": digest(token),
        "purpose": text(purpose, "purpose", longest=200),
        "created_at": now,
        "expires_at": now + life,
    }
    await tx.execute(insert(oauth_registration_token).values(row))
    await audit.record(tx, viewer, "client.invited", subject_ref=None, object_type="OAuthInvitation", object_id=row_id)
    return token


async def register(tx: Tx, token: str, metadata: Mapping[str, object], *, now: datetime) -> NewClient:
    """Register a client and use its invitation up; a refused one stays good, so that the mistake can be mended.

    Raises InvitationInvalid, InvalidClientMetadata, and what ``clients.add`` raises.
    """
    invitation_id = await _take(tx, token, now)
    wish = read(metadata)
    added = await clients.add(
        tx,
        Viewer(Actor.ANONYMOUS),
        wish.name,
        redirect_uris=wish.redirect_uris,
        confidential=wish.auth_method.startswith("client_secret"),
        grant_types=wish.grant_types,
        scopes=wish.scopes,
        post_logout_redirect_uris=wish.post_logout_redirect_uris,
        jwks=wish.jwks,
        requires_pushed=wish.requires_pushed,
        requires_dpop=wish.requires_dpop,
        authorization_types=wish.authorization_types,
    )
    mine = oauth_registration_token.c.id == invitation_id
    await tx.execute(update(oauth_registration_token).where(mine).values(client_id=added.client.id))
    return added


async def _take(tx: Tx, token: str, now: datetime) -> UUID:
    table = oauth_registration_token
    taken: UUID | None = await tx.scalar(
        update(table)
        .where(table.c.token_hash == digest(token), table.c.used_at.is_(None), table.c.expires_at > now)
        .values(used_at=now)
        .returning(table.c.id)
    )
    if taken is None:
        raise InvitationInvalid
    return taken


def read(metadata: Mapping[str, object]) -> Wish:
    """Read client metadata (RFC 7591 section 2); members we do not know are left out. Raises InvalidClientMetadata."""
    method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
    if not isinstance(method, str) or method not in AUTH_METHODS:
        raise InvalidClientMetadata
    if (method == "private_key_jwt") != ("jwks" in metadata) or "jwks_uri" in metadata:
        raise InvalidClientMetadata("Keys are sent as jwks, by clients that use private_key_jwt.")
    if metadata.get("response_types", ["code"]) != ["code"]:
        raise InvalidClientMetadata("The one response type is code.")
    asked = metadata.get("scope", " ".join(sorted(CUSTOMER_SCOPES)))
    grant_types = _texts(metadata, "grant_types", default=["authorization_code"])
    types = _texts(metadata, "authorization_details_types", default=[])
    ours = {name for name, kind in TYPES.items() if Actor.CUSTOMER in kind.actors}
    if not isinstance(asked, str) or not set(asked.split()) <= CUSTOMER_SCOPES or not asked.split():
        raise InvalidClientMetadata("A scope is not for apps that register themselves.")
    if not set(grant_types) <= set(CODE_AND_REFRESH) or "authorization_code" not in grant_types:
        raise InvalidClientMetadata("Grant types are authorization_code and refresh_token.")
    if not set(types) <= ours:
        raise InvalidClientMetadata("A type of authorization details is not for apps that register themselves.")
    redirect_uris = _texts(metadata, "redirect_uris", default=[])
    name = metadata.get("client_name")
    if not redirect_uris or not isinstance(name, str):
        raise InvalidClientMetadata("An app has a client_name and redirect_uris.")
    return Wish(
        name=name,
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=_texts(metadata, "post_logout_redirect_uris", default=[]),
        grant_types=grant_types,
        scopes=asked.split(),
        auth_method=method,
        jwks=metadata.get("jwks"),
        authorization_types=types,
        requires_pushed=metadata.get("require_pushed_authorization_requests") is True,
        requires_dpop=metadata.get("dpop_bound_access_tokens") is True,
    )


def _texts(metadata: Mapping[str, object], name: str, *, default: list[str]) -> list[str]:
    found = metadata.get(name, default)
    if not isinstance(found, list) or len(found) > MOST_ADDRESSES or not all(isinstance(one, str) for one in found):
        raise InvalidClientMetadata
    return list(dict.fromkeys(found))
