"""What an authorization allowed: one grant, its code, its refresh tokens; all of them end together.

A code and a refresh token are consumed by one conditional UPDATE, so that of two at once exactly one wins. Whoever
presents a used one again has a copy of it, or somebody else has: the whole family ends (RFC 6749 section 4.1.2,
RFC 9700 section 4.14.2). Another client's try changes nothing.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Table, func, insert, or_, select, update

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.strength import PASSWORD, strength_of
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id, new_token
from cdp.operations import audit
from cdp.operations.oauth.authorization_details import Details, is_same
from cdp.operations.oauth.clients import OAuthClient, UnknownScope
from cdp.tables.customer import customer
from cdp.tables.oauth import oauth_client, oauth_code, oauth_grant, oauth_token
from cdp.tables.staff import staff

CODE_LIFE = timedelta(seconds=60)


@dataclass(frozen=True)
class Grant:
    """One authorization: who allowed which client what, and when they last signed in."""

    id: UUID
    client_id: str
    scope: str
    authenticated_at: datetime
    customer_id: CustomerId | None = None
    staff_id: UUID | None = None
    session_id: UUID | None = None
    details: Details = ()
    amr: tuple[str, ...] = PASSWORD
    acting_staff_id: UUID | None = None

    @property
    def subject(self) -> str:
        """The ``sub`` claim; a client that acts in its own name is the subject itself (RFC 9068 section 2.2)."""
        return str(self.customer_id or self.staff_id or self.client_id)

    @property
    def actor(self) -> Actor:
        """Whose tokens these are."""
        if self.customer_id is not None:
            return Actor.CUSTOMER
        return Actor.STAFF if self.staff_id else Actor.CLIENT


@dataclass(frozen=True)
class AuthorizationRequest:
    """A code, and what it stands for until it is redeemed."""

    code: str
    redirect_uri: str
    code_challenge: str
    nonce: str | None = None
    dpop_jkt: str | None = None


@dataclass(frozen=True)
class Redeemed:
    """A code that was just consumed, in the shape Authlib reads."""

    grant: Grant
    request: AuthorizationRequest

    @property
    def code_challenge(self) -> str:
        """PKCE challenge; the method is S256, always."""
        return self.request.code_challenge

    @property
    def code_challenge_method(self) -> str:
        """See RFC 7636 section 4.3."""
        return "S256"

    def get_redirect_uri(self) -> str:
        """Compared with the token request's."""
        return self.request.redirect_uri

    def get_scope(self) -> str:
        """What was granted."""
        return self.grant.scope

    def get_nonce(self) -> str | None:
        """Goes into the ID token."""
        return self.request.nonce

    def get_auth_time(self) -> int:
        """Goes into the ID token."""
        return int(self.grant.authenticated_at.timestamp())

    def get_acr(self) -> str:
        """How strong the sign-in was (RFC 9470)."""
        return strength_of(self.grant.amr)

    def get_amr(self) -> list[str]:
        """RFC 8176."""
        return list(self.grant.amr)


@dataclass(frozen=True)
class Refreshed:
    """A refresh token that was just consumed, in the shape Authlib reads."""

    grant: Grant
    scope: str
    client: UUID

    def check_client(self, client: OAuthClient) -> bool:
        """Whether it was issued to this client."""
        return client.id == self.client

    def get_scope(self) -> str:
        """What it may be exchanged for."""
        return self.scope


def realm_of(scopes: Iterable[str]) -> Actor:
    """Whose sign-in a request is about: staff when it asks for a staff scope. Raises UnknownScope for a mixture."""
    asked = set(scopes)
    for_staff, for_customers = asked & (STAFF_SCOPES - CUSTOMER_SCOPES), asked & (CUSTOMER_SCOPES - STAFF_SCOPES)
    if for_staff and for_customers:
        raise UnknownScope(scopes=sorted(for_staff))
    return Actor.STAFF if for_staff else Actor.CUSTOMER


