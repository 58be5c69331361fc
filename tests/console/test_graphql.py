"""GraphiQL's page and the door behind it: staff alone, proven to be ours, each operation recorded."""

import hashlib
import html
import json
import re
from typing import Any

import httpx
import pytest
from graphql import build_client_schema, get_introspection_query, parse, validate, validate_schema
from sqlalchemy import select
from starlette.applications import Starlette

from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.core.platform import Platform
from cdp.tables.audit import audit_event
from cdp.web.console.graphql import EXAMPLES, examples_of
from tests.browser import visitor
from tests.console.conftest import Colleague
from tests.population import Person

ROOTS = {
    "agent": {"customers", "revealFields"},
    "supervisor": {"customers", "revealFields", "approveRequest"},
    "privacy_officer": {"customers", "approveRequest", "placeHold", "auditEvents"},
    "administrator": {"auditEvents"},
    "analyst": {"bulkExportRunQuery"},
}
WHO = "query Who { viewer { kind roles } }"


def token(page: httpx.Response) -> str:
    found = re.search(r'data-csrf="([^"]+)"', page.text)
    assert found
    return html.unescape(found[1])


async def run(browser: httpx.AsyncClient, query: str, csrf: str | None, **variables: Any) -> httpx.Response:
    headers = {"accept": "application/json"} | ({"x-csrf-token": csrf} if csrf else {})
    body = {"query": query, "variables": variables}
    return await browser.post("/console/graphql", json=body, headers=headers)


async def recorded(platform: Platform) -> list[Any]:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(audit_event).where(audit_event.c.action == "graphql.run").order_by(audit_event.c.id)
        return list(await tx.all(mine))


async def test_staff_run_operations_and_each_is_recorded(platform: Platform, agent: httpx.AsyncClient, person: Person):
    csrf = token(await agent.get("/console/graphql"))
    before = len(await recorded(platform))
    answer = await run(agent, WHO, csrf)
    assert answer.json() == {"data": {"viewer": {"kind": "STAFF", "roles": ["agent"]}}}
    query = "query Q($id: ID!) { customer(id: $id) { displayName contacts { emails { address } } } }"
    seen = (await run(agent, query, csrf, id=global_id("Customer", person.customer_id))).json()
    assert seen["data"]["customer"]["contacts"]["emails"] == [{"address": "a***@e***.com"}]
    refused = await run(agent, "{ nonsense }", csrf)
    assert refused.json()["errors"]
    rows = (await recorded(platform))[before:]
    wanted = [hashlib.sha256(text.encode()).hexdigest() for text in (WHO, query, "{ nonsense }")]
    assert [row.details for row in rows] == [{"document": one} for one in wanted]
    assert {row.actor_kind for row in rows} == {"staff"}


async def test_without_the_token_of_the_page_nothing_runs(platform: Platform, agent: httpx.AsyncClient):
    before = len(await recorded(platform))
    for csrf in (None, "x"):
        answer = await run(agent, WHO, csrf)
        assert answer.json()["errors"][0]["extensions"]["code"] == "CSRF_REFUSED"
    foreign = await agent.post(
        "/console/graphql",
        json={"query": WHO},
        headers={
            "accept": "application/json",
            "x-csrf-token": token(await agent.get("/console/graphql")),
            "origin": "https://evil.example",
        },
    )
    assert foreign.json()["errors"][0]["extensions"]["code"] == "CSRF_REFUSED"
    assert len(await recorded(platform)) == before


async def test_customers_have_no_door_here(app: Starlette, signed_in, new_customer):
    browser = await signed_in(await new_customer())
    page = await browser.get("/console/graphql")
    assert page.headers["location"].startswith("/console/sign-in")
    answer = await run(browser, WHO, "x")
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    async with visitor(app) as stranger:
        assert (await run(stranger, WHO, "x")).json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_the_page_loosens_the_policy_for_fonts_alone(agent: httpx.AsyncClient):
    page = await agent.get("/console/graphql")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    other = await agent.get("/console")
    usual = dict(part.strip().split(" ", 1) for part in other.headers["content-security-policy"].split(";"))
    differing = {name for name in policy if policy[name] != usual[name]} - {"script-src"}
    assert differing == {"font-src"}
    assert policy["font-src"] == "'self' data:"
    assert "unsafe" not in page.headers["content-security-policy"]
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert (await agent.get(address)).status_code == 200


@pytest.mark.parametrize("role", ["agent", "supervisor", "privacy_officer", "administrator", "analyst"])
async def test_each_role_is_shown_its_own_schema_and_examples_of_it(colleague: Colleague, role: str):
    browser = await colleague(role)
    page = await browser.get("/console/graphql")
    answer = (await run(browser, get_introspection_query(one_of=True), token(page))).json()
    schema = build_client_schema(answer["data"])
    assert not validate_schema(schema)
    shown = set(schema.query_type.fields) | set(schema.mutation_type.fields if schema.mutation_type else ())
    known = {"customers", "approveRequest", "placeHold", "auditEvents", "bulkExportRunQuery", "revealFields"}
    assert shown & known == ROOTS[role]
    assert "updateAccount" not in shown
    examples = examples_of(frozenset({role}))
    assert 0 < len(examples) <= len(EXAMPLES)
    for one in examples:
        assert not validate(schema, parse(one.query)), one.query
        assert not one.variables or json.loads(one.variables)
    tabs = re.search(r'data-tabs="([^"]*)"', page.text)
    assert tabs
    assert [tab["query"] for tab in json.loads(html.unescape(tabs[1]))] == [one.query for one in examples]


@pytest.mark.parametrize("role", ["agent", "supervisor", "privacy_officer", "administrator", "analyst"])
async def test_each_role_gets_what_its_rules_say(colleague: Colleague, person: Person, role: str):
    browser = await colleague(role)
    csrf = token(await browser.get("/console/graphql"))
    query = "query Q($id: ID!) { customer(id: $id) { contacts { emails { address } } } systems { name } }"
    answer = (await run(browser, query, csrf, id=global_id("Customer", person.customer_id))).json()
    clear = {"contacts": {"emails": [{"address": person.email}]}}
    masked = {"contacts": {"emails": [{"address": "a***@e***.com"}]}}
    expected = {"agent": masked, "supervisor": masked, "privacy_officer": clear}
    assert answer["data"]["customer"] == expected.get(role)
    assert (answer["data"]["systems"] is not None) is (role in {"privacy_officer", "administrator"})
