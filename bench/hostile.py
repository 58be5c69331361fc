"""Hostile documents: how long the worst of them keeps the event loop from everybody else.

Runs the product's application in a process of its own (``python -m bench.hostile``) beside a task that does nothing but
yield: the longest time between two of its turns is the longest block. Settings come from the environment.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from starlette.types import ASGIApp, Message

from cdp.app import build
from cdp.core.settings import Settings

WORDS = ("viewer", "customer", "account", "orders", "edges", "node", "items", "contacts", "emails", "preferences")
SIZES = (3, 10, 15, 30, 60, 95, 150, 300, 700, 1500)
Maker = Callable[["Whim"], str]


@dataclass(frozen=True)
class Blocks:
    """What the flood of documents did; times in milliseconds. ``statuses`` counts the answers by HTTP status."""

    documents: int
    worst_ms: float
    p99_ms: float
    worst_kind: str
    statuses: dict[str, int]


@dataclass(frozen=True)
class Whim:
    """What varies within a kind of document."""

    pick: random.Random
    size: int


def deep(whim: Whim) -> str:
    """Selections within selections."""
    return "{" + "".join(f"{whim.pick.choice(WORDS)}{{" for _ in range(whim.size)) + "id" + "}" * (whim.size + 1)


def aliased(whim: Whim) -> str:
    """The same field under many names."""
    return "{" + " ".join(f"a{n}:viewer{{customer{{id}}}}" for n in range(whim.size)) + "}"


def paged(whim: Whim) -> str:
    """Page after page: each is a statement of its own."""
    page = "orders(first:1){edges{cursor node{id}}pageInfo{hasNextPage endCursor}totalCount}"
    return "{viewer{customer{" + " ".join(f"a{n}:{page}" for n in range(whim.size)) + "}}}"


def spread(whim: Whim) -> str:
    """One large fragment in many places."""
    order = "fragment O on Order{id number kind status placedAt currency total billingName billingCity items{id sku}}"
    places = " ".join(f"a{n}:orders(first:1){{nodes{{...O}}}}" for n in range(whim.size))
    return f"{{viewer{{customer{{{places}}}}}}} {order}"


def bombed(whim: Whim) -> str:
    """Fragments that double at every step."""
    steps = min(whim.size, 60)
    chain = " ".join(f"fragment F{n} on Customer{{...F{n + 1} x{n}:id ...F{n + 1}}}" for n in range(steps))
    return f"{{viewer{{customer{{...F0}}}}}} {chain} fragment F{steps} on Customer{{id}}"


def circular(whim: Whim) -> str:
    """Fragments that spread each other in a circle."""
    ring = max(1, whim.size % 50)
    circle = " ".join(f"fragment F{n} on Customer{{...F{(n + 1) % ring} id}}" for n in range(ring))
    return f"{{viewer{{customer{{...F0}}}}}} {circle}"


def inlined(whim: Whim) -> str:
    """Inline fragments within inline fragments."""
    return "{viewer{customer{" + "...on Customer{" * whim.size + "id" + "}" * (whim.size + 3)


def directed(whim: Whim) -> str:
    """Directives upon directives, known and unknown."""
    name = whim.pick.choice(("include(if:true)", "skip(if:false)", "unknown", "deprecated"))
    return "{viewer{customer{id" + f"@{name}" * whim.size + "}}}"


def misspelt(whim: Whim) -> str:
    """Unknown fields close to known ones: each asks for a suggestion."""
    return "{viewer{customer{" + " ".join(f"{whim.pick.choice(WORDS)}{n}" for n in range(whim.size)) + "}}}"


def overlapping(whim: Whim) -> str:
    """One response name asked for with many different arguments: each pair may conflict."""
    return "{viewer{customer{" + " ".join(f"orders(first:{n}){{totalCount}}" for n in range(whim.size)) + "}}}"


def overlapping_deep(whim: Whim) -> str:
    """The same chain again and again: merging compares every pair."""
    return "{" + "viewer{customer{orders{edges{node{items{sku}}}}}}" * whim.size + "}"


def introspecting(whim: Whim) -> str:
    """Introspection that runs in circles."""
    steps = min(whim.size, 40)
    return "{__schema{types{" + "fields{type{" * steps + "name" + "}}" * steps + "}}}"


def greedy(whim: Whim) -> str:
    """Pages of pages."""
    page = whim.pick.choice((500, 501, 2**31 - 1, 2**31, -1, 10**30))
    return f"{{viewer{{customer{{orders(first:{page}){{edges{{node{{items{{sku}}}}}}}}}}}}}}"


def many_ids(whim: Whim) -> str:
    """A long list of ids."""
    return "{nodes(ids:[" + ",".join(f'"{whim.pick.getrandbits(128):x}"' for _ in range(whim.size)) + "]){id}}"


def nested_value(whim: Whim) -> str:
    """A value within a value within a value."""
    opening, closing = whim.pick.choice((("[", "]"), ("{a:", "}")))
    return "{nodes(ids:" + opening * whim.size + "1" + closing * whim.size + "){id}}"


def nested_type(whim: Whim) -> str:
    """A variable of a list of lists of lists."""
    return "query Q($v:" + "[" * whim.size + "ID" + "]" * whim.size + "){nodes(ids:$v){id}}"


def many_operations(whim: Whim) -> str:
    """Operation after operation."""
    return " ".join(f"query Q{n}{{viewer{{customer{{id}}}}}}" for n in range(whim.size))


def long_text(whim: Whim) -> str:
    """Strings, names, numbers, comments and commas without end."""
    long = whim.size * 20
    filling = whim.pick.choice(('"' + "a" * long + '"', '"""' + '\\"""' * long + '"""', "9" * long, "a" * long))
    texts = (f"{{node(id:{filling}){{id}}}}", "#" * long + "\n{viewer{x}}", "," * long + "{viewer{x}}")
    return whim.pick.choice(texts)


