"""Types of authorization details: what a client may ask for beyond scopes, each with the JSON schema of its shape.

A type that is not here does not exist, and neither does a member its schema does not name.
Sources: RFC 9396, https://www.rfc-editor.org/rfc/rfc9396; JSON Schema 2020-12.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cdp.access.viewer import Actor


@dataclass(frozen=True)
class AuthorizationType:
    """One type; ``sentence`` says to a person what is asked, with members of the detail in braces."""

    sentence: str
    schema: Mapping[str, object]
    actors: frozenset[Actor]


def _shape(name: str, members: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"type": {"const": name}, **members},
        "required": ["type", *members],
        "additionalProperties": False,
    }


PROFILE_ACCESS = "profile_access"
PARTNER_ACCESS = "partner_access"


@dataclass(frozen=True)
class Area:
    """A part of a profile: fields of ``Customer`` that lead there, and the GraphQL types it consists of."""

    edges: frozenset[str]
    types: frozenset[str]


def _area(edges: str, types: str) -> Area:
    return Area(frozenset(edges.split()), frozenset(types.split()))


# What ``profile_access`` can narrow reading to.
AREAS: Mapping[str, Area] = {
    "contacts": _area("contacts", "Contacts EmailAddress PhoneNumber PostalAddress"),
    "orders": _area("orders", "Order OrderItem"),
    "preferences": _area(
        "preferences currentConsents consents policyAcceptances", "Preference Consent PolicyAcceptance"
    ),
    "conversations": _area("inquiries quotations surveyResponses messages", "Inquiry Quotation SurveyResponse Message"),
    "activity": _area("events devices sessions auditEvents", "Event Device Session AuditEvent"),
    "identities": _area("identities account", "Identity Account"),
    "signing_in": _area(
        "externalIdentities authenticators passkeys recoveryCodes authorizations",
        "ExternalIdentity Authenticator Passkey RecoveryCode Authorization AuthorizationToken Application",
    ),
}


def is_outside(areas: frozenset[str] | None, type_name: str, field: str | None = None) -> bool:
    """Whether a token narrowed to these areas does not reach a type, or the field that leads there."""
    if areas is None:
        return False
    return any(
        type_name in area.types or (type_name == "Customer" and field in area.edges)
        for name, area in AREAS.items()
        if name not in areas
    )


TYPES: Mapping[str, AuthorizationType] = {
    PROFILE_ACCESS: AuthorizationType(
        "Read only these parts of your profile: {areas}",
        _shape(
            PROFILE_ACCESS,
            {
                "areas": {
                    "type": "array",
                    "items": {"enum": sorted(AREAS)},
                    "minItems": 1,
                    "uniqueItems": True,
                }
            },
        ),
        frozenset({Actor.CUSTOMER}),
    ),
    PARTNER_ACCESS: AuthorizationType(
        "Read what grant {grant} covers, for the purpose {purpose}",
        _shape(
            PARTNER_ACCESS,
            {
                "purpose": {"type": "string", "pattern": "^[a-z][a-z0-9_.]{0,59}$"},
                "grant": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
            },
        ),
        frozenset({Actor.CLIENT}),
    ),
}
