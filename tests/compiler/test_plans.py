"""Plans of Postgres, as each role: where an index serves, no large table is read from end to end.

Generic plans, as the reader's held statements have them, over a few thousand customers.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Database, Role, asyncpg_arguments
from cdp.core.ids import global_id
from cdp.core.settings import Settings
from tests.compiler.crowd import CROWD, customer_id
from tests.conftest import fresh_place
from tests.twin.catalogue import CATALOGUE
from tests.twin.reading import GRAPH, KEY, staff_viewer

SMALL = frozenset({"brand", "policy_version", "purpose", "system", "certificate", "staff", "reveal"})
OWN = Viewer(Actor.CUSTOMER, customer_id=customer_id(77), scopes=CUSTOMER_SCOPES)
WHO = {"id": global_id("Customer", customer_id(77))}
ONE = """query Q($id: ID!) { customer(id: $id) { givenName account { username } contacts { emails { address } }
  orders(first: 10) { nodes { number items { sku } } } currentConsents { action }
  requests { nodes { tasks { step } } } } }"""
LIST = """query Q($by: CustomerOrder, $f: CustomerFilter, $n: Int) { customers(first: $n, orderBy: $by, filter: $f) {
  nodes { givenName contacts { emails { address } } orders(first: 3) { nodes { number items { sku } } } }
  pageInfo { hasNextPage endCursor } } }"""
WORK: list[tuple[str, dict[str, Any]]] = [
    (ONE, WHO),
    ("query Q($id: ID!) { node(id: $id) { id ... on Customer { givenName } } }", WHO),
    ("query Q($id: ID!) { nodes(ids: [$id]) { id ... on Customer { givenName } } }", WHO),
    (LIST, {"n": 20}),
    (LIST, {"n": 20, "by": {"field": "NAME"}}),
    (LIST, {"n": 20, "by": {"field": "NAME", "direction": "DESC"}}),
    (LIST, {"n": 20, "by": {"field": "CREATED_AT", "direction": "DESC"}}),
    (LIST, {"n": 5, "f": {"email": {"eq": "crowd7@example.org"}}}),
    (LIST, {"n": 5, "f": {"phone": {"eq": "+49307"}}}),
    (LIST, {"n": 5, "f": {"name": {"contains": "given77 "}}}),
    ("{ customers(last: 3, orderBy: {field: NAME}) { nodes { familyName } } }", {}),
    ('{ privacyRequests(filter: {reference: {eq: "CR7"}}) { nodes { tasks { step } } } }', {}),
]


@pytest.fixture(scope="module")
def crowd_settings(running: Settings, worker_name: str) -> Iterator[Settings]:
    with fresh_place(running, worker_name) as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def crowd(crowd_settings: Settings) -> AsyncIterator[Database]:
    database = Database(crowd_settings.database_url)
    worker = await database.connect_raw(Role.WORKER)
    async with worker.transaction():
        await worker.execute(CROWD)
    await worker.close()
    owner = await asyncpg.connect(**asyncpg_arguments(crowd_settings.database_owner_url))
    await owner.execute("VACUUM ANALYZE")  # as autovacuum does: what is new in an index of trigrams is put in its place
    await owner.close()
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def reader(crowd: Database, crowd_settings: Settings) -> AsyncIterator[Reader]:
    opened = Reader(GRAPH, crowd, crowd_settings, KEY)
    yield opened
    await opened.close()


def read_whole(
    reader: Reader, settings: Settings, text: str, viewer: Viewer, variables: dict[str, Any]
) -> frozenset[str]:
    """Tables read from end to end; of those the crowd leaves empty only what no index could serve."""
    plan, _ = reader.compile(text, viewer, variables)
    with psycopg.connect(settings.database_url) as connection:
        empty = {name for (name,) in connection.execute("SELECT relname FROM pg_class WHERE reltuples = 0").fetchall()}
        connection.execute(f"SET ROLE {viewer.role.value}".encode())
        found = {scans: frozenset(scanned_whole(_plan(connection, plan.sql, scans=scans))) for scans in ("on", "off")}
    return (found["on"] - empty) | (found["off"] & empty)


def _plan(connection: psycopg.Connection[Any], sql: str, *, scans: str) -> dict[str, Any]:
    connection.execute(f"SET enable_seqscan = {scans}".encode())
    (found,) = connection.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}".encode()).fetchone() or ()
    planned: dict[str, Any] = found[0]["Plan"]
    return planned


def scanned_whole(node: dict[str, Any]) -> list[str]:
    here = [node["Relation Name"]] if node["Node Type"] == "Seq Scan" else []
    return here + [name for inner in node.get("Plans", ()) for name in scanned_whole(inner)]


@pytest.mark.parametrize("text", CATALOGUE)
async def test_customers_read_by_index(reader: Reader, crowd_settings: Settings, text: str) -> None:
    assert read_whole(reader, crowd_settings, text, OWN, {}) <= SMALL


@pytest.mark.parametrize(
    "viewer", [staff_viewer("agent"), staff_viewer("privacy_officer"), SYSTEM], ids=lambda v: v.role
)
@pytest.mark.parametrize(("text", "variables"), WORK)
async def test_staff_and_worker_read_by_index(
    reader: Reader, crowd_settings: Settings, text: str, variables: dict[str, Any], viewer: Viewer
) -> None:
    assert read_whole(reader, crowd_settings, text, viewer, variables) <= SMALL


async def test_a_page_reads_no_more_than_its_rows(reader: Reader, crowd: Database) -> None:
    """The page's rows come in order from an index; nothing is sorted that a limit then cuts."""
    plan, arguments = reader.compile(LIST, staff_viewer("privacy_officer"), {"n": 20, "by": {"field": "NAME"}})
    connection = await crowd.connect_raw(Role.STAFF)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            found = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {plan.sql}", *arguments)
    finally:
        await connection.close()
    scans = [node for node in nodes(json.loads(found)[0]["Plan"]) if node.get("Relation Name") == "customer"]
    read = [node for node in scans if node["Alias"] != "person"]  # whose pseudonym the log gets
    assert [node["Actual Rows"] for node in read if node["Actual Rows"]] == [21]


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from nodes(inner)


async def test_the_profile_statement_stays_lean(reader: Reader) -> None:
    """One subquery a relation, nothing else: a change that adds hops to every read shows here."""
    text = """{ viewer { customer { givenName account { username } contacts { emails { address } phones { number } }
      preferences { key } orders(first: 10) { nodes { number items { sku } } } } } }"""
    plan, arguments = reader.compile(text, OWN)
    assert plan.sql.count("SELECT") == 9
    assert len(arguments) == 1
    assert "row_number" not in plan.sql
    assert "WITH" not in plan.sql
