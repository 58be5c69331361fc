"""What is known while one plan is made: the viewer's kind, the call's shape, and what the statement will need."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    BooleanValueNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)
from sqlalchemy import ARRAY, CTE, BindParameter, ColumnElement, Text, Uuid, bindparam, exists, select
from sqlalchemy.types import TypeEngine

from cdp.access.decision import Deny, Mask, Rules
from cdp.access.sharing import Sharing
from cdp.access.viewer import Viewer
from cdp.access.withholding import in_force
from cdp.compiler.arguments import Lifted, Variables, lift_arguments
from cdp.compiler.cursors import CursorSeal
from cdp.compiler.graph import Coordinate, Graph, ObjectType
from cdp.compiler.plan import Call, Denied, Members, Path, Slot
from cdp.core.errors import PlatformError

Sets: TypeAlias = tuple[SelectionSetNode, ...]
MARK = "mark"
SUBJECT = "subject"
STAFF = "staff"
GRANT = "grant"
PARTNER = "partner"


@dataclass(frozen=True)
class Selected:
    """Fields of one response name, merged."""

    key: str
    node: FieldNode
    sets: Sets

    @property
    def name(self) -> str:
        """The field's own name."""
        return self.node.name.value


@dataclass
class Context:
    """State of one compilation."""

    graph: Graph
    rules: Rules
    viewer: Viewer
    variables: Variables
    fragments: Mapping[str, FragmentDefinitionNode]
    seal: CursorSeal
    failures: Mapping[Path, PlatformError] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    denied: list[Denied] = field(default_factory=list)
    cursor_scopes: list[bytes] = field(default_factory=list)
    aliases: int = 0
    members: Members | None = None
    """Which members of a list of several types are under construction."""
    living: CTE | None = None
    """Whether a partner's grant is in force: asked once a statement, by whoever shows people and by its account."""
    withheld: list[tuple[str, ColumnElement[int]]] = field(default_factory=list)
    """How many people each root field keeps from a partner, where its column does not say so itself."""
    each: set[str] = field(default_factory=set)
    """Root fields whose column holds a part of every call the statement serves."""
    shown: set[str] = field(default_factory=set)
    """Personal fields the root field under construction shows, ``Type.field``."""
    matched: set[str] = field(default_factory=set)
    """Fields it filters or sorts by."""
    trail: dict[Path, Coordinate] = field(default_factory=dict)
    """Every field that was decided, in document order."""

    def alias(self) -> str:
        """The next table alias."""
        self.aliases += 1
        return f"t{self.aliases}"

    def parameter(self, read: Callable[[Call], Any], kind: TypeEngine[Any], path: Path) -> BindParameter[Any]:
        """A parameter of the statement, read anew from every call."""
        return self._parameter(f"p{len(self.slots) + 1}", read, kind, path)

    def each_of(self, read: Callable[[Call], Any], kind: TypeEngine[Any], path: Path) -> BindParameter[Any]:
        """A parameter that is an array with a value of each call the statement serves, in their order."""
        return self._parameter(f"p{len(self.slots) + 1}", read, ARRAY(kind), path, is_each=True)

    def subject(self) -> BindParameter[Any]:
        """The viewer's own customer id."""
        return self._parameter(SUBJECT, lambda call: call.viewer.customer_id, Uuid(), ())

    def staff(self) -> BindParameter[Any]:
        """The member of staff who asks."""
        return self._parameter(STAFF, lambda call: call.viewer.staff_id, Uuid(), ())

    def grant(self) -> BindParameter[Any]:
        """The grant a partner reads under."""
        return self._parameter(GRANT, lambda call: _sharing(call).grant_id, Uuid(), ())

    def lives(self) -> ColumnElement[bool]:
        """Whether that grant is in force."""
        if self.living is None:
            self.living = in_force(self.grant()).cte("living_grant")
        return exists(select(self.living.c.one))

    def partner(self) -> BindParameter[Any]:
        """The partner who asks."""
        return self._parameter(PARTNER, lambda call: _sharing(call).partner_id, Uuid(), ())

    def mark(self) -> BindParameter[Any]:
        """The call's random mark around cursors."""
        return self._parameter(MARK, lambda call: call.mark, Text(), ())

    def _parameter(
        self, name: str, read: Callable[[Call], Any], kind: TypeEngine[Any], path: Path, *, is_each: bool = False
    ) -> BindParameter[Any]:
        if name not in self.slots:
            self.slots[name] = Slot(name, read, path, is_each)
        return bindparam(name, type_=kind)

    def cursor_scope(self, scope: bytes) -> int:
        """Number of a cursor scope within this plan."""
        if scope not in self.cursor_scopes:
            self.cursor_scopes.append(scope)
        return self.cursor_scopes.index(scope)

    def deny(self, path: Path, error: PlatformError) -> None:
        """Record that the field at ``path`` is null by plan."""
        self.denied.append(Denied(path, error, self.members))

    def require_disclosable(self, coordinates: Iterable[Coordinate], *, exact: bool) -> None:
        """Refuse to filter or sort by what the viewer may not see; a masked value may only be matched exactly."""
        for type_name, name in coordinates:
            decision = self.rules.decide(self.viewer, type_name, name)
            if isinstance(decision, Deny):
                raise decision.error
            if isinstance(decision, Mask) and not exact:
                raise MaskedArgument
            self.matched.add(f"{type_name}.{name}")

    def definition(self, parent: str, name: str) -> GraphQLField:
        """The schema's definition of a field."""
        kind = self.graph.schema.get_type(parent)
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
        definition: GraphQLField = kind.fields[name]
        return definition

    def result_type(self, parent: str, name: str) -> str:
        """Name of the type a field answers with."""
        return get_named_type(self.definition(parent, name).type).name

    def arguments(self, parent: str, node: FieldNode) -> dict[str, Lifted]:
        """Arguments of a field, lifted."""
        return lift_arguments(node, self.definition(parent, node.name.value), self.variables)

    def target(self, name: str) -> ObjectType:
        """An object type of the graph."""
        return self.graph.types[name]

    def collect(self, type_name: str, sets: Sets) -> list[Selected]:
        """Merge the fields that these selection sets ask of an object of this type, in document order."""
        groups: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()
        for one in sets:
            self._collect(type_name, one, groups, spread)
        return [
            Selected(key, nodes[0], tuple(node.selection_set for node in nodes if node.selection_set))
            for key, nodes in groups.items()
        ]

    def _collect(
        self, type_name: str, node: SelectionSetNode, groups: dict[str, list[FieldNode]], spread: set[str]
    ) -> None:
        for selection in node.selections:
            if not self._is_included(selection):
                continue
            if isinstance(selection, FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                groups.setdefault(key, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                if condition is None or self._applies(condition.name.value, type_name):
                    self._collect(type_name, selection.selection_set, groups, spread)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                spread.add(selection.name.value)
                fragment = self.fragments[selection.name.value]
                if self._applies(fragment.type_condition.name.value, type_name):
                    self._collect(type_name, fragment.selection_set, groups, spread)

    def _applies(self, condition: str, type_name: str) -> bool:
        if condition == type_name:
            return True
        abstract = self.graph.schema.get_type(condition)
        concrete = self.graph.schema.get_type(type_name)
        return (
            isinstance(abstract, GraphQLInterfaceType | GraphQLUnionType)
            and isinstance(concrete, GraphQLObjectType)
            and self.graph.schema.is_sub_type(abstract, concrete)
        )

    def _is_included(self, node: SelectionNode) -> bool:
        for directive in node.directives or ():
            name = directive.name.value
            if name in {"skip", "include"}:
                (argument,) = directive.arguments or ()
                value = argument.value
                given = (
                    self.variables.get(value.name.value)
                    if isinstance(value, VariableNode)
                    else isinstance(value, BooleanValueNode) and value.value
                )
                if bool(given) is (name == "skip"):
                    return False
        return True


def _sharing(call: Call) -> Sharing:
    assert call.viewer.sharing is not None, "plans of partners are run for partners"
    return call.viewer.sharing


class MaskedArgument(PlatformError):
    """A masked field can only be matched exactly, and never be sorted by."""

    code = "FORBIDDEN"
    status = 403
