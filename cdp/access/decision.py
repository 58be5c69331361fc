"""What a rule says about one field for one kind of viewer, and the SQL it stands for.

Decisions depend on the viewer's kind, roles, scopes and purpose (``Viewer.shape``), never on who it is, so a statement
is compiled once for all viewers of a shape; who it is arrives as the parameter ``subject``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sqlalchemy import ColumnElement

from cdp.access.authorization_types import is_outside
from cdp.access.sharing import READ_SCOPE
from cdp.access.viewer import Actor, MissingScope, Viewer
from cdp.core.errors import Forbidden, PlatformError, Unauthenticated
from cdp.tables.base import Category


class OutsideAuthorization(Forbidden):
    """The token is narrowed to other parts of the profile."""

    code = "OUTSIDE_AUTHORIZATION"


class OutsideGrant(Forbidden):
    """The partner's grant does not cover this."""

    code = "OUTSIDE_GRANT"


class GrantEnded(Forbidden):
    """The partner's grant is not in force."""

    code = "PARTNER_GRANT_ENDED"


class Columns(Protocol):
    """A row's columns by name."""

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        """The column of this row."""


MaskSql: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[Any]]


@dataclass(frozen=True)
class Allow:
    """The value as it is."""


@dataclass(frozen=True)
class Deny:
    """No value: null, and this error."""

    error: PlatformError


@dataclass(frozen=True)
class Mask:
    """A veiled value: enough to recognise it, not to use it. A reveal of its category lifts it; without one nothing."""

    sql: MaskSql
    category: Category | None = None


Decision: TypeAlias = Allow | Deny | Mask
ALLOW = Allow()


class Rows(Protocol):
    """Which rows of a type a viewer may see: a predicate over the row and the viewer's own id.

    That is their customer id, for staff the id by which they work here.
    """

    def __call__(self, row: Columns, viewer_id: ColumnElement[Any], /) -> ColumnElement[bool] | None:
        """The predicate, or None for every row."""


@dataclass(frozen=True)
class Own:
    """Rows of the viewer's own customer id, by the column that names it."""

    column: str

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool] | None:
        """Compare the row's subject."""
        return row[self.column] == subject


@dataclass(frozen=True)
class Everything:
    """All rows: what the type holds belongs to nobody, or the viewer works with everybody's."""

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool] | None:  # noqa: ARG002  # Rows
        """No predicate."""
        return None


@dataclass(frozen=True)
class Who:
    """Viewers a rule is about: a kind, any of some roles (none: all of that kind), and a scope of their token."""

    actor: Actor
    roles: frozenset[str] = frozenset()
    scope: str | None = None

    def fits(self, viewer: Viewer) -> bool:
        """Whether a viewer is of this kind, whatever their token may do."""
        return self.actor is viewer.actor and (not self.roles or bool(self.roles & viewer.roles))


@dataclass(frozen=True)
class Rule:
    """One line of the catalogue: these viewers, these fields of this type, this decision."""

    who: Who
    type: str
    fields: frozenset[str]
    decision: Decision = ALLOW


@dataclass(frozen=True)
class RowRule:
    """Which rows of a type a kind of viewer may see."""

    actor: Actor
    type: str
    rows: Rows


class Rules:
    """The catalogue, indexed. What no rule lists is denied, fields and rows alike."""

    def __init__(self, fields: Iterable[Rule], rows: Iterable[RowRule]) -> None:
        self.fields = tuple(fields)
        self.row_rules = tuple(rows)
        self._fields: dict[tuple[str, str], list[Rule]] = {}
        for rule in self.fields:
            for name in rule.fields:
                self._fields.setdefault((rule.type, name), []).append(rule)
        self._rows: Mapping[tuple[Actor, str], Rows] = {(rule.actor, rule.type): rule.rows for rule in self.row_rules}

    def decide(self, viewer: Viewer, type_name: str, field: str) -> Decision:
        """The first rule that fits decides. ``maskedFields`` and ``__typename`` follow their type's other fields."""
        if is_outside(viewer.areas, type_name, field):
            return Deny(OutsideAuthorization())
        rule = self.deciding(viewer, type_name, field)
        if rule is not None:
            return rule.decision
        if viewer.sharing is not None:
            return _shared(viewer, f"{type_name}.{field}")
        missing = self._missing(viewer, type_name, field)
        if missing is not None:
            return Deny(MissingScope(scope=missing))
        return Deny(Unauthenticated() if viewer.actor is Actor.ANONYMOUS else Forbidden())

    def deciding(self, viewer: Viewer, type_name: str, field: str) -> Rule | None:
        """The first rule that fits, or None: what no rule lists is denied."""
        for rule in self._fields.get((type_name, field), ()):
            if rule.who.fits(viewer) and (rule.who.scope is None or rule.who.scope in viewer.scopes):
                return rule
        return None

    def _missing(self, viewer: Viewer, type_name: str, field: str) -> str | None:
        """The scope a viewer of the right kind lacks, of the last rule that would fit with it."""
        fitting = [rule.who.scope for rule in self._fields.get((type_name, field), ()) if rule.who.fits(viewer)]
        return fitting[-1] if fitting else None

    def rows(self, viewer: Viewer, type_name: str) -> Rows | None:
        """The row rule of a type, or None: this kind of viewer sees no row of it."""
        if is_outside(viewer.areas, type_name):
            return None
        if viewer.sharing is not None and type_name in viewer.sharing.types:
            return OfPartner() if type_name == "Disclosure" else Everything()
        return self._rows.get((viewer.actor, type_name))


@dataclass(frozen=True)
class OfPartner:
    """Disclosures to the partner who asks; whom else it sees, the statement decides at its roots."""

    def __call__(self, row: Columns, subject: ColumnElement[Any]) -> ColumnElement[bool] | None:
        """Compare the partner."""
        return row["partner_id"] == subject


def _shared(viewer: Viewer, coordinate: str) -> Decision:
    """What the grant says, for a token that may read at all."""
    if READ_SCOPE not in viewer.scopes:
        return Deny(MissingScope(scope=READ_SCOPE))
    assert viewer.sharing is not None
    return ALLOW if coordinate in viewer.sharing.coordinates else Deny(OutsideGrant())
