"""OAuth scopes the platform knows, and what each lets a client do; the documented table is generated from this."""

from collections.abc import Mapping

SCOPES: Mapping[str, str] = {
    "openid": "Sign you in",
    "offline_access": "Stay signed in",
    "profile:read": "Read your profile, orders and activity",
    "profile:write": "Change your profile, contacts and preferences",
    "consent:write": "Give and withdraw consents",
    "privacy:read": "See your privacy requests",
    "privacy:export": "Ask for a copy of your data and download it",
    "privacy:erase": "Ask for the deletion of your data",
    "customers:read": "Read customers (staff)",
    "customers:reveal": "See masked details of a customer for a minute, with a reason (staff)",
    "customers:act": "Act for a customer for a few minutes, with a reason (staff)",
    "customers:merge": "Merge duplicate customers and take them apart again (staff)",
    "requests:work": "Work on privacy requests (staff)",
    "holds:manage": "Place and release legal holds (staff)",
    "transfers:read": "See asset transfers (staff)",
    "transfers:manage": "Prepare and approve asset transfers (staff)",
    "systems:read": "See connected systems (staff)",
    "partners:manage": "Propose, agree to and end what partners may see (staff)",
    "partner:read": "Read customers as far as a grant covers (partners)",
    "partner:offer": "Have offers sent through us, as far as a grant covers (partners)",
    "transfers:receive": "Receive the transfers addressed to it, and sign for them (programs)",
    "bulk:export": "Export many customers at once for a purpose (staff, programs)",
    "bulk:approve": "Approve exports that identify people (staff)",
    "audit:read": "Read the audit log (staff)",
    "graphql:explore": "Ask for anything in the schema, and see it with suggestions (staff)",
    "opendsr": "Send the privacy requests of its own customers (programs)",
    "access:explain": "See which rule decided a field, and the SQL (staff)",
}

CUSTOMER_SCOPES = frozenset(
    {
        "openid",
        "offline_access",
        "profile:read",
        "profile:write",
        "consent:write",
        "privacy:read",
        "privacy:export",
        "privacy:erase",
    }
)
STAFF_SCOPES = frozenset(
    {
        "openid",
        "offline_access",
        "customers:read",
        "customers:reveal",
        "customers:act",
        "customers:merge",
        "requests:work",
        "holds:manage",
        "transfers:read",
        "transfers:manage",
        "systems:read",
        "partners:manage",
        "bulk:export",
        "bulk:approve",
        "audit:read",
        "graphql:explore",
        "access:explain",
    }
)