async def open_grant(
    tx: Tx, viewer: Viewer, client: OAuthClient, scope: str, *, now: datetime, details: Details = ()
) -> Grant:
    """Record that somebody allows a client something; a viewer of kind CLIENT is the client itself."""
    authenticated_at = now if viewer.actor is Actor.CLIENT else viewer.authenticated_at
    assert authenticated_at is not None, "only people who signed in can grant anything"
    grant = Grant(
        id=new_id(),
        client_id=client.client_id,
        scope=scope,
        authenticated_at=authenticated_at,
        customer_id=viewer.customer_id,
        staff_id=viewer.staff_id,
        session_id=viewer.session_id,
        details=details,
        amr=viewer.amr or PASSWORD,
    )
    await tx.execute(
        insert(oauth_grant).values(
            id=grant.id,
            customer_id=grant.customer_id,
            staff_id=grant.staff_id,
            client_id=client.id,
            session_id=grant.session_id,
            scope=scope,
            authenticated_at=grant.authenticated_at,
            amr=list(grant.amr),
            created_at=now,
            authorization_details=[dict(detail) for detail in details] or None,
        )
    )
    await _record(tx, viewer, "grant.opened", grant.id, grant.customer_id)
    return grant


async def save_code(tx: Tx, grant: Grant, client: OAuthClient, request: AuthorizationRequest, *, now: datetime) -> None:
    """Write a code that lives for a minute; its value itself is kept nowhere."""
    await tx.execute(
        insert(oauth_code).values(
            id=new_id(),
            customer_id=grant.customer_id,
            code_hash=digest(request.code),
            client_id=client.id,
            family_id=grant.id,
            redirect_uri=request.redirect_uri,
            scope=grant.scope,
            nonce=request.nonce,
            code_challenge=request.code_challenge,
            dpop_jkt=request.dpop_jkt,
            authenticated_at=grant.authenticated_at,
            expires_at=now + CODE_LIFE,
        )
    )


async def redeem_code(tx: Tx, client: OAuthClient, code: str, *, now: datetime) -> Redeemed | None:
    """Consume a code. None when it is unknown, expired, another client's or used; a used one ends its family."""
    row = await tx.first(
        update(oauth_code)
        .where(
            oauth_code.c.code_hash == digest(code),
            oauth_code.c.client_id == client.id,
            oauth_code.c.used_at.is_(None),
            oauth_code.c.expires_at > now,
        )
        .values(used_at=now)
        .returning(
            oauth_code.c.family_id,
            oauth_code.c.redirect_uri,
            oauth_code.c.nonce,
            oauth_code.c.code_challenge,
            oauth_code.c.dpop_jkt,
        )
    )
    if row is None:
        await _end_if_replayed(tx, oauth_code, oauth_code.c.code_hash == digest(code), client, now)
        return None
    grant = await living(tx, row.family_id)
    request = AuthorizationRequest(code, row.redirect_uri, row.code_challenge, row.nonce, row.dpop_jkt)
    return Redeemed(grant, request) if grant else None


async def issue_refresh_token(
    tx: Tx, grant: Grant, client: OAuthClient, *, now: datetime, life_s: int, jkt: str | None = None
) -> str:
    """Write the next refresh token of a grant, bound to a key if one is named; its value is kept nowhere."""
    token = new_token()
    await tx.execute(
        insert(oauth_token).values(
            id=new_id(),
            customer_id=grant.customer_id,
            client_id=client.id,
            family_id=grant.id,
            refresh_hash=digest(token),
            scope=grant.scope,
            authenticated_at=grant.authenticated_at,
            issued_at=now,
            expires_at=now + timedelta(seconds=life_s),
            dpop_jkt=jkt,
        )
    )
    return token


async def redeem_refresh_token(
    tx: Tx, client: OAuthClient, token: str, *, now: datetime, jkt: str | None = None
) -> Refreshed | None:
    """Consume a refresh token. None as for a code; a used one ends its family.

    One that is bound to another key than ``jkt`` stays as it is: who holds the key still needs it (RFC 9449 section 5).
    """
    row = await tx.first(
        update(oauth_token)
        .where(
            oauth_token.c.refresh_hash == digest(token),
            oauth_token.c.client_id == client.id,
            oauth_token.c.used_at.is_(None),
            oauth_token.c.revoked_at.is_(None),
            oauth_token.c.expires_at > now,
            or_(oauth_token.c.dpop_jkt.is_(None), oauth_token.c.dpop_jkt == jkt),
        )
        .values(used_at=now)
        .returning(oauth_token.c.family_id, oauth_token.c.scope, oauth_token.c.client_id)
    )
    if row is None:
        await _end_if_replayed(tx, oauth_token, oauth_token.c.refresh_hash == digest(token), client, now)
        return None
    grant = await living(tx, row.family_id)
    return Refreshed(grant, row.scope, row.client_id) if grant else None


