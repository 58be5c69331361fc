"""The seeded population: the same for a seed, whole or absent, believable, and the tables are left as they were."""

import asyncio
import re

import phonenumbers
import psycopg
import pytest
from sqlalchemy import func, insert, select, text

from cdp.access.viewer import SYSTEM
from cdp.core.clock import utc_now
from cdp.core.db import Database, Role
from cdp.core.ids import new_id
from cdp.core.platform import open_keys
from cdp.core.seal import Pepper
from cdp.core.settings import Environment, Settings
from cdp.operations import values
from cdp.operations.population import rows
from cdp.operations.population import seed as loading
from cdp.operations.population.locales import REGIONS
from cdp.operations.population.seed import Seeded, SeedPresent, SeedRefused, seed
from cdp.operations.suppression import kind_of
from cdp.tables import metadata
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.certificate import suppression
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import CustomerKind, customer
from cdp.tables.inquiry import inquiry, quotation, survey_response
from cdp.tables.order import sales_order, sales_order_item
from cdp.tables.request import RequestStatus, RequestType, privacy_request

RESERVED = re.compile(r"@(example\.(com|org|net)|([a-z0-9-]+\.)*[a-z0-9-]+\.example)$")
ORPHANS = """
SELECT conrelid::regclass::text, conname, a.attname, confrelid::regclass::text, f.attname
  FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]
  JOIN pg_attribute f ON f.attrelid = confrelid AND f.attnum = confkey[1]
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""


async def _seed(settings: Settings, db: Database, customers: int, number: int = 1) -> Seeded:
    return await seed(settings, db, SYSTEM, customers=customers, seed_number=number, now=utc_now())


async def _digest(db: Database) -> dict[str, str]:
    """A hash of every table's rows without the ids of this installation."""
    found = {}
    async with db.transaction(Role.WORKER) as tx:
        for table in rows.COLUMNS:
            own = [name for name in rows.COLUMNS[table] if name not in {"brand_id", "policy_version_id"}]
            line = f"concat_ws('|', {', '.join(own)})"
            statement = text(f"SELECT md5(string_agg({line}, '~' ORDER BY id)) FROM {table}")
            found[table] = str(await tx.scalar(statement))
    return found


async def _count(db: Database, *statements) -> list[int]:
    async with db.transaction(Role.WORKER) as tx:
        return [await tx.scalar(statement) for statement in statements]


def _catalogue(settings: Settings) -> list[tuple[str, ...]]:
    """Everything the load touches: constraints, indexes, row-level security."""
    with psycopg.connect(settings.database_owner_url) as connection:
        return connection.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated::text, condeferred::text"
            "  FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT relname, relrowsecurity::text, relforcerowsecurity::text, '', '' FROM pg_class"
            "  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1, 2, 3"
        ).fetchall()


def _orphans(settings: Settings) -> list[str]:
    found = []
    with psycopg.connect(settings.database_owner_url) as connection:
        connection.execute("SET ROLE cdp_worker")
        for table, name, column, other, key in connection.execute(ORPHANS).fetchall():
            lost = connection.execute(
                f"SELECT count(*) FROM {table} t WHERE {column} IS NOT NULL"
                f" AND NOT EXISTS (SELECT 1 FROM {other} o WHERE o.{key} = t.{column})"
            ).fetchone()
            if lost != (0,):
                found.append(name)
    return found


async def test_a_seed_always_makes_the_same_people(fresh_settings: Settings, fresh_database: Database):
    await _seed(fresh_settings, fresh_database, 1_300)
    whole = rows.Spec(1, 1_300, "b", "p")
    again = dict.fromkeys(rows.COLUMNS, b"")
    for chunk in range(whole.chunks):
        for table, lines in rows.generate(whole, chunk).items():
            again[table] += lines
    counts = await _count(
        fresh_database, *(select(func.count()).select_from(metadata.tables[table]) for table in rows.COLUMNS)
    )
    assert [lines.count(b"\n") for lines in again.values()] == counts
    assert rows.generate(whole, 1) == rows.generate(whole, 1)
    assert rows.generate(whole, 1)["customer"] != rows.generate(rows.Spec(2, 1_300, "b", "p"), 1)["customer"]


