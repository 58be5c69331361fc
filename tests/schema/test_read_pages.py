"""Pages: walking a list by cursors in any order and either direction meets every member once."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cdp.access.viewer import Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Database
from cdp.core.ids import CustomerId
from cdp.core.settings import Settings
from tests.conftest import fresh_place
from tests.twin.reading import GRAPH, KEY, Reading, customer_viewer, staff_viewer
from tests.twin.rows import populate

CUSTOMERS = """query Q(
    $first: Int, $after: String, $last: Int, $before: String, $by: CustomerOrder, $filter: CustomerFilter) {
  customers(first: $first, after: $after, last: $last, before: $before, orderBy: $by, filter: $filter) {
    totalCount edges { cursor node { id } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
ORDERS = """query Q($first: Int, $after: String, $last: Int, $before: String, $by: OrderOrder) { viewer { customer {
  orders(first: $first, after: $after, last: $last, before: $before, orderBy: $by) { edges { cursor node { number } }
    pageInfo { hasNextPage endCursor } } } } }"""
ORDERINGS = [(field, way) for field in ("CREATED_AT", "NAME") for way in ("ASC", "DESC")]


async def page(reading: Reading, viewer: Viewer, **variables: Any) -> dict[str, Any]:
    found = (await reading.data(CUSTOMERS, viewer, **variables))["customers"]
    assert [edge["node"] for edge in found["edges"]] == found["nodes"]
    assert found["pageInfo"]["startCursor"] == (found["edges"][0]["cursor"] if found["edges"] else None)
    assert found["pageInfo"]["endCursor"] == (found["edges"][-1]["cursor"] if found["edges"] else None)
    return found


@pytest.fixture(scope="module")
def place(running: Settings, worker_name: str) -> Iterator[Settings]:
    """Nothing here writes, so that one database does for all."""
    with fresh_place(running, worker_name) as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def database(place: Settings) -> AsyncIterator[Database]:
    opened = Database(place.database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def reading(database: Database, place: Settings) -> AsyncIterator[Reading]:
    reader = Reader(GRAPH, database, place, KEY)
    yield Reading(reader)
    await reader.close()


@pytest.fixture(scope="module")
async def customers(database: Database) -> list[CustomerId]:
    return await populate(database, 5, customers=11)


@pytest.mark.parametrize(("field", "direction"), ORDERINGS)
@pytest.mark.parametrize("size", [1, 3, 11, 20])
async def test_a_walk_meets_everybody_once(
    reading: Reading, customers: list[CustomerId], field: str, direction: str, size: int
) -> None:
    officer = staff_viewer("privacy_officer")
    by = {"field": field, "direction": direction}
    whole = [node["id"] for node in (await page(reading, officer, first=50, by=by))["nodes"]]
    assert len(set(whole)) == len(customers)

    met: list[str] = []
    after, more = None, True
    while more:
        found = await page(reading, officer, first=size, after=after, by=by)
        assert found["totalCount"] == len(customers)
        assert found["pageInfo"]["hasPreviousPage"] is (after is not None)
        met += [node["id"] for node in found["nodes"]]
        after, more = found["pageInfo"]["endCursor"], found["pageInfo"]["hasNextPage"]
    assert met == whole

    met = []
    before, more = None, True
    while more:
        found = await page(reading, officer, last=size, before=before, by=by)
        met = [node["id"] for node in found["nodes"]] + met
        before, more = found["pageInfo"]["startCursor"], found["pageInfo"]["hasPreviousPage"]
    assert met == whole


async def test_a_member_that_goes_does_not_stop_the_walk(reading: Reading, customers: list[CustomerId]) -> None:
    officer = staff_viewer("privacy_officer")
    first = await page(reading, officer, first=4)
    rest = await page(reading, officer, first=50, after=first["edges"][1]["cursor"])
    assert [node["id"] for node in rest["nodes"]][:2] == [node["id"] for node in first["nodes"]][2:]


async def test_filters_narrow_list_and_total(reading: Reading, customers: list[CustomerId]) -> None:
    officer = staff_viewer("privacy_officer")
    for country in ("DE", None):
        found = await page(reading, officer, first=50, filter={"country": {"eq": country}})
        assert found["totalCount"] == len(found["nodes"]) > 0
    assert (await page(reading, officer, first=2, filter={"country": {"in": ["XX"]}}))["totalCount"] == 0


async def orders_of(reading: Reading, viewer: Viewer, **variables: Any) -> dict[str, Any]:
    return (await reading.data(ORDERS, viewer, **variables))["viewer"]["customer"]["orders"]


async def with_orders(reading: Reading, customers: list[CustomerId], least: int) -> list[CustomerId]:
    found = [one for one in customers if len((await orders_of(reading, customer_viewer(one)))["edges"]) >= least]
    assert len(found) >= 2
    return found


async def test_a_cursor_serves_only_its_viewer_list_and_order(reading: Reading, customers: list[CustomerId]) -> None:
    mine, theirs, *_ = await with_orders(reading, customers, 2)
    viewer = customer_viewer(mine)
    cursor = (await orders_of(reading, viewer, first=1))["pageInfo"]["endCursor"]
    assert (await orders_of(reading, viewer, first=5, after=cursor))["edges"]

    assert await reading.code(ORDERS, customer_viewer(theirs), after=cursor) == "INVALID_CURSOR"
    by_total = {"field": "TOTAL", "direction": "DESC"}
    assert await reading.code(ORDERS, viewer, after=cursor, by=by_total) == "INVALID_CURSOR"
    assert await reading.code(ORDERS, viewer, after=cursor, by={"field": "PLACED_AT", "direction": "ASC"}) == (
        "INVALID_CURSOR"
    )
    other = "query Q($after: String) { viewer { customer { inquiries(after: $after) { nodes { id } } } } }"
    assert await reading.code(other, viewer, after=cursor) == "INVALID_CURSOR"


async def test_a_changed_cursor_is_refused_where_it_stands(reading: Reading, customers: list[CustomerId]) -> None:
    (mine, *_) = await with_orders(reading, customers, 2)
    viewer = customer_viewer(mine)
    cursor = (await orders_of(reading, viewer, first=1))["pageInfo"]["endCursor"]
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for place in range(0, len(raw), 7):
        raw[place] ^= 1
        changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        raw[place] ^= 1
        answer = await reading.ask(ORDERS, viewer, after=changed)
        assert answer["data"]["viewer"]["customer"] == {"orders": None}
        (error,) = answer["errors"]
        assert error["path"] == ["viewer", "customer", "orders"]
        assert error["extensions"] == {"code": "INVALID_CURSOR"}


@pytest.mark.parametrize("cursor", ["", "x", "====", "ü", "a" * 5_000, "\x00"])
async def test_nonsense_is_no_cursor(reading: Reading, customers: list[CustomerId], cursor: str) -> None:
    assert await reading.code(ORDERS, customer_viewer(customers[0]), after=cursor) == "INVALID_CURSOR"


@pytest.mark.parametrize(
    "variables",
    [{"first": 1, "last": 1}, {"first": -1}, {"last": -5}, {"last": 1, "after": "x"}, {"first": 1, "before": "x"}],
)
async def test_contradictory_pages_are_refused(
    reading: Reading, customers: list[CustomerId], variables: dict[str, Any]
) -> None:
    assert await reading.code(ORDERS, customer_viewer(customers[0]), **variables) == "BAD_USER_INPUT"


async def test_a_cursor_says_nothing_about_the_row(reading: Reading, customers: list[CustomerId]) -> None:
    officer = staff_viewer("privacy_officer")
    found = await page(reading, officer, first=3, by={"field": "NAME"})
    for edge in found["edges"]:
        raw = base64.urlsafe_b64decode(edge["cursor"] + "=" * (-len(edge["cursor"]) % 4))
        assert all(str(one).encode() not in raw for one in customers)


async def test_an_empty_page_has_no_cursors(reading: Reading, customers: list[CustomerId]) -> None:
    officer = staff_viewer("privacy_officer")
    found = await page(reading, officer, first=0)
    assert found["nodes"] == []
    assert found["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": None,
        "endCursor": None,
    }