async def _end_if_replayed(
    tx: Tx, table: Table, which: ColumnElement[bool], client: OAuthClient, now: datetime
) -> None:
    family_id = await tx.scalar(
        select(table.c.family_id).where(which, table.c.client_id == client.id, table.c.used_at.is_not(None))
    )
    if family_id is not None:
        await end(tx, family_id, now=now, code="TOKEN_REPLAYED")


async def living(tx: Tx, grant_id: UUID) -> Grant | None:
    """A grant that has not ended, of a client that is not revoked, of somebody who still works here if they did."""
    return await _find(tx, oauth_grant.c.id == grant_id)


async def of_refresh_token(tx: Tx, token: str) -> Grant | None:
    """The living grant of a refresh token that was not used yet, for introspection and revocation."""
    which = select(oauth_token.c.family_id).where(
        oauth_token.c.refresh_hash == digest(token), oauth_token.c.used_at.is_(None), oauth_token.c.revoked_at.is_(None)
    )
    return await _find(tx, oauth_grant.c.id.in_(which))


async def _find(tx: Tx, which: ColumnElement[bool]) -> Grant | None:
    works_here = func.coalesce(oauth_grant.c.staff_id, oauth_grant.c.acting_staff_id)
    row = await tx.first(
        select(oauth_grant, oauth_client.c.client_id.label("client"))
        .select_from(oauth_grant.join(oauth_client).outerjoin(staff, staff.c.id == works_here))
        .where(
            which,
            oauth_grant.c.revoked_at.is_(None),
            oauth_client.c.revoked_at.is_(None),
            or_(works_here.is_(None), staff.c.active),
        )
    )
    if row is None:
        return None
    return Grant(
        id=row.id,
        client_id=row.client,
        scope=row.scope,
        authenticated_at=row.authenticated_at,
        customer_id=CustomerId(row.customer_id) if row.customer_id else None,
        staff_id=row.staff_id,
        session_id=row.session_id,
        details=tuple(row.authorization_details or ()),
        amr=tuple(row.amr),
        acting_staff_id=row.acting_staff_id,
    )


async def is_consented(tx: Tx, viewer: Viewer, client: OAuthClient, scope: str, details: Details = ()) -> bool:
    """Whether somebody has already allowed this client all of this: the scopes, and exactly these details."""
    owner = (
        oauth_grant.c.staff_id == viewer.staff_id
        if viewer.actor is Actor.STAFF
        else oauth_grant.c.customer_id == viewer.customer_id
    )
    given = select(oauth_grant.c.scope, oauth_grant.c.authorization_details).where(
        owner,
        oauth_grant.c.client_id == client.id,
        oauth_grant.c.revoked_at.is_(None),
        oauth_grant.c.acting_staff_id.is_(None),
    )
    asked = set(scope.split())
    # No details mean the whole of what the scopes cover: a grant that was narrowed is no consent to that.
    return any(
        asked <= set(row.scope.split()) and is_same(details, row.authorization_details or ())
        for row in await tx.all(given)
    )


async def end(tx: Tx, grant_id: UUID, *, now: datetime, code: str | None = None) -> None:
    """End a grant with its refresh tokens; access tokens follow within seconds. Ending twice is fine."""
    row = await tx.first(
        update(oauth_grant)
        .where(oauth_grant.c.id == grant_id, oauth_grant.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(oauth_grant.c.customer_id, oauth_grant.c.staff_id)
    )
    await tx.execute(
        update(oauth_token)
        .where(oauth_token.c.family_id == grant_id, oauth_token.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if row is not None:
        person = Actor.STAFF if row.staff_id else Actor.CUSTOMER
        actor = person if row.staff_id or row.customer_id else Actor.CLIENT
        owner = Viewer(actor, customer_id=row.customer_id, staff_id=row.staff_id)
        await _record(tx, owner, "grant.ended", grant_id, row.customer_id, code=code)


async def _record(
    tx: Tx, viewer: Viewer, action: str, grant_id: UUID, customer_id: UUID | None, *, code: str | None = None
) -> None:
    subject_ref = None
    if customer_id is not None:
        subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == customer_id))
    await audit.record(
        tx, viewer, action, subject_ref=subject_ref, object_type="OAuthGrant", object_id=grant_id, code=code
    )


def digest(secret: str) -> bytes:
    """How codes and refresh tokens are stored."""
    return hashlib.sha256(secret.encode()).digest()
