"""Authorization details: typed, agreed to, carried into tokens, and honoured where data is read."""

import json

import pytest
import strawberry

from cdp.access.authorization_types import AREAS, TYPES
from cdp.compiler.graph import Scalar
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.schema.graph import build_graph
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config
from tests.browser import forms
from tests.oauth.conftest import location, new_verifier

GRAPH = build_graph(strawberry.Schema(query=Query, config=schema_config()))
# Parts of a customer that every token may read: what privacy scopes cover has scopes of its own.
# What asks for the scope privacy:read, or is of the customer itself.
OF_NO_AREA = {"brand", "collection", "requests", "exports", "holds", "paperRecords", "disclosures", "sharedLinks"}
OF_NO_AREA |= {"transfers", "merges", "maskedFields"}
CONTACTS = {"type": "profile_access", "areas": ["contacts"]}
ORDERS = {"type": "profile_access", "areas": ["orders"]}
TAKES = {"authorization_types": ["profile_access", "partner_access"]}


def _sent(*details: object) -> dict[str, str]:
    return {"authorization_details": json.dumps(details)}


async def test_they_go_all_the_way_and_can_be_narrowed(platform, new_program, new_customer, signed_in):
    program = await new_program(confidential=True, **TAKES)
    browser, verifier = await signed_in(await new_customer()), new_verifier()
    code = await program.code(browser, verifier, **_sent(CONTACTS, ORDERS))
    tokens = (await program.exchange(code, verifier)).json()
    assert tokens["authorization_details"] == [CONTACTS, ORDERS]
    told = (await program.post("/oauth/introspect", token=tokens["access_token"])).json()
    assert told["authorization_details"] == [CONTACTS, ORDERS]
    assert (await viewer_from_bearer(platform, tokens["access_token"])).areas == {"contacts", "orders"}
    wider = {"type": "profile_access", "areas": ["contacts", "activity"]}
    for more in (_sent(wider), _sent(), {"authorization_details": "x"}):
        refused = await program.refresh(tokens["refresh_token"], **more)
        assert refused.json()["error"] == "invalid_authorization_details"
    narrow = (await program.refresh(tokens["refresh_token"], **_sent(ORDERS))).json()
    assert narrow["authorization_details"] == [ORDERS]
    whole = (await program.refresh(narrow["refresh_token"])).json()
    assert whole["authorization_details"] == [CONTACTS, ORDERS]
    told = (await program.post("/oauth/introspect", token=whole["refresh_token"])).json()
    assert told["authorization_details"] == [CONTACTS, ORDERS]


async def test_a_narrowed_token_reads_no_further(new_program, new_customer, signed_in):
    program = await new_program(**TAKES)
    browser = await signed_in(await new_customer())
    narrow = await program.sign_in(browser, **_sent(CONTACTS))
    whole = await program.sign_in(browser)
    asked = {
        "query": "{ viewer { customer { givenName contacts { emails { id address } }"
        " orders(first: 1) { nodes { id } } sessions(first: 1) { nodes { id } } } } }"
    }
    told = []
    for tokens in (narrow, whole):
        headers = {"authorization": f"Bearer {tokens['access_token']}", "accept": "application/json"}
        told.append((await program.http.post("/graphql", json=asked, headers=headers)).json())
    found = told[0]["data"]["viewer"]["customer"]
    assert found["givenName"] == "Ada"
    assert found["contacts"]["emails"]
    assert (found["orders"], found["sessions"]) == (None, None)
    assert {error["extensions"]["code"] for error in told[0]["errors"]} == {"OUTSIDE_AUTHORIZATION"}
    session_id = told[1]["data"]["viewer"]["customer"]["sessions"]["nodes"][0]["id"]
    straight = {"query": "query($id: ID!) { node(id: $id) { id ... on Session { userAgent } } }"}
    headers = {"authorization": f"Bearer {narrow['access_token']}", "accept": "application/json"}
    by_id = await program.http.post("/graphql", json={**straight, "variables": {"id": session_id}}, headers=headers)
    assert by_id.json()["data"]["node"] is None
    of_orders = await program.sign_in(browser, **_sent(ORDERS))
    told = [(await program.userinfo(tokens["access_token"])).json() for tokens in (narrow, of_orders)]
    assert ["email" in one for one in told] == [True, False]