def test_a_smaller_population_is_the_beginning_of_a_larger_one():
    small, large = (rows.generate(rows.Spec(7, size, "b", "p"), 0) for size in (300, 900))
    for table, lines in small.items():
        assert large[table].startswith(lines)


async def test_two_databases_get_the_same_rows(
    fresh_settings: Settings, fresh_database: Database, settings: Settings, db: Database
):
    await _seed(fresh_settings, fresh_database, 150, number=4711)
    await _seed(settings, db, 150, number=4711)
    ids = await _count(fresh_database, select(func.array_agg(customer.c.id)))
    statement = text(
        "SELECT md5(string_agg(c::text, '~' ORDER BY id)) FROM sales_order c WHERE customer_id = ANY(:ids)"
    )
    async with db.transaction(Role.WORKER) as one, fresh_database.transaction(Role.WORKER) as other:
        assert await one.scalar(statement, {"ids": ids[0]}) == await other.scalar(statement, {"ids": ids[0]})


async def test_the_population_is_believable(fresh_settings: Settings, fresh_database: Database):
    seeded = await _seed(fresh_settings, fresh_database, 2_500)
    orders, items = seeded.rows["sales_order"] / 2_500, seeded.rows["sales_order_item"] / seeded.rows["sales_order"]
    assert 4.5 < orders < 5.5
    assert 2 < items < 3
    async with fresh_database.transaction(Role.WORKER) as tx:
        companies = await tx.scalar(
            select(func.count()).select_from(customer).where(customer.c.kind == CustomerKind.ORGANISATION)
        )
        assert 0.05 < companies / 2_500 < 0.11
        locales = await tx.all(select(customer.c.locale, customer.c.country).distinct())
        assert {(row.locale, row.country) for row in locales} == {(r.locale, r.country) for r in REGIONS}
        addresses = [row[0] for row in await tx.all(select(email_address.c.address))]
        assert not [address for address in addresses if not RESERVED.search(address)]
        assert {values.email(address).normalized for address in addresses} == set(addresses)
        phones = [row[0] for row in await tx.all(select(phone_number.c.e164))]
        assert len(phones) == len(set(phones))
        assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in phones)
        assert await tx.scalar(select(func.count(account.c.password_hash)).select_from(account)) == 0
        amount = func.sum(sales_order_item.c.unit_price * sales_order_item.c.quantity)
        sums = select(sales_order_item.c.order_id, amount.label("total")).group_by(sales_order_item.c.order_id)
        lines = sums.subquery()
        wrong = select(func.count()).select_from(sales_order).join(lines, lines.c.order_id == sales_order.c.id)
        assert await tx.scalar(wrong.where(lines.c.total != sales_order.c.total)) == 0
        for table in (inquiry, quotation, survey_response):
            assert await tx.scalar(select(func.count()).select_from(table)) > 0


@pytest.mark.parametrize("customers", [300, loading.LARGE_CUSTOMERS])
async def test_the_tables_are_left_as_they_were(fresh_settings: Settings, fresh_database: Database, customers: int):
    before = _catalogue(fresh_settings)
    await _seed(fresh_settings, fresh_database, customers)
    assert _catalogue(fresh_settings) == before
    assert _orphans(fresh_settings) == []
    with psycopg.connect(fresh_settings.database_owner_url) as connection:
        known = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'customer'").fetchone()
    assert known == (float(customers),)


async def test_the_same_seed_twice_is_refused_and_another_one_is_not(
    fresh_settings: Settings, fresh_database: Database
):
    await _seed(fresh_settings, fresh_database, 50)
    before = await _digest(fresh_database)
    with pytest.raises(SeedPresent) as refusal:
        await _seed(fresh_settings, fresh_database, 60)
    assert refusal.value.code == "SEED_PRESENT"
    assert await _digest(fresh_database) == before
    await _seed(fresh_settings, fresh_database, 60, number=2)
    assert await _count(fresh_database, select(func.count()).select_from(customer)) == [110]


