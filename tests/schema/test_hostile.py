"""Hostile documents: each is a coded refusal, without data, before it could cost anything.

What is visited grows with the size of a document, never with what it unfolds to; that is counted, not timed.
"""

import json
import random
import string

import httpx
import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.limits import Scale
from cdp.compiler.reader import Reader
from cdp.core.db import Database
from cdp.core.errors import PlatformError
from cdp.core.ids import CustomerId, new_id
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest, read_body
from tests.population import make_person
from tests.schema.conftest import TokenOf
from tests.schema.hostile import LARGE, TOO_LARGE, Hostile, bomb, hostile

CODES = {
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "DOCUMENT_TOO_LARGE",
    "DOCUMENT_TOO_COMPLEX",
    "PAGE_TOO_LARGE",
    "UNSTORABLE_TEXT",
    "BAD_USER_INPUT",
    "INVALID_ID",
}


def nested(levels: int) -> str:
    return "{ viewer { customer " + "{ collection { policyVersion " * levels + "{ id }" + " } }" * levels + " } }"


HOSTILE = {
    "a bomb of 64 levels": "{ viewer { customer { ...f0 } } }" + bomb(64),
    "a bomb of aliases": "{ viewer { customer { ...f0 } } }"
    + "".join(f" fragment f{n} on Customer {{ a{n}: id ...f{n + 1} b{n}: id ...f{n + 1} }}" for n in range(60))
    + " fragment f60 on Customer { id }",
    "a bomb in a mutation": "mutation { updateAccount(input: {}) { customer { ...f0 } } }" + bomb(40),
    "a bomb in introspection": "{ __schema { types { ...f0 } } }" + bomb(30, on="__Type", leaf="name"),
    "a cycle": "{ viewer { customer { ...a } } } fragment a on Customer { ...b } fragment b on Customer { ...a }",
    "a cycle of itself": "{ viewer { ...a } } fragment a on Viewer { customer { id } ...a }",
    "10,000 aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(10_000)) + " }",
    "600 aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(600)) + " }",
    "a string of 1 MB": '{ node(id: "' + "x" * 1_000_000 + '") { id } }',
    "a block string of 1 MB": '{ node(id: """' + "x" * 1_000_000 + '""") { id } }',
    "a comment of 1 MB": "#" + "x" * 1_000_000 + "\n{ viewer { kind } }",
    "5,000 levels": "{ a " * 5_000 + "}" * 5_000,
    "400 levels of lists": "{ node(id: " + "[" * 400 + "]" * 400 + ") { id } }",
    "400 levels of inline fragments": "{ " + "... { " * 400 + "__typename" + " }" * 400 + " }",
    "30 levels of fields": nested(30),
    "1,000 directives": "{ viewer { kind " + "@skip(if: false) " * 500 + "} }",
    "many fragments": "{ ...a0 } " + " ".join(f"fragment a{n} on Query {{ __typename }}" for n in range(200)),
    "many operations": " ".join(f"query q{n} {{ __typename }}" for n in range(200)),
    "nested introspection": "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
    "wide introspection": "{ __schema { types { "
    + " ".join(f"a{n}: fields {{ type {{ fields {{ name }} }} }}" for n in range(60))
    + " } } }",
    "a page of a million": "{ viewer { customer { orders(first: 1000000) { nodes { id } } } } }",
    "pages inside pages": "{ viewer { customer { "
    + "".join(f"o{n}: orders(first: 500) {{ nodes {{ items {{ id sku title }} }} }} " for n in range(40))
    + "} } }",
    "a thousand ids": "{ nodes(ids: [" + '"x",' * 900 + "]) { id } }",
    "a lone surrogate in a literal": '{ node(id: "\\ud800") { id } }',
    "a lone surrogate in braces": '{ node(id: "\\u{d800}") { id } }',
    "beyond Unicode": '{ node(id: "\\u{110000}") { id } }',
    "NUL in a literal": '{ node(id: "\\u0000") { id } }',
    "an unclosed string": '{ node(id: "',
    "an unclosed block string": '{ node(id: """',
    "a doubled argument": '{ node(id: "x", id: "y") { id } }',
    "a doubled variable": "query($a: ID!, $a: ID!) { node(id: $a) { id } }",
    "a doubled input field": 'mutation { updateAccount(input: {locale: "en", locale: "de"}) { clientMutationId } }',
    "a doubled fragment": "{ ...a } fragment a on Query { __typename } fragment a on Query { __typename }",
    "conflicting aliases": "{ a: viewer { kind } a: __typename }",
    "a number of 10,000 digits": "{ viewer { customer { orders(first: " + "9" * 10_000 + ") { nodes { id } } } } }",
    "a float of great size": "{ viewer { customer { orders(first: 1e999) { nodes { id } } } } }",
    "only spaces": " " * 1_000,
    "only commas": "," * 30_000,
    "only exclamation marks": "!" * 30_000,
    "only quotes": '"' * 30_000,
    "only backslashes in a string": '{ node(id: "' + "\\" * 30_000,
    "schema definitions": "type Query { a: Int }",
    "an extension": "extend type Query { a: Int }",
}


SOUND = [
    """query Q($n: Int = 1, $id: ID!) { viewer { customer { orders(first: $n) { nodes { ...O } } } }
    node(id: $id) { ... on Order { ...O } } } fragment O on Order { id items @include(if: true) { sku } }""",
    'mutation { updateAccount(input: {givenName: "A", expectedVersion: 99}) { customer { id } } }',
    "{ __schema { types { name fields { name } } } viewer { kind } }",
]


