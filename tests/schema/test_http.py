"""The door over HTTP: media types and statuses, who may come in, and every way a request can be wrong."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from cdp.core.db import Database, Role
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations.oauth import grants
from cdp.operations.oauth.grants import Grant
from cdp.operations.oauth.tokens import Issuer, issuer_of
from cdp.schema.request import MAX_BODY_BYTES
from tests.browser import BASE, forms
from tests.population import Person, make_person, picture
from tests.schema.conftest import TokenOf
from tests.schema.test_request import BAD_BODIES

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
WHO = "{ viewer { kind customer { givenName } } }"
ADA = {"data": {"viewer": {"kind": "CUSTOMER", "customer": {"givenName": "Ada"}}}}
RENAME = 'mutation { updateAccount(input: {givenName: "Eve"}) { customer { givenName } } }'


@pytest.fixture(scope="module")
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture(scope="module")
async def client(app: Starlette, person: Person, token_of: TokenOf) -> AsyncIterator[httpx.AsyncClient]:
    """A program with a token of the person."""
    headers = {"authorization": f"Bearer {await token_of(person)}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as program:
        yield program


def code(answer: httpx.Response) -> str:
    """The code of the only error; every refusal names the request's id and no data."""
    body = answer.json()
    assert "data" not in body
    assert body["extensions"]["requestId"] == answer.headers["x-request-id"]
    [error] = body["errors"]
    assert error["message"]
    return error["extensions"]["code"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (RESPONSE, RESPONSE),
        (f"{RESPONSE}; charset=utf-8", RESPONSE),
        (f"{RESPONSE}, {JSON};q=0.9", RESPONSE),
        (f"{JSON}, {RESPONSE}", RESPONSE),
        (f"{RESPONSE};q=0.1, {JSON}", JSON),
        (f"text/html, {JSON};q=0.2", JSON),
        (f"{RESPONSE}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed", RESPONSE),
    ],
)
async def test_both_media_types_are_spoken(client: httpx.AsyncClient, accept: str | None, media: str):
    client.headers.pop("accept", None)
    headers = {} if accept is None else {"accept": accept}
    answer = await client.post("/graphql", json={"query": WHO}, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{media}; charset=utf-8")
    assert answer.json() == ADA
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", f"{JSON};q=0", f"{JSON}; charset=latin-1", ""])
async def test_other_media_types_are_not(client: httpx.AsyncClient, accept: str):
    answer = await client.post("/graphql", json={"query": WHO}, headers={"accept": accept})
    assert (answer.status_code, code(answer)) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query($a: Int!) { viewer { kind } customer(id: $a) { id } }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query($id: ID!) { node(id: $id) { id } }"}, "BAD_USER_INPUT"),
        ({"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": [1]}}, "BAD_USER_INPUT"),
        ({"query": "query A { __typename } query B { __typename }"}, "OPERATION_NOT_FOUND"),
        ({"query": WHO, "operationName": "B"}, "OPERATION_NOT_FOUND"),
    ],
)
async def test_a_refused_document_is_400_in_the_new_media_type_and_200_in_the_old(
    client: httpx.AsyncClient, body: dict[str, Any], expected: str
):
    for media, status in ((RESPONSE, 400), (JSON, 200)):
        answer = await client.post("/graphql", json=body, headers={"accept": media})
        assert (answer.status_code, code(answer)) == (status, expected)


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("accept", [JSON, RESPONSE])
async def test_what_is_no_request_is_400(client: httpx.AsyncClient, name: str, accept: str):
    body, expected = BAD_BODIES[name]
    answer = await client.post("/graphql", content=body, headers={"content-type": JSON, "accept": accept})
    assert (answer.status_code, code(answer)) == (400, expected)


