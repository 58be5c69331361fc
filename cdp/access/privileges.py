"""Privileges: what only some of the staff may do at the door itself, whatever they read there."""

from dataclasses import dataclass

from cdp.access.viewer import Actor, MissingScope, Viewer
from cdp.core.errors import Forbidden


@dataclass(frozen=True)
class Privilege:
    """A scope, and the roles that may use it; no role named means every role of staff."""

    scope: str
    roles: frozenset[str] = frozenset()

    def allows(self, viewer: Viewer) -> bool:
        """Whether this viewer has it."""
        is_theirs = viewer.actor is Actor.STAFF and (not self.roles or bool(self.roles & viewer.roles))
        return is_theirs and self.scope in viewer.scopes

    def require(self, viewer: Viewer) -> None:
        """Raise Forbidden or MissingScope unless this viewer has it."""
        if viewer.actor is not Actor.STAFF or (self.roles and not self.roles & viewer.roles):
            raise Forbidden
        if self.scope not in viewer.scopes:
            raise MissingScope(scope=self.scope)


EXPLORE = Privilege("graphql:explore")
"""Documents of one's own where only stored ones are let in, the schema where it is not shown, suggestions of names."""
EXPLAIN = Privilege("access:explain", frozenset({"supervisor", "privacy_officer", "administrator"}))
"""Which rule decided each field, and the SQL."""
PRIVILEGES = (EXPLORE, EXPLAIN)