@pytest.fixture(scope="module")
async def token(db: Database, token_of: TokenOf) -> str:
    return await token_of(await make_person(db))


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_is_refused_by_code(door: httpx.AsyncClient, token: str, name: str):
    body = json.dumps({"query": HOSTILE[name]}).encode()
    if len(body) > 1024 * 1024:
        body = body[: 1024 * 1024 - 100]
    answer = await door.post(
        "/graphql",
        content=body,
        headers={
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/graphql-response+json",
        },
    )
    found = answer.json()
    assert answer.status_code in {200, 400, 413}, name
    assert {error["extensions"]["code"] for error in found["errors"]} <= CODES, found
    assert not any(value for value in (found.get("data") or {}).values()), found
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    "variables",
    [
        {"id": "x" * 900_000},
        {"id": ["x"] * 50_000},
        {"id": {"a": 1}},
        {"id": 10**4000},
        {"id": 1.5},
        {"id": True},
        {"id": None},
        {"id": "\u202e\ufeff"},
        {f"v{number}": number for number in range(20_000)},
    ],
)
async def test_hostile_variables_are_refused_by_code(door: httpx.AsyncClient, token: str, variables: dict):
    answer = await door.post(
        "/graphql",
        json={"query": "query($id: ID!) { node(id: $id) { id } }", "variables": variables},
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200
    assert {error["extensions"]["code"] for error in answer.json()["errors"]} <= CODES | {"BAD_USER_INPUT"}


async def test_a_thousand_broken_documents_are_refused_by_code(execution: Execution, db: Database):
    """Valid documents with pieces cut out, doubled and swapped; the seed is fixed so that a failure can be repeated."""
    chance, viewer = random.Random(20_260_101), (await make_person(db)).viewer()
    for _ in range(1_000):
        text = broken(chance, chance.choice(SOUND))
        result = await execution.execute(GraphQLRequest(text, {"id": "x"}), viewer)
        codes = {error["extensions"]["code"] for error in json.loads(result.body).get("errors", [])}
        assert "INTERNAL" not in codes, text


def broken(chance: random.Random, text: str) -> str:
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(text) + 1), chance.randint(0, 12)
        piece = chance.choice(["", text[at : at + length] * 2, "".join(chance.choices(string.printable, k=3))])
        text = text[:at] + piece + text[at + length :]
    return text or "x"


GENERATED = 20_000
IN_THE_GATE = 1_500


def refused(one: Hostile, answer: dict) -> bool:
    codes = {error["extensions"]["code"] for error in answer["errors"]}
    return bool(codes) and codes <= one.codes and not any((answer.get("data") or {}).values())


async def test_every_generated_document_is_refused_by_code(execution: Execution, pytestconfig: pytest.Config):
    """All of them in the soak, with its seed; some in the gate. A new viewer now and then, whose budget is whole."""
    is_soak = pytestconfig.getoption("hypothesis_profile", None) == "soak"
    seed = int(pytestconfig.getoption("hypothesis_seed", None) or 1) if is_soak else 1
    viewer = Viewer(Actor.CUSTOMER)
    for number, one in enumerate(hostile(GENERATED if is_soak else IN_THE_GATE, seed=seed)):
        if number % 50 == 0:
            viewer = Viewer(Actor.CUSTOMER, customer_id=CustomerId(new_id()), scopes=CUSTOMER_SCOPES)
        try:
            request = read_body(one.body)
        except PlatformError as error:
            answer = {"errors": [{"extensions": {"code": error.code}}]}
        else:
            answer = json.loads((await execution.execute(request, viewer)).body)
        assert refused(one, answer), (seed, number, one.kind, one.body[:300], answer)


async def test_what_is_too_large_is_never_parsed(execution: Execution):
    """It ends in what is no GraphQL, and nobody notices."""
    viewer = Viewer(Actor.CUSTOMER, customer_id=CustomerId(new_id()), scopes=CUSTOMER_SCOPES)
    for text in ("{ a " * 40_000, "x" * LARGE, '"' * 33_000, "{" + "a " * 3_000 + "%"):
        found = json.loads((await execution.execute(GraphQLRequest(text), viewer)).body)
        assert {error["extensions"]["code"] for error in found["errors"]} <= TOO_LARGE


def visited(reader: Reader, text: str) -> int:
    document = parse(text)
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    scale = Scale(reader.graph, fragments, {}, 500)
    scale.weigh(next(d for d in document.definitions if isinstance(d, OperationDefinitionNode)))
    return scale.visited


def test_what_is_visited_grows_with_the_document_alone(execution: Execution):
    counts = [
        visited(execution.reader, "{ viewer { customer { ...f0 } } }" + bomb(levels)) for levels in (8, 16, 32, 64)
    ]
    assert counts == [2 * levels + 4 for levels in (8, 16, 32, 64)]
    for shape in (aliases, lambda n: "{ " + "... { " * n + "kind" + " }" * n + " }", nested_spreads):
        small, large = visited(execution.reader, shape(20)), visited(execution.reader, shape(80))
        assert large <= 4 * small + 20


def aliases(count: int) -> str:
    return "{ " + " ".join(f"a{n}: viewer {{ kind }}" for n in range(count)) + " }"


def nested_spreads(count: int) -> str:
    """Every fragment spreads all that come after it."""
    later = [" ".join(f"...s{m}" for m in range(n + 1, min(n + 4, count))) for n in range(count)]
    return "{ ...s0 } " + " ".join(f"fragment s{n} on Query {{ __typename {later[n]} }}" for n in range(count))
