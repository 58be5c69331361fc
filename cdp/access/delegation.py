"""What a member of staff may do in a customer's name, as data: by role, and by what their own token carries.

A delegated token holds no more than the role gives, than the agent's own scopes reach, and than the customer could do.
Source: RFC 8693 (token exchange), https://www.rfc-editor.org/rfc/rfc8693
"""

from collections.abc import Mapping

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer

SCOPE = "customers:act"
_LOOK = frozenset({"profile:read", "privacy:read"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "agent": _LOOK,
    "supervisor": _LOOK | {"profile:write", "consent:write", "privacy:export"},
    "privacy_officer": _LOOK | {"privacy:export", "privacy:erase"},
}
# Scope of a customer -> the scope of staff without which it is not lent.
NEEDS: Mapping[str, str] = {
    "profile:read": "customers:read",
    "profile:write": "customers:read",
    "consent:write": "customers:read",
    "privacy:read": "requests:work",
    "privacy:export": "requests:work",
    "privacy:erase": "requests:work",
}


def lendable(viewer: Viewer) -> frozenset[str]:
    """The scopes this viewer may act with for a customer; none for who is no member of staff, or acts already."""
    if viewer.actor is not Actor.STAFF or SCOPE not in viewer.scopes:
        return frozenset()
    given = frozenset().union(*(RIGHTS.get(role, frozenset()) for role in viewer.roles))
    return frozenset(scope for scope in given & CUSTOMER_SCOPES if NEEDS[scope] in viewer.scopes)