def test_every_area_names_what_exists():
    for area in AREAS.values():
        assert area.types <= GRAPH.types.keys()
        assert area.edges <= GRAPH.types["Customer"].fields.keys()
    leading = {name for name, field in GRAPH.types["Customer"].fields.items() if not isinstance(field, Scalar)}
    assert leading - OF_NO_AREA == {edge for area in AREAS.values() for edge in area.edges}


WRONG = {
    "unknown": {"type": "everything"},
    "no type": {"areas": ["contacts"]},
    "a number for a type": {"type": 1},
    "an unknown area": {"type": "profile_access", "areas": ["medical"]},
    "no area": {"type": "profile_access", "areas": []},
    "an area twice": {"type": "profile_access", "areas": ["orders", "orders"]},
    "a missing member": {"type": "profile_access"},
    "one member more": {"type": "profile_access", "areas": ["orders"], "also": "orders"},
    "of programs": {"type": "partner_access", "purpose": "support", "grant": "0198c0de-0000-7000-8000-000000000000"},
    "text": "profile_access",
    "nothing": None,
}


@pytest.mark.parametrize("detail", WRONG.values(), ids=WRONG)
async def test_what_is_of_no_known_shape_is_refused(new_program, new_customer, signed_in, detail):
    program = await new_program(**TAKES)
    browser = await signed_in(await new_customer())
    answer = await browser.get(program.request(new_verifier(), **_sent(detail)))
    assert location(answer)["error"] == "invalid_authorization_details"


@pytest.mark.parametrize("text", ["{}", "[[]]", "x", "[" * 3000, json.dumps([CONTACTS] * 11), '"' + "a" * 2500])
async def test_garbage_is_refused_in_form(new_program, text):
    program = await new_program(**TAKES)
    fields = {"response_type": "code", "redirect_uri": "https://shop.example/callback", "scope": "openid"}
    fields |= {"code_challenge": "x" * 43, "code_challenge_method": "S256", "authorization_details": text}
    answer = await program.post("/oauth/par", **fields)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_authorization_details")


async def test_a_client_gets_only_types_it_was_given(new_program, new_customer, signed_in):
    program = await new_program()
    browser = await signed_in(await new_customer())
    found = location(await browser.get(program.request(new_verifier(), **_sent(CONTACTS))))
    assert found["error"] == "invalid_authorization_details"


async def test_a_person_sees_them_and_agrees_to_exactly_them(new_program, new_customer, signed_in):
    program = await new_program(first_party=False, **TAKES)
    browser, verifier = await signed_in(await new_customer()), new_verifier()
    asked = await browser.get(program.request(verifier, **_sent(CONTACTS)))
    page = await browser.get(asked.headers["location"])
    assert "Read only these parts of your profile: contacts" in page.text
    fields = {**forms(page)["/account/connect"], "answer": "yes"}
    back = (await browser.post("/account/connect", data=fields)).headers["location"]
    moved = await browser.get(back.replace("contacts", "activity"))
    assert moved.headers["location"].startswith("/account/connect?"), "the answer was about something else"
    tokens = (await program.exchange(location(await browser.get(back))["code"], verifier)).json()
    assert tokens["authorization_details"] == [CONTACTS]
    assert "code" in location(await browser.get(program.request(new_verifier(), **_sent(CONTACTS))))
    for other in ({}, _sent(ORDERS), _sent(CONTACTS, ORDERS)):
        again = await browser.get(program.request(new_verifier(), **other))
        assert again.headers["location"].startswith("/account/connect?"), other


def test_every_sentence_can_be_said():
    for kind in TYPES.values():
        members = {name: name for name in kind.schema["properties"]}
        assert "{" not in kind.sentence.format_map(members)
