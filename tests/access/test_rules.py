"""The catalogue of rules: complete, consistent with the graph, and every permission with its denied twin."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import strawberry

from cdp.access.decision import Allow, Deny, Mask, Rule
from cdp.access.rules import MASKED, RULES, SUBJECT
from cdp.access.scopes import CUSTOMER_SCOPES, SCOPES, STAFF_SCOPES
from cdp.access.viewer import ANONYMOUS, SYSTEM, Actor, Viewer
from cdp.compiler.graph import Connection, Embedded, Many, NodeById, NodesById, One, Scalar
from cdp.core.errors import Forbidden, Unauthenticated
from cdp.core.ids import CustomerId
from cdp.schema.graph import build_graph
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config
from cdp.tables.datamap import personal_tables
from cdp.tables.staff import StaffRole

GRAPH = build_graph(strawberry.Schema(query=Query, config=schema_config()))
CUSTOMER = Viewer(Actor.CUSTOMER, customer_id=CustomerId(uuid4()), scopes=CUSTOMER_SCOPES)


def staff(*roles: str, scopes: frozenset[str] = STAFF_SCOPES) -> Viewer:
    return Viewer(Actor.STAFF, staff_id=uuid4(), roles=frozenset(roles), scopes=scopes, purpose="customer_service")


def viewers() -> Iterator[Viewer]:
    """Every kind of viewer, with every scope, with none, and with each one missing."""
    yield ANONYMOUS
    yield SYSTEM
    for scopes in (CUSTOMER_SCOPES, frozenset[str](), *(CUSTOMER_SCOPES - {one} for one in CUSTOMER_SCOPES)):
        yield Viewer(Actor.CUSTOMER, customer_id=CustomerId(uuid4()), scopes=scopes)
    for role in StaffRole:
        for scopes in (STAFF_SCOPES, frozenset[str](), *(STAFF_SCOPES - {one} for one in STAFF_SCOPES)):
            yield staff(role.value, scopes=scopes)


def test_every_field_of_the_graph_is_in_some_rule() -> None:
    listed = {(rule.type, name) for rule in RULES.fields for name in rule.fields}
    known = {(kind.name, name) for kind in GRAPH.types.values() for name in kind.fields}
    assert known == listed


def test_rules_name_known_scopes_and_roles() -> None:
    assert {rule.who.scope for rule in RULES.fields} - {None} <= set(SCOPES)
    assert {role for rule in RULES.fields for role in rule.who.roles} <= {role.value for role in StaffRole}


def test_every_type_of_a_personal_table_has_a_subject() -> None:
    personal = {table.name for table in personal_tables()}
    for kind in GRAPH.types.values():
        if kind.table is not None and kind.table.name in personal:
            assert kind.subject_column == SUBJECT[kind.name]


def test_unlisted_means_denied() -> None:
    for viewer in viewers():
        assert isinstance(RULES.decide(viewer, "Customer", "shoeSize"), Deny)
        assert isinstance(RULES.decide(viewer, "Shoe", "id"), Deny)
        assert RULES.rows(viewer, "Shoe") is None


def allowed_viewer(rule: Rule) -> Viewer:
    scopes = frozenset({rule.who.scope} if rule.who.scope else ())
    if rule.who.actor is Actor.STAFF:
        return staff(*sorted(rule.who.roles)[:1], scopes=scopes)
    return Viewer(rule.who.actor, customer_id=CustomerId(uuid4()), scopes=scopes)


@pytest.mark.parametrize("rule", RULES.fields, ids=lambda r: f"{r.who.actor.value}-{r.who.scope}-{r.type}")
def test_each_rule_has_a_denied_twin(rule: Rule) -> None:
    """Whoever a rule lets in is let in; without its scope, its role or a sign-in they are not."""
    viewer = allowed_viewer(rule)
    for name in rule.fields:
        assert type(RULES.decide(viewer, rule.type, name)) in {Allow, Mask}
        if rule.who.scope is not None:
            bare = Viewer(viewer.actor, customer_id=viewer.customer_id, roles=viewer.roles)
            other = RULES.decide(bare, rule.type, name)
            others = [r for r in RULES.fields if r.type == rule.type and name in r.fields and r.who.scope is None]
            if not any(r.who.actor is viewer.actor for r in others):
                assert isinstance(other, Deny)
                assert other.error.code == "INSUFFICIENT_SCOPE"
        if rule.who.roles:
            known = {role for r in RULES.fields if r.type == rule.type and name in r.fields for role in r.who.roles}
            stranger = "stranger" if "analyst" in known else "analyst"
            denied = RULES.decide(staff(stranger, scopes=STAFF_SCOPES), rule.type, name)
            if rule.type not in {"Customer", "System"} or name != "id":
                assert isinstance(denied, Deny)
                assert isinstance(denied.error, Forbidden)
        nobody = RULES.decide(ANONYMOUS, rule.type, name)
        if not any(r.who.actor is Actor.ANONYMOUS and r.type == rule.type and name in r.fields for r in RULES.fields):
            assert isinstance(nobody, Deny)
            assert isinstance(nobody.error, Unauthenticated)


def test_what_can_be_denied_can_be_null() -> None:
    """From every root, along every field a viewer may take, no denied field promises a value."""
    for viewer in viewers():
        seen: set[str] = set()
        waiting = ["Query"]
        for type_name in waiting:
            for name, field in GRAPH.types[type_name].fields.items():
                if isinstance(RULES.decide(viewer, type_name, name), Deny):
                    assert field.nullable, f"{type_name}.{name} for {viewer.shape}"
                    continue
                for target in targets(viewer, field):
                    if target not in seen:
                        seen.add(target)
                        waiting.append(target)


def targets(viewer: Viewer, field: object) -> list[str]:
    """Types a field leads to; a row of a type with an id is not shown to who may not see the id."""
    if isinstance(field, Embedded):
        return [field.target]
    names = [field.target] if isinstance(field, One | Many | Connection) else []
    if isinstance(field, NodeById | NodesById):
        names = [kind.name for kind in GRAPH.node_types()]
    return [
        name
        for name in names
        if RULES.rows(viewer, name) is not None
        and not (GRAPH.types[name].is_node and isinstance(RULES.decide(viewer, name, "id"), Deny))
    ]


def test_masks_hide_contacts_from_agents_alone() -> None:
    for type_name, fields in MASKED.items():
        for name in fields:
            for role in ("agent", "supervisor"):
                assert isinstance(RULES.decide(staff(role), type_name, name), Mask)
            assert isinstance(RULES.decide(staff("privacy_officer"), type_name, name), Allow)
            assert isinstance(RULES.decide(CUSTOMER, type_name, name), Allow)


def test_masked_types_say_so() -> None:
    for type_name, fields in MASKED.items():
        kind = GRAPH.types[type_name]
        assert "maskedFields" in kind.fields
        for name in fields:
            assert isinstance(kind.fields[name], Scalar)
