"""Access tokens: signed statements that live for minutes (RFC 9068), checked here for every edge.

The hot path is a look into a bounded cache keyed by the SHA-256 of the token. A token met for the first time is checked
in full: signature, claims, and that its grant lives. From then on only the list of ended grants matters, which each
process reads again every two seconds, whatever the number of tokens.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID
from weakref import WeakKeyDictionary, ref

from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwt import JWTClaimsRegistry
from sqlalchemy import select

from cdp.access.sharing import PARTNER_SCOPES
from cdp.access.strength import strength_of
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Database, Role, Tx
from cdp.core.errors import Unauthenticated
from cdp.core.ids import new_token
from cdp.core.platform import Platform
from cdp.operations.accounts.sessions import STAFF_PURPOSE, may_work
from cdp.operations.oauth import grants, partner_access
from cdp.operations.oauth.authorization_details import Details, areas_of
from cdp.operations.oauth.grants import Grant
from cdp.operations.oauth.partner_access import PartnerAccess
from cdp.operations.oauth.token_keys import TokenKeys
from cdp.tables.oauth import oauth_ended_grant
from cdp.tables.staff import staff

TYP = "at+jwt"
# Long enough to do something, short enough to be worth nothing tomorrow.
DELEGATED_LIFE_S = 300
PURPOSES = {Actor.CUSTOMER: "self_access", Actor.STAFF: STAFF_PURPOSE, Actor.CLIENT: "none"}
LARGEST_TOKEN = 8 * 1024
REMEMBERED = 10_000
ENDED_EVERY_S = 2.0
# A transaction that ended a grant may commit later than its clock says; rows this far back are read again.
OVERLAP = timedelta(minutes=2)


class TokenExpired(Unauthenticated):
    """The access token has expired; get a new one."""

    code = "TOKEN_EXPIRED"


class TokenInvalid(Unauthenticated):
    """The access token is not valid here."""

    code = "TOKEN_INVALID"


@dataclass(frozen=True)
class AccessToken:
    """A checked token."""

    viewer: Viewer
    grant_id: UUID
    expires_at: int
    issued_at: int
    token_id: str
    subject: str
    client_id: str
    scope: str
    details: Details = ()
    # The grant of the agent who acts in it; this token dies with either.
    agent_grant_id: UUID | None = None
    # Thumbprint of the key it is bound to (RFC 9449 section 6); None for a bearer token.
    bound_to: str | None = None


class Issuer:
    """One authorization server: its name, its keys, and what this process remembers about tokens."""

    def __init__(self, platform: Platform) -> None:
        self.url = platform.settings.url
        self.audience = platform.settings.url
        self.keys = TokenKeys(platform.keys)
        self._settings = platform.settings
        self._clock = platform.clock
        # Weak, because the table of issuers is keyed by it.
        self._database = ref(platform.db)
        self._known: OrderedDict[bytes, AccessToken] = OrderedDict()
        self._ended: dict[UUID, datetime] = {}
        self._ended_read_at = float("-inf")
        self._reading = asyncio.Lock()

    def access_token(
        self,
        grant: Grant,
        scope: str,
        *,
        roles: frozenset[str] = frozenset(),
        details: Details = (),
        jkt: str | None = None,
        agent: AccessToken | None = None,
    ) -> str:
        """Sign an access token for a grant; ``scope`` and ``details`` are at most the grant's, ``jkt`` binds it.

        ``agent`` is the token of who acts in it (RFC 8693 section 4.1), which this one does not outlive.
        """
        now = int(self._clock().timestamp())
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": grant.subject,
            "aud": self.audience,
            "iat": now,
            "exp": now + self._settings.access_token_ttl_s,
            "jti": new_token()[:22],
            "client_id": grant.client_id,
            "scope": scope,
            "grant_id": str(grant.id),
        }
        if grant.actor is not Actor.CLIENT:
            claims |= {"auth_time": int(grant.authenticated_at.timestamp()), "amr": list(grant.amr)}
            claims["acr"] = strength_of(grant.amr).value
        if agent is not None:
            claims["act"] = {"sub": agent.subject, "client_id": agent.client_id}
            claims |= {"act_grant_id": str(agent.grant_id), "exp": now + self.delegated_life_s(agent)}
        if details:
            claims["authorization_details"] = [dict(detail) for detail in details]
        if jkt is not None:
            claims["cnf"] = {"jkt": jkt}
        if grant.actor is Actor.STAFF:
            claims["roles"] = sorted(roles)
        return self.keys.sign(claims, typ=TYP)

    def delegated_life_s(self, agent: AccessToken) -> int:
        """How long somebody may act for somebody else: a few minutes, and never longer than their own token lives."""
        left_s = agent.expires_at - int(self._clock().timestamp())
        return max(0, min(DELEGATED_LIFE_S, self._settings.access_token_ttl_s, left_s))

    @property
    def _db(self) -> Database:
        found = self._database()
        assert found is not None, "who asks holds the platform"
        return found

    async def check(self, token: str) -> AccessToken:
        """Check a token. Raises TokenExpired, TokenInvalid; Unavailable when the database can not be asked."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if time.monotonic() - self._ended_read_at > ENDED_EVERY_S:
            await self._read_ended()
        known = self._known.get(digest)
        if known is None:
            known = await self._check_in_full(token)
            self._known[digest] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if known.expires_at <= self._clock().timestamp():
            self._known.pop(digest, None)
            raise TokenExpired
        if known.grant_id in self._ended or known.agent_grant_id in self._ended:
            self._known.pop(digest, None)
            raise TokenInvalid
        return known

    def look_again(self) -> None:
        """Read the list of ended grants before the next check: this process has just ended one."""
        self._ended_read_at = float("-inf")

    async def _check_in_full(self, token: str) -> AccessToken:
        if len(token) > LARGEST_TOKEN or not token.isascii():
            raise TokenInvalid
        claims = self._claims(token)
        try:
            grant_id = UUID(str(claims["grant_id"]))
        except ValueError as error:
            raise TokenInvalid from error
        async with self._db.transaction(Role.WORKER) as tx:
            grant = await grants.living(tx, grant_id)
            if grant is None or grant.subject != claims["sub"] or grant.client_id != claims["client_id"]:
                raise TokenInvalid
            agent_grant_id = await _agent_grant(tx, grant, claims)
            roles = await staff_roles(tx, grant)
            details = _details(claims)
            scopes, access = await _access(tx, grant, str(claims["scope"]), details)
        works_here = grant.staff_id is not None or grant.acting_staff_id is not None
        if works_here and not may_work(self._settings, grant.amr):
            raise TokenInvalid
        scope = str(claims["scope"])
        is_person = grant.actor is not Actor.CLIENT
        viewer = Viewer(
            grant.actor,
            customer_id=grant.customer_id,
            staff_id=grant.staff_id,
            roles=roles,
            scopes=scopes,
            authenticated_at=datetime.fromtimestamp(_number(claims.get("auth_time")), UTC) if is_person else None,
            amr=grant.amr if is_person else (),
            client_id=grant.client_id,
            session_id=grant.session_id,
            purpose=access.purpose if access else STAFF_PURPOSE if works_here else PURPOSES[grant.actor],
            areas=areas_of(details),
            acting_staff_id=grant.acting_staff_id,
            sharing=access.sharing if access else None,
        )
        return AccessToken(
            viewer=viewer,
            grant_id=grant.id,
            expires_at=_number(claims["exp"]),
            issued_at=_number(claims["iat"]),
            token_id=str(claims["jti"]),
            subject=grant.subject,
            client_id=grant.client_id,
            scope=scope,
            details=details,
            agent_grant_id=agent_grant_id,
            bound_to=_thumbprint(claims),
        )

    def _claims(self, token: str) -> dict[str, object]:
        now = int(self._clock().timestamp())
        rules = JWTClaimsRegistry(
            now=now,
            leeway=0,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": self.audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            client_id={"essential": True},
            scope={"essential": True, "allow_blank": True},
            grant_id={"essential": True},
        )
        try:
            header, claims = self.keys.read(token)
            if str(header.get("typ", "")).lower() not in {TYP, f"application/{TYP}"}:
                raise TokenInvalid
            rules.validate(claims)
        except ExpiredTokenError as error:
            raise TokenExpired from error
        except (JoseError, ValueError, TypeError) as error:
            raise TokenInvalid from error
        return claims

    async def _read_ended(self) -> None:
        """One reader at a time; the others wait for what it finds."""
        async with self._reading:
            if time.monotonic() - self._ended_read_at <= ENDED_EVERY_S:
                return
            started, now = time.monotonic(), self._clock()
            life = timedelta(seconds=self._settings.access_token_ttl_s)
            since = now - (life if not self._ended else timedelta(0)) - OVERLAP
            async with self._db.transaction(Role.WORKER) as tx:
                rows = await tx.all(select(oauth_ended_grant).where(oauth_ended_grant.c.ended_at > since))
            self._ended = {
                grant_id: ended_at for grant_id, ended_at in self._ended.items() if ended_at > now - life - OVERLAP
            }
            self._ended.update({row.grant_id: row.ended_at for row in rows})
            self._ended_read_at = started


