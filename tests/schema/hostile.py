"""Hostile bodies without end: every one of them must be refused by code. Made from a seed, so that one can be repeated.

Each kind takes a size; sizes go from just beyond what is allowed to far beyond it.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

LARGE = 1_000_000
TOO_LARGE = frozenset({"BODY_TOO_LARGE", "BODY_TOO_COMPLEX", "DOCUMENT_TOO_LARGE"})
UNREADABLE = frozenset({"BAD_REQUEST", "UNSTORABLE_TEXT"})
COMPLEX = frozenset({"DOCUMENT_TOO_COMPLEX", "DOCUMENT_TOO_LARGE"})
INVALID = frozenset({"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"})


@dataclass(frozen=True)
class Hostile:
    """One body and the codes it may be refused by."""

    kind: str
    body: bytes
    codes: frozenset[str]


def bomb(levels: int, *, on: str = "Customer", leaf: str = "id") -> str:
    """A fragment that spreads the next one twice, and so on: 2^levels fields in a few hundred bytes."""
    spreads = "".join(f" fragment f{n} on {on} {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels))
    return f"{spreads} fragment f{levels} on {on} {{ {leaf} }}"


def _bombs(pick: random.Random) -> str:
    on, root = pick.choice([("Customer", "{ viewer { customer { ...f0 } } }"), ("Query", "{ ...f0 }")])
    leaf = pick.choice(["id createdAt", "x: id y: id"]) if on == "Customer" else "a: viewer { kind } b: __typename"
    return root + bomb(pick.randint(11, 64), on=on, leaf=leaf)


def _aliases(pick: random.Random) -> str:
    field = pick.choice(["__typename", "viewer { kind }", "viewer { customer { id } }"])
    return "{ " + " ".join(f"a{n}: {field}" for n in range(pick.choice([101, 150, 600, 2_000, 10_000]))) + " }"


def _deep(pick: random.Random) -> str:
    levels = pick.choice([17, 40, 130, 400, 5_000])
    name, closing = pick.choice([("viewer", "}"), ("...", "}"), ("... on Query", "}")])
    return "{ " + f"{name} {{ " * levels + "kind" + f" {closing}" * (levels + 1)


def _directives(pick: random.Random) -> str:
    return (
        "{ viewer { kind "
        + pick.choice(["@skip(if: false) ", "@no ", "@include(if: true)"]) * pick.choice([101, 300, 900])
        + " } }"
    )


def _circles(pick: random.Random) -> str:
    ring = pick.randint(1, 40)
    circle = " ".join(f"fragment c{n} on Customer {{ id ...c{(n + 1) % ring} }}" for n in range(ring))
    return "{ viewer { customer { ...c0 } } } " + circle


def _pages(pick: random.Random) -> str:
    page = pick.choice([501, 10**6, 2**31 - 1, 2**31, 2**63, 10**40, 10**4_000])
    return f"{{ viewer {{ customer {{ orders(first: {page}) {{ nodes {{ id }} }} }} }} }}"


def _lists(pick: random.Random) -> str:
    levels = pick.choice([10, 90, 400, 900])
    opening, closing = pick.choice([("[", "]"), ("{a: ", "}")])
    return "{ nodes(ids: " + opening * levels + "true" + closing * levels + ") { id } }"


def _types(pick: random.Random) -> str:
    levels = pick.choice([2, 30, 300])
    return "query($v: " + "[" * levels + "ID" + "]" * levels + ") { node(id: $v) { id } }"


def _doubled(pick: random.Random) -> str:
    return pick.choice(
        [
            '{ node(id: "x", id: "y") { id } }',
            "query($a: ID!, $a: ID!) { node(id: $a) { id } }",
            "{ ...a } fragment a on Query { __typename } fragment a on Query { __typename }",
            "{ a: viewer { kind } a: __typename }",
            "query a { __typename } query a { __typename }",
            'mutation { updateAccount(input: {locale: "en", locale: "de"}) { clientMutationId } }',
        ]
    ) + " " * pick.randint(0, 50)


def _misspelt(pick: random.Random) -> str:
    names = ("viewr", "custmer", "ordrs", "__shema", "nodse")
    return "{ " + " ".join(f"{pick.choice(names)}{n}" for n in range(pick.choice([1, 20, 150]))) + " }"


def _garbage(pick: random.Random) -> str:
    tokens = (*"{}()@$:[]!é&|=%", "...", "on", "query", "fragment", '"', '"""', "mutation", "#", "viewer")
    return "}" + " ".join(pick.choice(tokens) for _ in range(pick.choice([3, 50, 900])))