async def test_two_loads_of_a_seed_at_once_leave_one(fresh_settings: Settings, fresh_database: Database):
    outcomes = await asyncio.gather(
        _seed(fresh_settings, fresh_database, 400), _seed(fresh_settings, fresh_database, 400), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["SeedPresent", "Seeded"]
    assert await _count(fresh_database, select(func.count()).select_from(customer)) == [400]


async def test_an_interrupted_load_leaves_nothing(fresh_settings: Settings, fresh_database: Database):
    before = _catalogue(fresh_settings)
    sent = asyncio.Event()
    arguments = {"customers": 20_000, "seed_number": 1, "now": utc_now(), "progress": lambda _: sent.set()}
    task = asyncio.create_task(seed(fresh_settings, fresh_database, SYSTEM, **arguments))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _count(fresh_database, select(func.count()).select_from(customer)) == [0]
    assert _catalogue(fresh_settings) == before
    await _seed(fresh_settings, fresh_database, 20)


async def test_production_is_not_seeded(fresh_settings: Settings, fresh_database: Database):
    production = fresh_settings.model_copy(update={"env": Environment.PRODUCTION})
    with pytest.raises(SeedRefused):
        await _seed(production, fresh_database, 10)
    assert await _count(fresh_database, select(func.count()).select_from(customer)) == [0]


async def test_the_load_is_audited(fresh_settings: Settings, fresh_database: Database):
    await _seed(fresh_settings, fresh_database, 10, number=3)
    async with fresh_database.transaction(Role.WORKER) as tx:
        row = await tx.first(select(audit_event))
    assert row is not None
    assert (row.action, row.details) == ("population.seeded", {"seed": 3, "customers": 10, "refused": 0})


async def test_who_was_erased_is_refused_row_by_row(fresh_settings: Settings, fresh_database: Database):
    """By e-mail, by phone and by the id of another system; everybody else of the population comes."""
    spec, pepper = rows.Spec(7, 60, str(new_id()), str(new_id())), Pepper(open_keys(fresh_settings)[0])
    chunk, wanted = rows.generate(spec, 0), []
    for kind, table, column, number in (
        ("email", "email_address", "normalized", 0),
        ("phone", "phone_number", "e164", 20),
        ("identity", "identity", "value", 40),
    ):
        cells = dict(zip(rows.COLUMNS[table], chunk[table].decode().splitlines()[number].split("\t"), strict=True))
        hashed_as = kind_of(cells["type"], cells["issuer"]) if table == "identity" else kind
        wanted.append((cells["customer_id"], pepper.hash(hashed_as, cells[column])))
    gone = {customer_id for customer_id, _ in wanted}
    async with fresh_database.transaction(Role.WORKER) as tx:
        request = {"id": new_id(), "reference": "ER-2222-2222", "type": RequestType.ERASURE, "channel": "test"}
        request |= {"status": RequestStatus.COMPLETED, "subject_ref": new_id(), "due_at": func.now()}
        await tx.execute(insert(privacy_request).values(request))
        for _, known in wanted:
            line = {"identity_type": "any", "value_hash": known.value, "key_version": known.key_version}
            await tx.execute(insert(suppression).values(id=new_id(), request_id=request["id"], **line))
    seeded = await _seed(fresh_settings, fresh_database, 60, number=7)
    assert (seeded.refused, seeded.rows["customer"]) == (len(gone), 60 - len(gone))
    async with fresh_database.transaction(Role.WORKER) as tx:
        here = {str(row.id) for row in await tx.all(select(customer.c.id))}
        details = await tx.scalar(select(audit_event.c.details).where(audit_event.c.action == "population.seeded"))
    assert (len(here), here & gone, details["refused"]) == (60 - len(gone), set(), len(gone))
