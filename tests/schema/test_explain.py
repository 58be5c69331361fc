"""Explanations: which rule decided a field, and the SQL; for staff with the scope, and for nobody else."""

import json
from typing import Any

import pytest

from cdp.access.rules import RULES
from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.compiler.explain import described_rows
from cdp.core.db import Database
from cdp.core.ids import global_id, new_id
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest
from tests.population import Person, make_person

QUERY = """query($id: ID!) { customer(id: $id) { displayName account { username } requests { nodes { id } } }
  systems { name } }"""


def staff(*roles: str, scopes: frozenset[str] = STAFF_SCOPES) -> Viewer:
    return Viewer(Actor.STAFF, staff_id=new_id(), roles=frozenset(roles), scopes=scopes, purpose="customer_service")


@pytest.fixture(scope="module")
async def person(db: Database) -> Person:
    return await make_person(db)


async def explained(execution: Execution, viewer: Viewer, person: Person) -> tuple[dict[str, Any], Any]:
    request = GraphQLRequest(QUERY, {"id": global_id("Customer", person.customer_id)}, wants=frozenset({"access"}))
    result = await execution.execute(request, viewer)
    return json.loads(result.body), result.extensions


async def test_every_field_names_its_rule(execution: Execution, person: Person):
    viewer = staff("supervisor")
    body, extensions = await explained(execution, viewer, person)
    access = extensions["access"]
    fields = {".".join(one["path"]): one for one in access["fields"]}
    assert body["data"]["customer"]["displayName"]
    assert (fields["customer.displayName"]["decision"], fields["customer.account.username"]["decision"]) == (
        "allow",
        "mask",
    )
    assert fields["customer.account.username"]["mask"] == "email"
    assert fields["customer.account.username"]["rule"]["scope"] == "customers:read"
    assert "supervisor" in fields["customer.account.username"]["rule"]["roles"]
    assert fields["customer"]["rows"] == described_rows(RULES.rows(viewer, "Customer"))
    assert (fields["systems"]["decision"], fields["systems"]["rule"]) == ("deny", None)
    assert {one["path"][0] for one in body["errors"]} == {"systems"}
    assert access["sql"].startswith(("SELECT", "WITH"))
    assert person.email not in json.dumps(access)
    assert str(person.customer_id) not in json.dumps(access)


@pytest.mark.parametrize(
    ("viewer", "code"),
    [
        (Viewer(Actor.CUSTOMER, scopes=CUSTOMER_SCOPES | {"access:explain"}), "FORBIDDEN"),
        (ANONYMOUS, "FORBIDDEN"),
        (staff("agent"), "FORBIDDEN"),
        (staff("supervisor", scopes=STAFF_SCOPES - {"access:explain"}), "INSUFFICIENT_SCOPE"),
    ],
)
async def test_nobody_else_is_told(execution: Execution, person: Person, viewer: Viewer, code: str):
    body, extensions = await explained(execution, viewer, person)
    assert [error["extensions"]["code"] for error in body["errors"]] == [code]
    assert extensions is None
    assert "data" not in body


async def test_a_customer_s_rows_are_their_own(execution: Execution, person: Person):
    operation = execution.reader.document("{ viewer { customer { id orders { nodes { id } } } } }").operation(None)
    found = await execution.reader.explain(operation, person.viewer(), {})
    fields = {".".join(one["path"]): one for one in found["fields"]}
    assert fields["viewer.customer"]["rows"] == {"rule": "Own", "column": "id"}
    assert fields["viewer.customer.orders"]["rows"] == {"rule": "Own", "column": "customer_id"}
    assert "set_config" in found["sql"]
