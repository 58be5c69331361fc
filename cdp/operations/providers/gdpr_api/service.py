"""The service we are to whoever calls: whose tokens count, for what, and whose numbering finds our customers."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from cdp.core.errors import InvalidInput
from cdp.core.settings import Environment, Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ServiceMisconfigured(InvalidInput):
    """The settings of the GDPR API do not add up."""

    code = "GDPR_API_MISCONFIGURED"


@dataclass(frozen=True)
class Service:
    """One issuer and audience. ``scope_claim`` is empty where scopes stand in ``authorization.permissions``."""

    issuer: str
    audience: str
    scope_claim: str
    query_scope: str
    delete_scope: str
    levels: frozenset[str]
    numbering: str


def service_of(settings: Settings) -> Service | None:
    """The service of the settings, None where they name no issuer. Raises ServiceMisconfigured."""
    if not settings.gdpr_api_issuer:
        return None
    parts = urlsplit(settings.gdpr_api_issuer)
    is_here = parts.hostname in LOOPBACK and settings.env is not Environment.PRODUCTION
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise ServiceMisconfigured("CDP_GDPR_API_ISSUER must be https.")
    if not settings.gdpr_api_audience:
        raise ServiceMisconfigured("CDP_GDPR_API_AUDIENCE is missing: every token of the issuer would count.")
    levels = frozenset(one.strip() for one in settings.gdpr_api_levels.split(",") if one.strip())
    if not levels:
        raise ServiceMisconfigured("CDP_GDPR_API_LEVELS is empty: no token would count.")
    return Service(
        issuer=settings.gdpr_api_issuer,
        audience=settings.gdpr_api_audience,
        scope_claim=settings.gdpr_api_scope_claim,
        query_scope=settings.gdpr_api_query_scope,
        delete_scope=settings.gdpr_api_delete_scope,
        levels=levels,
        numbering=settings.gdpr_api_numbering or settings.gdpr_api_issuer,
    )