_issuers: WeakKeyDictionary[Database, Issuer] = WeakKeyDictionary()


def issuer_of(platform: Platform) -> Issuer:
    """The issuer of a platform, one a process; it lives as long as the platform's database."""
    found = _issuers.get(platform.db)
    if found is None:
        found = _issuers[platform.db] = Issuer(platform)
    return found


async def viewer_from_bearer(platform: Platform, token: str) -> Viewer:
    """The viewer a bearer token stands for. Raises TokenExpired and TokenInvalid, also for one bound to a key."""
    found = await issuer_of(platform).check(token)
    if found.bound_to is not None:
        raise TokenInvalid
    return found.viewer


async def staff_roles(tx: Tx, grant: Grant) -> frozenset[str]:
    """Roles of the member of staff behind a grant, none for a customer. Raises TokenInvalid for one who left."""
    staff_id = grant.staff_id or grant.acting_staff_id
    if staff_id is None:
        return frozenset()
    roles = await tx.scalar(select(staff.c.roles).where(staff.c.id == staff_id, staff.c.active))
    if roles is None:
        raise TokenInvalid
    return frozenset(roles)


async def _access(tx: Tx, grant: Grant, scope: str, details: Details) -> tuple[frozenset[str], PartnerAccess | None]:
    """Scopes of a token, and the grant of a partner behind it; one that names a grant is good for nothing else.

    Raises TokenInvalid when that grant lives no more.
    """
    scopes = frozenset(scope.split())
    if grant.actor is not Actor.CLIENT or not partner_access.asked(details):
        return scopes, None
    access = await partner_access.access_of(tx, grant.client_id, details)
    if access is None:
        raise TokenInvalid
    return scopes & PARTNER_SCOPES, access


def _details(claims: Mapping[str, object]) -> Details:
    found = claims.get("authorization_details", [])
    if not isinstance(found, list) or not all(isinstance(detail, dict) for detail in found):
        raise TokenInvalid
    return tuple(found)


def _thumbprint(claims: Mapping[str, object]) -> str | None:
    """A token that is bound in a way we do not know is refused, never taken for a bearer token."""
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or not isinstance(confirmation.get("jkt"), str):
        raise TokenInvalid
    return str(confirmation["jkt"])


async def _agent_grant(tx: Tx, grant: Grant, claims: Mapping[str, object]) -> UUID | None:
    """The living grant of who acts in a token, None where nobody does. Raises TokenInvalid when they may no more."""
    if grant.acting_staff_id is None:
        return None
    try:
        agents = await grants.living(tx, UUID(str(claims.get("act_grant_id"))))
    except ValueError as error:
        raise TokenInvalid from error
    if agents is None or agents.staff_id != grant.acting_staff_id:
        raise TokenInvalid
    return agents.id


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenInvalid
    return int(value)
