"""The schema by viewer: everything described can be used, everything usable is described, and names stay hidden."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    build_client_schema,
    find_breaking_changes,
    get_introspection_query,
    get_named_type,
    is_required_input_field,
    validate_schema,
)

from cdp.access.decision import Deny, Mask
from cdp.access.rules import RULES
from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.access.writes import WRITES
from cdp.compiler.graph import Connection, Embedded, Many, NodeById, NodesById, One
from cdp.core.ids import CustomerId, global_id, new_id
from cdp.operations.requests.erasure import WORD
from cdp.schema.execution import Execution
from cdp.schema.graph import build_graph
from cdp.schema.introspection import Introspection
from cdp.schema.schema import build_schema
from cdp.tables.staff import StaffRole

GRAPH = build_graph(build_schema())
STANDARD = get_introspection_query(input_value_deprecation=True, one_of=True)
SAMPLES: Mapping[str, Any] = {"String": "x", "Boolean": False, "Int": 1, "Date": "2026-01-01", "JSON": 1}
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "requestErasure": {"confirmation": WORD},
    "recordTransferObjection": {"customerId": global_id("Customer", UUID(int=1))},
    "proposePartnerGrant": {"validFrom": "2026-01-01T00:00:00Z", "validUntil": "2036-01-01T00:00:00Z"},
}
FIRST = {"STEP_UP_REQUIRED", "PURPOSE_REQUIRED", "BULK_EXPORT_NOT_FOUND"}
"""What some operations ask for before they look at the role."""
REFUSED = {"FORBIDDEN", "INSUFFICIENT_SCOPE", "UNAUTHENTICATED", "PRIVACY_OFFICER_NEEDED", "DECIDER_NEEDED"}
REFUSED |= {"PARTNER_ROLE_NEEDED", "TRANSFER_ROLE_NEEDED", "OFFER_NOT_COVERED", "NOT_YOURS_TO_SHARE"}
REFUSED |= {"MERGE_ROLE_NEEDED"}


def customer(scopes: frozenset[str] = CUSTOMER_SCOPES, **more: Any) -> Viewer:
    return Viewer(Actor.CUSTOMER, customer_id=CustomerId(uuid4()), scopes=scopes, **more)


def staff(*roles: str, scopes: frozenset[str] = STAFF_SCOPES) -> Viewer:
    return Viewer(Actor.STAFF, staff_id=uuid4(), roles=frozenset(roles), scopes=scopes, purpose="customer_service")


SHAPES: Mapping[str, Viewer] = {
    "customer": customer(),
    "customer reading": customer(frozenset({"profile:read"})),
    "customer erasing": customer(frozenset({"privacy:erase"})),
    "customer of an app for orders": customer(frozenset({"profile:read"}), areas=frozenset({"orders"})),
    "agent for a customer": customer(
        frozenset({"profile:read", "privacy:read"}), roles=frozenset({"agent"}), acting_staff_id=uuid4()
    ),
    "client": Viewer(Actor.CLIENT, client_id="program"),
    "exporting client": Viewer(Actor.CLIENT, client_id="program", scopes=frozenset({"bulk:export"})),
    "system": SYSTEM,
    **{role.value: staff(role.value) for role in StaffRole},
    "agent and analyst": staff("agent", "analyst"),
    "agent without requests": staff("agent", scopes=STAFF_SCOPES - {"requests:work"}),
    "officer without scopes": staff("privacy_officer", scopes=frozenset({"openid"})),
}
by_shape = pytest.mark.parametrize("shape", SHAPES)


async def described(execution: Execution, viewer: Viewer, ask: Any) -> GraphQLSchema:
    answer = await ask(viewer, STANDARD)
    assert "errors" not in answer
    return build_client_schema(answer["data"])


def fields(schema: GraphQLSchema, name: str) -> set[str]:
    kind = schema.get_type(name)
    return set(kind.fields) if isinstance(kind, GraphQLObjectType | GraphQLInputObjectType) else set()


def usable(viewer: Viewer) -> Iterator[tuple[str, str]]:
    """Coordinates that a viewer can read, walked from the root as the rules say."""
    waiting, seen = ["Query"], {"Query"}
    for type_name in waiting:
        for name, field in GRAPH.types[type_name].fields.items():
            if isinstance(RULES.decide(viewer, type_name, name), Deny):
                continue
            found = [one for one in targets(field) if isinstance(field, Embedded) or reached(viewer, one)]
            if found or not targets(field):
                yield type_name, name
            waiting += [one for one in found if one not in seen]
            seen.update(found)


def targets(field: object) -> list[str]:
    if isinstance(field, NodeById | NodesById):
        return [kind.name for kind in GRAPH.node_types()]
    return [field.target] if isinstance(field, Embedded | One | Many | Connection) else []


def reached(viewer: Viewer, name: str) -> bool:
    hidden = GRAPH.types[name].is_node and isinstance(RULES.decide(viewer, name, "id"), Deny)
    return RULES.rows(viewer, name) is not None and not hidden


@by_shape
async def test_each_is_shown_a_valid_part_of_the_schema(execution: Execution, ask: Any, shape: str):
    found = await described(execution, SHAPES[shape], ask)
    assert validate_schema(found) == []
    whole = build_schema()._schema
    assert find_breaking_changes(found, whole) == []
    assert found.type_map.keys() < whole.type_map.keys()
    for kind in found.type_map.values():
        for one in kind.interfaces if isinstance(kind, GraphQLObjectType) else ():
            assert kind in found.get_possible_types(one)
            assert kind.fields.keys() >= one.fields.keys()


@by_shape
async def test_what_is_shown_is_allowed_and_what_can_be_read_is_shown(execution: Execution, ask: Any, shape: str):
    viewer = SHAPES[shape]
    found = await described(execution, viewer, ask)
    shown = {(kind, name) for kind in GRAPH.types for name in fields(found, kind)}
    assert not [one for one in shown if isinstance(RULES.decide(viewer, *one), Deny)]
    expected = set(usable(viewer))
    assert expected <= shown
    assert {one for one in shown - expected if one[0] == "Query"} == set()


@by_shape
async def test_filters_and_orderings_name_only_what_may_be_compared(execution: Execution, ask: Any, shape: str):
    viewer = SHAPES[shape]
    found = await described(execution, viewer, ask)
    for kind in GRAPH.types.values():
        for name in fields(found, kind.name):
            field = kind.fields[name]
            if not isinstance(field, Connection):
                continue
            arguments = found.get_type(kind.name).fields[name].args
            if "filter" in arguments:
                members = get_named_type(arguments["filter"].type).fields
                assert not any(denied(viewer, field.filters[one].discloses) for one in members)
                assert {one for one in field.filters if not denied(viewer, field.filters[one].discloses)} == set(
                    members
                )
            if "orderBy" in arguments:
                by = get_named_type(get_named_type(arguments["orderBy"].type).fields["field"].type)
                for one in by.values:
                    decisions = [RULES.decide(viewer, *at) for at in field.orderings[one].discloses]
                    assert not any(isinstance(decision, Deny | Mask) for decision in decisions)


def denied(viewer: Viewer, coordinates: Any) -> bool:
    return any(isinstance(RULES.decide(viewer, *one), Deny) for one in coordinates)


@by_shape
async def test_mutations_that_are_not_shown_are_refused(execution: Execution, ask: Any, shape: str):
    """And those that are shown are not, before it comes to what they are about."""
    viewer = SHAPES[shape]
    found = await described(execution, viewer, ask)
    for name, field in build_schema()._schema.mutation_type.fields.items():
        kind = field.args["input"].type
        document = f"mutation($v: {kind}) {{ {name}(input: $v) {{ clientMutationId }} }}"
        for type_name in ("Customer", "PrivacyRequest", *sorted(one.name for one in GRAPH.node_types())):
            answer = await ask(viewer, document, v=sample(kind, type_name) | GIVEN.get(name, {}))
            codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
            if codes != {"INVALID_ID"}:
                break
        if name in fields(found, "Mutation"):
            assert not codes & REFUSED, (name, codes)
        else:
            assert answer.get("data") == {name: None}, (name, answer)
            assert codes <= REFUSED | FIRST, (name, codes)


def sample(kind: GraphQLInputType, type_name: str) -> Any:
    """The least value of an input type; ids of this type name nothing there is."""
    if isinstance(kind, GraphQLNonNull):
        return sample(kind.of_type, type_name)
    if isinstance(kind, GraphQLList):
        return [sample(kind.of_type, type_name)]
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        needed = [key for key, one in kind.fields.items() if is_required_input_field(one)]
        chosen = needed or [key for key in kind.fields if kind.is_one_of][:1]
        return {key: sample(kind.fields[key].type, type_name) for key in chosen}
    return SAMPLES.get(kind.name, global_id(type_name, new_id()))


async def test_a_type_that_is_not_for_the_viewer_is_not_there(execution: Execution, ask: Any):
    question = '{ a: __type(name: "BulkExport") { name } b: __type(name: "PlaceHoldInput") { name } }'
    assert (await ask(SHAPES["agent"], question))["data"] == {"a": None, "b": None}
    assert (await ask(SHAPES["privacy_officer"], question))["data"] == {
        "a": {"name": "BulkExport"},
        "b": {"name": "PlaceHoldInput"},
    }


async def test_an_agent_is_shown_an_agents_schema(execution: Execution, ask: Any):
    found = await described(execution, SHAPES["agent"], ask)
    assert {"customers", "privacyRequests", "node"} <= fields(found, "Query")
    assert not {"auditEvents", "systems", "bulkExports"} & fields(found, "Query")
    assert {"openRequestFor", "revealFields"} <= fields(found, "Mutation")
    assert not {"approveRequest", "placeHold", "updateAccount"} & fields(found, "Mutation")
    assert found.subscription_type is None
    assert "recoveryCodes" not in fields(found, "Customer")


async def test_people_of_one_shape_share_what_is_made_for_them():
    introspection = Introspection(GRAPH, RULES)
    assert await introspection.schema_of(staff("agent")) is await introspection.schema_of(staff("agent"))
    assert await introspection.schema_of(staff("agent")) is not await introspection.schema_of(staff("analyst"))


@pytest.mark.parametrize(
    ("document", "hidden"),
    [
        ("{ auditEvent { nodes { id } } }", "auditEvents"),
        ("{ bulkExportz { nodes { id } } }", "bulkExports"),
        ("query($i: PlaceHoldInpt!) { viewer { kind } }", "PlaceHoldInput"),
        ("mutation { placeHolds(input: {}) { clientMutationId } }", "placeHold"),
        ("{ customers { nodes { auditEvent { nodes { id } } } } }", "auditEvents"),
        ("{ auditEvents { nodes { actorNam } } }", "actorName"),
    ],
)
async def test_names_are_suggested_to_who_may_use_them(execution: Execution, ask: Any, document: str, hidden: str):
    officer = json.dumps(await ask(SHAPES["privacy_officer"], document))
    assert "GRAPHQL_VALIDATION_FAILED" in officer
    assert f"'{hidden}'" in officer.partition("Did you mean")[2]
    agent = await ask(SHAPES["agent"], document)
    said = [error["message"].partition("Did you mean")[2] for error in agent["errors"]]
    assert f"'{hidden}'" not in "".join(said)
    assert [error["locations"] for error in agent["errors"]] == [
        one["locations"] for one in json.loads(officer)["errors"]
    ]


async def test_the_catalogue_of_writes_knows_every_mutation_and_subscription():
    schema = build_schema()._schema
    listed = {(rule.type, name) for rule in WRITES.fields for name in rule.fields}
    roots = (schema.mutation_type, schema.subscription_type)
    assert listed == {(root.name, name) for root in roots for name in root.fields}
