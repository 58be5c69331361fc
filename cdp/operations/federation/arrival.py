"""Somebody the provider vouches for, read from its claims; kept sealed in their browser while unknown here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cdp.access.viewer import Actor
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.core.sign import decode, encode
from cdp.operations import values
from cdp.operations.federation.flow import Asserted
from cdp.operations.federation.provider import Provider
from cdp.operations.values import InvalidEmail, InvalidText

GOOD_FOR = timedelta(minutes=30)
# A cookie holds four kilobytes; without the token the provider asks before it signs somebody out.
LONGEST_KEPT = 1500


@dataclass(frozen=True)
class Arrival:
    """Issuer and subject say who it is; the rest is only what the provider tells about them."""

    issuer: str
    subject: str
    email: str | None = field(repr=False)
    is_email_verified: bool
    given_name: str | None = field(repr=False)
    family_name: str | None = field(repr=False)
    name: str | None = field(repr=False)
    roles: tuple[str, ...]
    authenticated_at: float
    amr: tuple[str, ...]
    id_token: str = field(repr=False)
    next: str

    @property
    def own_name(self) -> str:
        """A user name nobody can type by chance: it holds no @, and stands for issuer and subject alone."""
        named = "\0".join((self.issuer, self.subject))
        return f"external-{hashlib.sha256(named.encode()).hexdigest()[:32]}"

    @property
    def signed_in_at(self) -> datetime:
        """When they signed in at the provider."""
        return datetime.fromtimestamp(self.authenticated_at, UTC)


def read(provider: Provider, asserted: Asserted) -> Arrival:
    """Read the claims; what can not be stored is left out."""
    claims = asserted.claims
    return Arrival(
        issuer=asserted.issuer,
        subject=asserted.subject,
        email=_email(claims),
        is_email_verified=claims.get("email_verified") is True,
        given_name=_text(claims, "given_name", 100),
        family_name=_text(claims, "family_name", 100),
        name=_text(claims, "name", 200),
        roles=tuple(sorted(provider.roles_of(claims))),
        authenticated_at=asserted.authenticated_at.timestamp(),
        amr=asserted.amr,
        id_token=asserted.id_token,
        next=asserted.next,
    )


def seal(platform: Platform, actor: Actor, arrival: Arrival) -> str:
    """The cookie somebody unknown keeps until they have an account."""
    kept = arrival if len(arrival.id_token) <= LONGEST_KEPT else replace(arrival, id_token="")
    document = {**asdict(kept), "until": (platform.clock() + GOOD_FOR).timestamp()}
    return encode(platform.sealer.seal(json.dumps(document).encode(), _context(actor)))


def unseal(platform: Platform, actor: Actor, cookie: str | None) -> Arrival | None:
    """Who waits in this browser; None when nobody does, or not any more."""
    if not cookie:
        return None
    try:
        document = json.loads(platform.sealer.open(decode(cookie), _context(actor)))
        until = float(document.pop("until"))
        arrival = Arrival(**{**document, "roles": tuple(document["roles"]), "amr": tuple(document["amr"])})
    except (Unsealable, ValueError, TypeError, KeyError):
        return None
    return arrival if platform.clock().timestamp() <= until else None


def _context(actor: Actor) -> str:
    return f"federation.arrival:{actor}"


def _email(claims: Mapping[str, object]) -> str | None:
    found = claims.get("email")
    try:
        return values.email(found).address if isinstance(found, str) else None
    except InvalidEmail:
        return None


def _text(claims: Mapping[str, object], name: str, longest: int) -> str | None:
    found = claims.get(name)
    try:
        return values.text(found, name, longest=longest) if isinstance(found, str) else None
    except InvalidText:
        return None
