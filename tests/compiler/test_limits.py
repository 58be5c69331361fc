"""Limits on documents: refused before they cost anything, by linear work, with a code that says which limit."""

import json

import pytest
import strawberry
from graphql import parse
from graphql.language import Lexer, Source, TokenKind

from cdp.compiler.document import Document, DocumentRefused
from cdp.compiler.limits import (
    DocumentTooComplex,
    DocumentTooLarge,
    Limits,
    PageTooLarge,
    Scale,
    check_document,
    check_size,
    count_tokens,
)
from cdp.core.errors import PlatformError
from cdp.schema.graph import build_graph
from cdp.schema.query import Query
from cdp.schema.scalars import schema_config
from tests.twin.reading import Reading, customer_viewer, reading
from tests.twin.rows import populate

__all__ = ["reading"]
GRAPH = build_graph(strawberry.Schema(query=Query, config=schema_config()))
LIMITS = Limits()
PROFILE = "query P($n: Int = 10) { viewer { customer { givenName orders(first: $n) { nodes { items { sku } } } } } }"


def code_of(text: str, limits: Limits = LIMITS, **variables: object) -> str:
    with pytest.raises(PlatformError) as refused:
        Document(text, GRAPH, limits).operation(None).coerce(variables)
    return refused.value.code


def fragment_bomb(levels: int) -> str:
    spreads = "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}\n" for n in range(levels))
    return f"{{ ...f0 }}\n{spreads}fragment f{levels} on Query {{ viewer {{ kind }} }}"


def alias_bomb(levels: int) -> str:
    spreads = "".join(
        f"fragment f{n} on Query {{ a: node(id: 1) {{ ...f{n + 1} }} b: node(id: 1) {{ ...f{n + 1} }} }}\n"
        for n in range(levels)
    )
    return f"{{ ...f0 }}\n{spreads}fragment f{levels} on Query {{ viewer {{ kind }} }}"


@pytest.mark.parametrize(
    "text",
    [
        PROFILE,
        '{ a(b: "x \\" y", c: """block \\""" still""", d: -1.5e10, e: [1, 2, $v]) @x { ...on Y { z } } } # comment',
        "query Q($a: [Int!]! = [1,2]) { a: b(c: {d: ENUM, e: null, f: true}) }",
        "\ufeff{ a , b ,,, c }",
    ],
)
def test_tokens_are_counted_as_the_parser_reads_them(text: str) -> None:
    lexer, count = Lexer(Source(text)), 0
    while lexer.advance().kind is not TokenKind.EOF:
        count += 1
    assert count_tokens(text, 10_000) == count


@pytest.mark.parametrize(
    "text",
    ['"' * 32_000, '"""' + '\\"""' * 8_000, "{" * 32_000, "#" * 32_000, '"\\' * 16_000, "a" * 32_000, "-" * 32_000],
)
def test_the_scan_looks_at_hostile_text_once(text: str) -> None:
    assert count_tokens(text, 2_001) <= 2_001


def test_large_documents_are_refused_before_parsing() -> None:
    with pytest.raises(DocumentTooLarge):
        check_size("{ a " + " " * 33_000 + "}", LIMITS)
    with pytest.raises(DocumentTooLarge):
        check_size("{ " + "ü" * 17_000 + " }", LIMITS)
    with pytest.raises(DocumentTooLarge):
        check_size("{" + "a " * 2_000 + "}", LIMITS)
    check_size("{" + "a " * 1_998 + "}", LIMITS)


def visited(text: str) -> tuple[int, int]:
    document = parse(text)
    scale = Scale(GRAPH, check_document(document, LIMITS), {}, LIMITS.page)
    scale.weigh(document.definitions[0])
    return scale.visited, count_tokens(text, 1_000_000)


@pytest.mark.parametrize("bomb", [fragment_bomb, alias_bomb])
def test_weighing_is_linear(bomb) -> None:
    """However often fragments are spread, no more nodes are looked at than the document has."""
    for levels in (5, 20, 50):
        nodes, tokens = visited(bomb(levels))
        assert nodes <= tokens


@pytest.mark.parametrize("text", [fragment_bomb(22), alias_bomb(14)])
def test_bombs_are_refused(text: str) -> None:
    assert code_of(text) == "DOCUMENT_TOO_COMPLEX"


