"""Plans: a statement made once for a document and a shape of viewer, and what each call puts into it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from graphql import Node

from cdp.access.viewer import Viewer
from cdp.compiler.cursors import CursorSeal
from cdp.core.errors import PlatformError

Path: TypeAlias = tuple[str, ...]
"""Response keys from the root; positions in lists are not part of it."""


Members: TypeAlias = Callable[["Call", int], bool]


@dataclass(slots=True)
class Call:
    """One run of a plan: who asks, with which coerced variables, and the random mark around cursors."""

    viewer: Viewer
    variables: Mapping[str, Any]
    mark: str
    row_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of the statement. A PlatformError it raises belongs to the field at ``path``."""

    name: str
    read: Callable[[Call], Any]
    path: Path
    is_each: bool = False
    """Whether the parameter is an array with a value of each call that the statement serves."""


@dataclass(frozen=True)
class Denied:
    """A field that is null by plan, and why. ``members`` says which members of the outermost list it concerns."""

    path: Path
    error: PlatformError
    members: "Members | None" = None


@dataclass(frozen=True)
class Plan:
    """One statement with a column per root field, in document order."""

    sql: str
    keys: tuple[str, ...]
    """Root fields by their response keys."""
    slots: tuple[Slot, ...]
    denied: tuple[Denied, ...]
    cursor_scopes: tuple[bytes, ...]
    seal: CursorSeal
    holds: Sequence[Node] = field(default=(), repr=False)
    """Syntax nodes whose identity is part of the plan's key: kept alive as long as the plan."""
    is_shared: bool = False
    """Whether one more column says if the partner's grant lives and how many people were kept back."""
    leaves_traces: bool = False
    """Whether the statement records what it reads."""
    each: frozenset[str] = frozenset()
    """Keys whose columns hold a part of every call that the statement serves; see ``batches.parts``."""

    @property
    def serves_many(self) -> bool:
        """Whether one run can answer several calls that differ in nothing but their own values."""
        return bool(self.each) and self.each.issuperset(self.keys) and not self.cursor_scopes

    def bind(self, call: Call) -> list[Any]:
        """Values of the parameters in order, for this call alone. Raises what a slot raises."""
        return [[slot.read(call)] if slot.is_each else slot.read(call) for slot in self.slots]

    def failures(self, call: Call) -> dict[Path, PlatformError]:
        """Which fields can not be read with this call's values; asked only after ``bind`` has raised."""
        found: dict[Path, PlatformError] = {}
        for slot in self.slots:
            try:
                slot.read(call)
            except PlatformError as error:
                found[slot.path] = error
        return found
