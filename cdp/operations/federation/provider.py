"""The external provider as the settings name it: whom it signs in, and which of its claims make which role."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cdp.access.viewer import Actor
from cdp.core.errors import InvalidInput
from cdp.core.settings import Realms, Settings
from cdp.tables.staff import StaffRole

REALMS: Mapping[Realms, frozenset[Actor]] = {
    Realms.CUSTOMERS: frozenset({Actor.CUSTOMER}),
    Realms.STAFF: frozenset({Actor.STAFF}),
    Realms.BOTH: frozenset({Actor.CUSTOMER, Actor.STAFF}),
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ProviderMisconfigured(InvalidInput):
    """The settings of the external provider do not add up."""

    code = "PROVIDER_MISCONFIGURED"


@dataclass(frozen=True)
class Provider:
    """One provider. ``roles`` maps a value of its roles claim to roles here."""

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    name: str
    scope: str
    roles_claim: str
    roles: Mapping[str, frozenset[str]]
    realms: frozenset[Actor]
    demands_mfa: bool
    leeway_s: int

    def roles_of(self, claims: Mapping[str, object]) -> frozenset[str]:
        """The roles somebody's claims stand for; values nobody mapped stand for none."""
        found = _at(claims, self.roles_claim)
        values = found if isinstance(found, list) else [found]
        return frozenset(role for value in values if isinstance(value, str) for role in self.roles.get(value, ()))


def _at(claims: Mapping[str, object], name: str) -> object:
    """A claim by its whole name (some are addresses, with dots), else along the dots."""
    if name in claims:
        return claims[name]
    head, _, rest = name.partition(".")
    inner = claims.get(head)
    return _at(inner, rest) if rest and isinstance(inner, dict) else None


def provider_of(settings: Settings) -> Provider | None:
    """The provider of the settings, if they name one. Raises ProviderMisconfigured."""
    if not settings.oidc_issuer:
        return None
    parts = urlsplit(settings.oidc_issuer)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and parts.hostname in LOOPBACK and not settings.is_secure
    ):
        raise ProviderMisconfigured("CDP_OIDC_ISSUER must be https.")
    if not settings.oidc_client_id:
        raise ProviderMisconfigured("CDP_OIDC_CLIENT_ID is missing.")
    if "openid" not in settings.oidc_scopes.split():
        raise ProviderMisconfigured("CDP_OIDC_SCOPES must hold openid.")
    realms, roles = REALMS[settings.oidc_for], _roles(settings.oidc_roles)
    if Actor.STAFF in realms and not roles:
        raise ProviderMisconfigured("CDP_OIDC_ROLES is missing: nobody could work here.")
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret or None,
        name=settings.oidc_name or str(parts.hostname),
        scope=settings.oidc_scopes,
        roles_claim=settings.oidc_roles_claim,
        roles=roles,
        realms=realms,
        demands_mfa=settings.oidc_demands_mfa,
        leeway_s=settings.oidc_leeway_s,
    )


def provider_for(settings: Settings, actor: Actor) -> Provider | None:
    """The provider that signs this kind of people in instead of us, or None."""
    found = provider_of(settings)
    return found if found is not None and actor in found.realms else None


def _roles(given: str) -> Mapping[str, frozenset[str]]:
    try:
        found = json.loads(given or "{}")
        read = {value: frozenset([names] if isinstance(names, str) else names) for value, names in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ProviderMisconfigured("CDP_OIDC_ROLES is a JSON object: claim value to a list of roles.") from error
    if unknown := {name for names in read.values() for name in names} - {role.value for role in StaffRole}:
        raise ProviderMisconfigured(f"CDP_OIDC_ROLES names unknown roles: {', '.join(sorted(map(str, unknown)))}.")
    return read