def _mutations(pick: random.Random) -> str:
    one = 'updateAccount(input: {locale: "en"}) { clientMutationId }'
    return "mutation { " + " ".join(f"m{n}: {one}" for n in range(pick.choice([101, 150]))) + " }"


def _introspection(pick: random.Random) -> str:
    steps = pick.randint(5, 40)
    return "{ __schema { types { " + "fields { type { " * steps + "name" + " } }" * steps + " } } }"


def _longest(pick: random.Random) -> str:
    """Beyond any limit by size alone, and no GraphQL at its end: whoever parsed it would say so."""
    filling = pick.choice(["x", "\\", '"', '"""', "#", ",", "!", "9", "é", "{ a ", "😀"])
    count = pick.choice([33_000, 40_000, 100_000]) if pick.random() < 0.95 else LARGE // len(filling.encode())
    return '{ node(id: "' + filling * count + pick.choice(["", '") { id }', "}}}}", "\\u{d800}"])


def _operations(pick: random.Random) -> str:
    return " ".join(f"query q{n} {{ __typename }}" for n in range(pick.choice([51, 200, 390])))


DOCUMENTS: Mapping[Callable[[random.Random], str], frozenset[str]] = {
    _bombs: COMPLEX,
    _aliases: COMPLEX,
    _deep: COMPLEX | INVALID,
    _directives: COMPLEX | INVALID,
    _circles: COMPLEX,
    _pages: frozenset({"PAGE_TOO_LARGE", "GRAPHQL_VALIDATION_FAILED"}),
    _lists: INVALID | COMPLEX,
    _types: INVALID,
    _doubled: INVALID,
    _misspelt: INVALID | COMPLEX,
    _garbage: INVALID,
    _mutations: COMPLEX,
    _introspection: COMPLEX | INVALID,
    _longest: TOO_LARGE,
    _operations: COMPLEX,
}


def _body(pick: random.Random) -> tuple[bytes, frozenset[str]]:
    """What goes wrong before there is a document at all."""
    good = b'{"query":"query($v: ID!) { node(id: $v) { id } }","variables":{"v":%s}}'
    surrogate = b'"%s\\u%s"' % (b"x" * pick.randint(0, 99), pick.choice([b"d800", b"DBFF", b"dc00", b"0000"]))
    long = pick.choice([300, 5_000])
    return pick.choice(
        [
            (good % surrogate, UNREADABLE),
            (b'{"query":"{ node(id: \\"\\\\u0000\\") { id } }"}', UNREADABLE),
            (good % (b'{"a":1,"a":2}'), UNREADABLE),
            (b'{"query":"{ a }","query":"{ b }"}' + b" " * long, UNREADABLE),
            (good % (b"[" * 100_000 + b"]" * 100_000), UNREADABLE | TOO_LARGE),
            (good % (b'{"a":' * 30_000 + b"1" + b"}" * 30_000), UNREADABLE),
            (good % (b"[" + b"[]," * 60_000 + b"1]"), TOO_LARGE),
            (good % (b"9" * long), UNREADABLE | {"BAD_USER_INPUT", "INVALID_ID"}),
            (good % b"NaN", UNREADABLE),
            (good % (b'"' + bytes([pick.randint(128, 255)]) * long + b'"'), UNREADABLE),
            (good % b'"\x00"', UNREADABLE),
            (b"[" + good % b'"x"' + b"]", frozenset({"BATCH_REFUSED"})),
            (good % b'"x"' + b"}" * pick.randint(1, 9), UNREADABLE),
            (pick.randbytes(long), UNREADABLE),
            (b"\xef\xbb\xbf" + good % b'"x"', UNREADABLE),
        ]
    )


def hostile(count: int, *, seed: int) -> Iterator[Hostile]:
    """So many hostile bodies, every kind in turn."""
    pick = random.Random(seed)
    kinds = [*DOCUMENTS, _body]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        if kind is _body:
            body, codes = _body(pick)
        else:
            body, codes = json.dumps({"query": kind(pick)}).encode(), DOCUMENTS[kind]
        yield Hostile(kind.__name__.strip("_"), body, codes)