@pytest.mark.parametrize(
    "text",
    [
        "{ ...a } fragment a on Query { ...a }",
        "{ ...a } fragment a on Query { ...b } fragment b on Query { viewer { kind } ...a }",
    ],
)
def test_cycles_are_refused(text: str) -> None:
    assert code_of(text) == "DOCUMENT_TOO_COMPLEX"


def test_each_limit_names_itself() -> None:
    deep = "{ viewer { customer { requests { nodes { " + "customer { requests { nodes { " * 5 + "id" + " }" * 19 + "}"
    wide = "{" + " ".join(f"a{n}: viewer {{ kind }}" for n in range(101)) + "}"
    directives = "{ viewer { " + "kind @skip(if: false) " * 101 + "} }"
    fields = "{" + " ".join(f"...f{n}" for n in range(3)) + "}"
    dear = "{ customers(first: 500) { nodes { orders(first: 50) { nodes { number } } } } }"
    several = "fragment x{0} on Query {{ __typename }} "
    for text, limit in [(deep, "depth"), (wide, "aliases"), (directives, "directives"), (dear, "cost")]:
        with pytest.raises(DocumentTooComplex) as refused:
            Document(text, GRAPH, LIMITS)
        assert refused.value.extensions["limit"] == limit
    with pytest.raises(DocumentTooComplex) as refused:
        Document(fields + "".join(several.format(n) for n in range(101)), GRAPH, LIMITS)
    assert refused.value.extensions["limit"] == "fragments"


def test_inline_fragments_can_not_be_nested_without_end() -> None:
    assert code_of("{" + "... {" * 150 + "__typename" + "}" * 151) == "DOCUMENT_TOO_COMPLEX"


def test_pages_are_bounded_as_literals_and_as_variables() -> None:
    assert code_of("{ customers(first: 501) { totalCount } }") == "PAGE_TOO_LARGE"
    document = Document("query Q($n: Int) { customers(first: $n) { totalCount } }", GRAPH, LIMITS)
    document.operation(None).coerce({"n": 500})
    with pytest.raises(PageTooLarge):
        document.operation(None).coerce({"n": 501})


def test_cost_depends_on_page_variables() -> None:
    text = "query Q($n: Int!, $m: Int!) { customers(first: $n) { nodes { orders(first: $m) { nodes { number } } } } }"
    operation = Document(text, GRAPH, LIMITS).operation(None)
    operation.coerce({"n": 100, "m": 50})
    operation.coerce({"n": 100, "m": 50})
    with pytest.raises(DocumentTooComplex):
        operation.coerce({"n": 500, "m": 50})


def test_ids_are_bounded() -> None:
    ids = json.dumps(["x"] * 101)
    assert code_of(f"{{ nodes(ids: {ids}) {{ id }} }}") == "PAGE_TOO_LARGE"
    assert code_of("query Q($i: [ID!]!) { nodes(ids: $i) { id } }", i=["x"] * 101) == "PAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ viewer { kind(x: 1) } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ viewer }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ viewer { kind } } fragment f on Query { viewer { kind } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ viewer { kind kind: scopes } }", "GRAPHQL_VALIDATION_FAILED"),
        ('{ a: customer(id: "x") { id } a: customer(id: "y") { id } }', "GRAPHQL_VALIDATION_FAILED"),
        ("query A { viewer { kind } } query B { viewer { kind } }", "OPERATION_NOT_FOUND"),
        ("query Q($n: Int!) { customers(first: $n) { totalCount } }", "BAD_USER_INPUT"),
    ],
)
def test_refusals_are_coded(text: str, code: str) -> None:
    assert code_of(text) == code


def test_no_name_of_the_schema_is_suggested() -> None:
    with pytest.raises(DocumentRefused) as refused:
        Document("{ viewr { kind } }", GRAPH, LIMITS)
    assert "viewer" not in json.dumps(refused.value.errors)


async def test_a_refused_document_reaches_no_database(reading: Reading, fresh_database) -> None:
    (someone, *_) = await populate(fresh_database, 1, customers=1)
    answer = await reading.ask(fragment_bomb(22), customer_viewer(someone))
    assert "data" not in answer
    assert answer["errors"][0]["extensions"] == {"code": "DOCUMENT_TOO_COMPLEX", "limit": "fields", "most": 2000}