async def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(client: httpx.AsyncClient):
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b" " * 65_536

    headers = {"content-type": JSON}
    for body in (b" " * (MAX_BODY_BYTES + 1), b" " * (8 * MAX_BODY_BYTES), pieces(17), pieces(200)):
        answer = await client.post("/graphql", content=body, headers=headers)
        assert (answer.status_code, code(answer)) == (413, "BODY_TOO_LARGE")
    padded = json.dumps({"query": WHO}).encode().ljust(MAX_BODY_BYTES)
    assert (await client.post("/graphql", content=padded, headers=headers)).json() == ADA


OTHER_CONTENT_TYPES = [
    None,
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/graphql",
    "application/json; charset=latin-1",
]


@pytest.mark.parametrize("content_type", OTHER_CONTENT_TYPES)
async def test_only_json_is_read(client: httpx.AsyncClient, content_type: str | None):
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await client.post("/graphql", content=json.dumps({"query": WHO}).encode(), headers=headers)
    assert (answer.status_code, code(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
async def test_json_may_say_that_it_is_utf_8(client: httpx.AsyncClient, content_type: str):
    body = json.dumps({"query": WHO}).encode()
    assert (await client.post("/graphql", content=body, headers={"content-type": content_type})).json() == ADA


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_not_allowed(client: httpx.AsyncClient, method: str):
    answer = await client.request(method, "/graphql")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_queries_can_be_asked_by_get_and_mutations_can_not(
    client: httpx.AsyncClient, db: Database, person: Person
):
    query = "query Q($n: Int) { viewer { customer { orders(first: $n) { nodes { number } } } } }"
    parameters = {"query": query, "variables": json.dumps({"n": 1}), "operationName": "Q"}
    answer = await client.get("/graphql", params=parameters)
    assert len(answer.json()["data"]["viewer"]["customer"]["orders"]["nodes"]) == 1
    before = await picture(db, person)
    for accept in (JSON, RESPONSE):
        answer = await client.get("/graphql", params={"query": RENAME}, headers={"accept": accept})
        assert (answer.status_code, code(answer), answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "POST")
    answer = await client.get("/graphql", params={"query": RENAME}, headers={"accept": "text/event-stream"})
    assert "METHOD_NOT_ALLOWED" in answer.text
    assert await picture(db, person) == before
    assert (await client.get("/graphql")).status_code == 400


async def test_who_brings_no_token_is_asked_to_sign_in(door: httpx.AsyncClient):
    for method in ("POST", "GET"):
        answer = await door.request(method, "/graphql", json={"query": WHO})
        assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer x", "Bearer ", "Basic YTpi", "Bearer a.b.c", "Bearer " + "x" * 9000, "x"])
async def test_a_bad_token_is_refused(door: httpx.AsyncClient, header: str):
    answer = await door.post("/graphql", json={"query": WHO}, headers={"authorization": header})
    assert (answer.status_code, code(answer)) == (401, "TOKEN_INVALID")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_an_expired_token_is_refused_and_a_tampered_one(
    door: httpx.AsyncClient, platform: Platform, person: Person, token_of: TokenOf
):
    past = datetime.now(UTC) - timedelta(hours=1)
    grant = Grant(UUID(int=1), "tests", "profile:read", past, customer_id=CustomerId(person.customer_id))
    old = Issuer(replace(platform, clock=lambda: past)).access_token(grant, grant.scope)
    answer = await door.post("/graphql", json={"query": WHO}, headers={"authorization": f"Bearer {old}"})
    assert (answer.status_code, code(answer)) == (401, "TOKEN_EXPIRED")
    header, claims, signature = (await token_of(person)).split(".")
    for tampered in (f"{header}.{claims}.{signature[::-1]}", f"{header}.{claims[:-2]}AA.{signature}", f"{header}.."):
        answer = await door.post("/graphql", json={"query": WHO}, headers={"authorization": f"Bearer {tampered}"})
        assert (answer.status_code, code(answer)) == (401, "TOKEN_INVALID")


async def test_a_token_of_an_ended_grant_is_refused(
    door: httpx.AsyncClient, platform: Platform, db: Database, person: Person, token_of: TokenOf
):
    """Also by a process that has never seen the token: it asks the database for the grant."""
    token = await token_of(person)
    grant_id = (await issuer_of(platform).check(token)).grant_id
    async with db.transaction(Role.WORKER) as tx:
        await grants.end(tx, grant_id, now=datetime.now(UTC))
    fresh = Issuer(platform)
    with pytest.raises(Exception, match="not valid"):
        await fresh.check(token)


async def test_a_page_may_ask_with_its_session_and_its_csrf_token(
    app: Starlette, db: Database, new_customer: Any, signed_in: Any
):
    browser: httpx.AsyncClient = await signed_in(await new_customer())
    browser.headers["accept"] = JSON
    page = await browser.get("/account", headers={"accept": "text/html"})
    token = next(form["csrf"] for form in forms(page).values() if "csrf" in form)
    ours = {"sec-fetch-site": "same-origin", "origin": BASE, "x-csrf-token": token}
    who = {"query": WHO}
    assert (await browser.post("/graphql", json=who, headers=ours)).json() == ADA
    assert (await browser.get(f"/graphql?{urlencode(who)}")).json() == ADA
    refused = [
        {},
        {**ours, "x-csrf-token": ""},
        {**ours, "x-csrf-token": token[::-1]},
        {**ours, "sec-fetch-site": "cross-site"},
        {**ours, "sec-fetch-site": "same-site"},
        {"origin": "https://evil.example", "x-csrf-token": token},
        {"origin": "null", "x-csrf-token": token},
    ]
    for headers in refused:
        answer = await browser.post("/graphql", json={"query": RENAME}, headers=headers)
        assert (answer.status_code, code(answer)) == (403, "CSRF_REFUSED")
    answer = await browser.get(f"/graphql?{urlencode(who)}", headers={"sec-fetch-site": "cross-site"})
    assert (answer.status_code, code(answer)) == (403, "CSRF_REFUSED")
    renamed = await browser.post("/graphql", json={"query": RENAME}, headers=ours)
    assert renamed.json() == {"data": {"updateAccount": {"customer": {"givenName": "Eve"}}}}


async def test_names_are_not_suggested(client: httpx.AsyncClient):
    for query in (
        "{ viewr { kind } }",
        "{ viewer { kin } }",
        "{ viewer(if: 1) { kind } }",
        "{ node(id: 1, ids: 1) { id } }",
    ):
        answer = await client.post("/graphql", json={"query": query})
        assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
        assert "Did you mean" not in answer.text


async def test_the_schema_can_be_asked_beside_data(client: httpx.AsyncClient):
    query = """
      query($type: String!) {
        first: viewer { kind }
        __schema { queryType { name } }
        __typename
        type: __type(name: $type) { kind fields { name } }
        last: viewer { customer { givenName } }
      }
    """
    answer = await client.post("/graphql", json={"query": query, "variables": {"type": "Node"}})
    assert list(answer.json()["data"].items()) == [
        ("first", {"kind": "CUSTOMER"}),
        ("__schema", {"queryType": {"name": "Query"}}),
        ("__typename", "Query"),
        ("type", {"kind": "INTERFACE", "fields": [{"name": "id"}]}),
        ("last", {"customer": {"givenName": "Ada"}}),
    ]
    again = await client.post("/graphql", json={"query": query, "variables": {"type": "Brand"}})
    assert again.json()["data"]["type"]["kind"] == "OBJECT"


async def test_errors_of_fields_come_beside_data(client: httpx.AsyncClient):
    query = '{ viewer { kind } node(id: "nonsense") { id } __schema { queryType { name } } }'
    answer = await client.post("/graphql", json={"query": query}, headers={"accept": RESPONSE})
    body = answer.json()
    assert (answer.status_code, body["data"]["viewer"], body["data"]["node"]) == (200, {"kind": "CUSTOMER"}, None)
    assert [(error["path"], error["extensions"]["code"]) for error in body["errors"]] == [(["node"], "INVALID_ID")]
    assert body["extensions"]["requestId"] == answer.headers["x-request-id"]