def garbage(whim: Whim) -> str:
    """Tokens in no order."""
    tokens = (*"{}()@$:[]!é", "...", "on", "query", "fragment", '"', '"""', "\\u0000", *WORDS)
    return " ".join(whim.pick.choice(tokens) for _ in range(whim.size))


KINDS: tuple[Maker, ...] = (
    deep,
    aliased,
    paged,
    spread,
    bombed,
    circular,
    inlined,
    directed,
    misspelt,
    overlapping,
    overlapping_deep,
    introspecting,
    greedy,
    many_ids,
    nested_value,
    nested_type,
    many_operations,
    long_text,
    garbage,
)


def documents(count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """Kind and text of each document; small ones, ones at the edge of the limits, and ones far beyond."""
    pick = random.Random(seed)
    for number in range(count):
        make = KINDS[number % len(KINDS)]
        yield make.__name__, make(Whim(pick, pick.choice(SIZES)))


async def measure(app: ASGIApp, token: str, *, count: int, seed: int) -> Blocks:
    """Ask every document, one after the other, and watch the loop."""
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    worst: list[tuple[float, str]] = []
    statuses: Counter[str] = Counter()
    for kind, text in documents(count, seed=seed):
        watch.worst_s = 0.0
        statuses[str(await _ask(app, token, text))] += 1
        await asyncio.sleep(0)
        worst.append((1000 * watch.worst_s, kind))
    watching.cancel()
    worst.sort()
    return Blocks(count, worst[-1][0], worst[int(count * 0.99)][0], worst[-1][1], dict(statuses))


class Watch:
    """A task that only yields and notes how long it had to wait for its next turn."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.worst_s = max(self.worst_s, now - before)
            before = now


async def _ask(app: ASGIApp, token: str, text: str) -> int:
    body = json.dumps({"query": text}).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"accept", b"application/json")]
    headers += [(b"authorization", f"Bearer {token}".encode()), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
    }
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0

    async def receive() -> Message:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app(scope, receive, send)
    return status


async def main(token: str, count: int) -> Blocks:
    """Open the application as ``cdp api`` does, then flood it."""
    app = build(Settings())
    gc.collect()
    gc.freeze()
    async with app.router.lifespan_context(app):
        return await measure(app, token, count=count, seed=1)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(main(sys.argv[1], int(sys.argv[2]))))))
