"""What the reader keeps is bounded, found again, and never answers for another kind of viewer."""

import gc
import json
import weakref
from typing import Any
from uuid import uuid4

import pytest

from cdp.compiler.cache import BoundedCache
from cdp.compiler.reader import DOCUMENT_CHARACTERS, Reader
from cdp.core.db import Database
from cdp.core.ids import CustomerId
from cdp.core.settings import Settings
from tests.twin.reading import GRAPH, KEY, customer_viewer, staff_viewer

TEXT = """query Q($n: Int, $by: OrderOrder, $f: OrderFilter, $yes: Boolean! = true) { viewer { customer {
  orders(first: $n, orderBy: $by, filter: $f) { nodes { number total @include(if: $yes) } } } } }"""
ME = customer_viewer(CustomerId(uuid4()))


@pytest.fixture
def reader(db: Database, settings: Settings) -> Reader:
    return Reader(GRAPH, db, settings, KEY)


def plan_of(reader: Reader, viewer: Any = ME, **variables: Any) -> object:
    return reader.compile(TEXT, viewer, variables)[0]


def test_values_share_a_plan(reader: Reader) -> None:
    assert plan_of(reader, n=9) is plan_of(reader, n=16)
    one = {"f": {"total": {"gt": "1"}, "number": {"in": ["a"]}}}
    other = {"f": {"total": {"gt": "2.5"}, "number": {"in": ["b", "c", "d"]}}}
    assert plan_of(reader, **one) is plan_of(reader, **other)
    assert plan_of(reader, customer_viewer(CustomerId(uuid4()))) is plan_of(reader, ME)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 16}, {"n": 17}),
        ({"n": 16}, {}),
        ({"yes": True}, {"yes": False}),
        ({"by": {"field": "TOTAL"}}, {"by": {"field": "NUMBER"}}),
        ({"by": {"field": "TOTAL", "direction": "ASC"}}, {"by": {"field": "TOTAL", "direction": "DESC"}}),
        ({"f": {"total": {"gt": "1"}}}, {"f": {"total": {"gte": "1"}}}),
        ({"f": {"number": {"eq": "1"}}}, {"f": {"number": {"eq": None}}}),
        ({"f": {}}, {"f": None}),
    ],
)
def test_what_shapes_a_statement_is_part_of_the_key(reader: Reader, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert plan_of(reader, **one) is not plan_of(reader, **other)


def test_kinds_of_viewers_have_plans_of_their_own(reader: Reader) -> None:
    plans = [
        plan_of(reader, viewer)
        for viewer in (
            ME,
            customer_viewer(CustomerId(uuid4()), "profile:read"),
            customer_viewer(CustomerId(uuid4()), "privacy:read"),
            staff_viewer("agent"),
            staff_viewer("privacy_officer"),
            staff_viewer("agent", "privacy_officer"),
        )
    ]
    assert len({id(plan) for plan in plans}) == len(plans)


def test_documents_leave_when_there_are_too_many(reader: Reader) -> None:
    first = weakref.ref(reader.document("{ viewer { kind } }"))
    plan_of(reader)
    reader.compile("{ viewer { kind } }", ME)
    for number in range(DOCUMENT_CHARACTERS // 400 // 50):
        padding = " " * 20_000
        reader.document(f"{{ a{number}: viewer {{ kind }} }}{padding}")
    gc.collect()
    assert first() is None
    assert len(reader._documents) <= DOCUMENT_CHARACTERS // 20_000


async def test_a_document_that_comes_back_is_compiled_anew(reader: Reader) -> None:
    """Keys of plans name an operation by its serial number: a new tree at an old address finds no old plan."""
    answers = set()
    for number in range(40):
        reader._documents = BoundedCache(1)
        text = f"{{ viewer {{ {'kind' if number % 2 else 'scopes'} }} }}"
        answers.add(tuple(json.loads(await reader.execute(text, ME))["data"]["viewer"]))
    assert answers == {("kind",), ("scopes",)}
    await reader.close()


def test_the_least_used_leaves_first() -> None:
    cache: BoundedCache[str, int] = BoundedCache(10)
    for number, name in enumerate("abc"):
        cache.put(name, number, weight=3)
    assert cache.get("a") == 0
    cache.put("d", 3, weight=3)
    assert cache.get("b") is None
    assert [cache.get(name) for name in "acd"] == [0, 2, 3]
    cache.put("a", 9, weight=10)
    assert cache.get("a") == 9
    assert len(cache) == 1
