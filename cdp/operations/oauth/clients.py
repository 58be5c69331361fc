"""OAuth clients: registered by hand, with exact redirect addresses (RFC 6749 section 2, RFC 9700 section 2.1).

Secrets are 256 random bits, so a plain SHA-256 keeps them; they are shown once.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.authorization_types import TYPES
from cdp.access.scopes import CUSTOMER_SCOPES, SCOPES, STAFF_SCOPES
from cdp.access.viewer import ANONYMOUS, SYSTEM, Viewer
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.ids import new_id, new_token
from cdp.operations import audit
from cdp.operations.oauth.proofs import key_set
from cdp.operations.values import text
from cdp.tables.oauth import oauth_client

AUTHORIZE_PATH = "/oauth/authorize"
# What a sealed value is for; see the pages that open it.
AFTER_SIGN_OUT = "oauth.after_sign_out"
CODE_AND_REFRESH = ("authorization_code", "refresh_token")
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_CREDENTIALS = "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
GRANT_TYPES = (*CODE_AND_REFRESH, CLIENT_CREDENTIALS, DEVICE_CODE, EXCHANGE)
COMMAND_LINE = "cdp-cli"
_DANGEROUS = frozenset({"javascript", "data", "vbscript", "file", "blob", "about", "view-source"})


class InvalidRedirect(InvalidInput):
    """A redirect address is https, http on this machine, or a private scheme with a dot; whole, without a fragment."""

    code = "INVALID_REDIRECT_URI"


class InvalidGrantType(InvalidInput):
    """This grant type is not supported."""

    code = "INVALID_GRANT_TYPE"


class ClientNeedsCredentials(InvalidInput):
    """Who acts in its own name needs a secret or keys to prove itself with; nobody has both."""

    code = "CLIENT_NEEDS_CREDENTIALS"


class UnknownAuthorizationType(InvalidInput):
    """This type of authorization details does not exist."""

    code = "UNKNOWN_AUTHORIZATION_TYPE"


class UnknownScope(InvalidInput):
    """This scope does not exist, or does not go together with the others."""

    code = "UNKNOWN_SCOPE"


@dataclass(frozen=True)
class OAuthClient(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """One client; answers what Authlib asks about it."""

    id: UUID
    client_id: str
    name: str
    secret_hash: bytes | None
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    first_party: bool
    jwks: Mapping[str, object] | None = None
    requires_pushed: bool = False
    requires_dpop: bool = False
    authorization_types: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to prove itself with."""
        return self.secret_hash is None and self.jwks is None

    @property
    def auth_method(self) -> str:
        """How it proves itself (RFC 7591 section 2); a secret may come either way."""
        if self.jwks is not None:
            return "private_key_jwt"
        return "none" if self.is_public else "client_secret_basic"

    @property
    def client_metadata(self) -> dict[str, list[str]]:
        """What Authlib's logout endpoint reads."""
        return {"post_logout_redirect_uris": list(self.post_logout_redirect_uris)}

    def get_client_id(self) -> str:
        """Its public name."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: a request always names its redirect address (RFC 9700)."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What of the asked scopes this client may have, in the order asked; None when nothing is left."""
        return " ".join(dict.fromkeys(known for known in (scope or "").split() if known in self.scopes)) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exactly one of the registered ones, character by character."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare in constant time."""
        return self.secret_hash is not None and hmac.compare_digest(self.secret_hash, _digest(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        """Confidential clients prove themselves at every endpoint; public ones have nothing to prove with."""
        return method == self.auth_method or (method == "client_secret_post" and self.secret_hash is not None)

    def check_response_type(self, response_type: str) -> bool:
        """Codes only."""
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        """One of those it was registered for."""
        return grant_type in self.grant_types


@dataclass(frozen=True)
class NewClient:
    """A client just added; ``secret`` is shown once and kept nowhere."""

    client: OAuthClient
    secret: str | None


def check_redirect_uri(uri: str) -> str:
    """Accept what RFC 8252 and RFC 9700 allow. Raises InvalidRedirect."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError as error:
        raise InvalidRedirect from error
    loopback = parts.scheme == "http" and host in {"localhost", "127.0.0.1", "::1"}
    private = "." in parts.scheme and parts.scheme not in _DANGEROUS
    web = (parts.scheme == "https" or loopback) and bool(host) and parts.username is None
    if "#" in uri or "*" in uri or not uri.isascii() or not uri.isprintable() or " " in uri or not (web or private):
        raise InvalidRedirect
    return uri


def check_logout_uri(uri: str) -> str:
    """Accept where an app may be told of a sign-out: a web address. Raises InvalidRedirect."""
    if urlsplit(check_redirect_uri(uri)).scheme not in {"https", "http"}:
        raise InvalidRedirect
    return uri


async def add(
    tx: Tx,
    viewer: Viewer,
    name: str,
    *,
    redirect_uris: Sequence[str],
    confidential: bool = False,
    grant_types: Sequence[str] = CODE_AND_REFRESH,
    scopes: Sequence[str] | None = None,
    post_logout_redirect_uris: Sequence[str] = (),
    first_party: bool = False,
    jwks: object = None,
    requires_pushed: bool = False,
    requires_dpop: bool = False,
    authorization_types: Sequence[str] = (),
    backchannel_logout_uri: str | None = None,
) -> NewClient:
    """Register a client; ``jwks`` are the public keys of one that proves itself by ``private_key_jwt``.

    Raises InvalidRedirect, InvalidGrantType, UnknownScope, UnknownAuthorizationType, ClientNeedsCredentials,
    UnusableKey, InvalidText.
    """
    if unsupported := set(grant_types) - set(GRANT_TYPES):
        raise InvalidGrantType(grantTypes=sorted(unsupported))
    if unknown := set(scopes or ()) - set(SCOPES):
        raise UnknownScope(scopes=sorted(unknown))
    if unheard := set(authorization_types) - set(TYPES):
        raise UnknownAuthorizationType(types=sorted(unheard))
    own_name = CLIENT_CREDENTIALS in grant_types
    if (confidential and jwks is not None) or (own_name and not confidential and jwks is None):
        raise ClientNeedsCredentials
    secret = new_token() if confidential else None
    client = OAuthClient(
        id=new_id(),
        client_id=new_token()[:22],
        name=text(name, "name", longest=200),
        secret_hash=_digest(secret) if secret else None,
        redirect_uris=tuple(check_redirect_uri(uri) for uri in redirect_uris),
        post_logout_redirect_uris=tuple(check_redirect_uri(uri) for uri in post_logout_redirect_uris),
        grant_types=tuple(grant_types),
        # What a program may do in its own name is never guessed.
        scopes=tuple(scopes or (() if own_name else sorted(CUSTOMER_SCOPES))),
        first_party=first_party,
        jwks=key_set(jwks) if jwks is not None else None,
        requires_pushed=requires_pushed,
        requires_dpop=requires_dpop,
        authorization_types=tuple(dict.fromkeys(authorization_types)),
        backchannel_logout_uri=check_logout_uri(backchannel_logout_uri) if backchannel_logout_uri else None,
    )
    await tx.execute(insert(oauth_client).values(_row(client)))
    await audit.record(tx, viewer, "client.added", subject_ref=None, object_type="OAuthClient", object_id=client.id)
    return NewClient(client, secret)


async def find(tx: Tx, client_id: str) -> OAuthClient | None:
    """A client that is not revoked, by its public name."""
    if not client_id.isascii() or not client_id.isprintable():
        return None
    return await _find(tx, oauth_client.c.client_id == client_id)


async def record_refusal(tx: Tx, claimed: str | None) -> None:
    """Leave an event of a client that could not prove itself; what was sent stays out of the log."""
    client = await find(tx, claimed) if claimed else None
    await audit.record(
        tx,
        ANONYMOUS,
        "client.authenticated",
        subject_ref=None,
        object_type="OAuthClient",
        object_id=client.id if client else None,
        outcome="refused",
        code="INVALID_CLIENT",
    )


async def find_by_id(tx: Tx, row_id: UUID) -> OAuthClient | None:
    """A client that is not revoked, by its row."""
    return await _find(tx, oauth_client.c.id == row_id)


async def _find(tx: Tx, which: ColumnElement[bool]) -> OAuthClient | None:
    row = await tx.first(select(oauth_client).where(which, oauth_client.c.revoked_at.is_(None)))
    if row is None:
        return None
    return OAuthClient(
        id=row.id,
        client_id=row.client_id,
        name=row.name,
        secret_hash=row.secret_hash,
        redirect_uris=tuple(row.redirect_uris),
        post_logout_redirect_uris=tuple(row.post_logout_redirect_uris),
        grant_types=tuple(row.grant_types),
        scopes=tuple(row.scopes),
        first_party=row.first_party,
        jwks=row.jwks,
        requires_pushed=row.requires_pushed,
        requires_dpop=row.requires_dpop,
        authorization_types=tuple(row.authorization_types),
        backchannel_logout_uri=row.backchannel_logout_uri,
    )


async def ensure_command_line(tx: Tx) -> OAuthClient:
    """The client behind ``cdp login`` and ``cdp token``: no redirect address, so no browser is ever sent to it."""
    values = OAuthClient(
        id=new_id(),
        client_id=COMMAND_LINE,
        name="Command line",
        secret_hash=None,
        redirect_uris=(),
        post_logout_redirect_uris=(),
        grant_types=(DEVICE_CODE, "refresh_token"),
        scopes=tuple(sorted(CUSTOMER_SCOPES | STAFF_SCOPES)),
        first_party=True,
    )
    added = await tx.scalar(
        upsert(oauth_client).values(_row(values)).on_conflict_do_nothing().returning(oauth_client.c.id)
    )
    now = {"grant_types": list(values.grant_types), "scopes": list(values.scopes)}  # an earlier version knew fewer
    await tx.execute(
        update(oauth_client)
        .where(
            oauth_client.c.client_id == COMMAND_LINE,
            or_(oauth_client.c.grant_types != now["grant_types"], oauth_client.c.scopes != now["scopes"]),
        )
        .values(now)
    )
    if added is not None:
        await audit.record(tx, SYSTEM, "client.added", subject_ref=None, object_type="OAuthClient", object_id=added)
    found = await find(tx, COMMAND_LINE)
    assert found is not None, "it was just written"
    return found


def _row(client: OAuthClient) -> dict[str, object]:
    return {
        "id": client.id,
        "client_id": client.client_id,
        "name": client.name,
        "secret_hash": client.secret_hash,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "grant_types": list(client.grant_types),
        "scopes": list(client.scopes),
        "first_party": client.first_party,
        "jwks": client.jwks,
        "requires_pushed": client.requires_pushed,
        "requires_dpop": client.requires_dpop,
        "authorization_types": list(client.authorization_types),
        "backchannel_logout_uri": client.backchannel_logout_uri,
    }


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
