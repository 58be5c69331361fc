"""The residual pass: it finds what is left wherever it is, says nothing when it can not see, survives every death."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.keys import KeyGone
from cdp.operations import subjects
from cdp.operations.audit import record
from cdp.operations.residual import checks, passes
from cdp.operations.residual.scan import alone
from cdp.operations.verification import verify_addendum, verify_certificate
from cdp.tables.contact import phone_number
from cdp.tables.event import event
from cdp.tables.inquiry import inquiry
from cdp.tables.residual import (
    PassStatus,
    ResidualStatus,
    certificate_addendum,
    residual_check,
    residual_finding,
    residual_pass,
)
from cdp.tables.staff import staff
from tests.engine import Engine
from tests.faults.mortal import mortally
from tests.population import Person, make_person, picture


@pytest.fixture
def nightly(engine: Engine) -> Engine:
    """The same engine, whose passes come by night: a test makes them when it wants one."""
    return engine.with_settings(residual_every=timedelta(days=1))


async def erased(engine: Engine, person: Person) -> str:
    opened = await engine.open_erasure(person)
    await engine.work()
    assert await engine.status(opened.reference) == "completed"
    return opened.reference


async def check_of(engine: Engine, reference: str) -> Any:
    request = await engine.request(reference)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.first(select(residual_check).where(residual_check.c.request_id == request.id))


async def addendum_of(engine: Engine, reference: str) -> bytes | None:
    request = await engine.request(reference)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.scalar(
            select(certificate_addendum.c.document).where(certificate_addendum.c.request_id == request.id)
        )
    return found.encode() if found else None


async def places(engine: Engine, reference: str) -> dict[tuple[str, str, str], int]:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = {one.reference: one for one in await checks.found(tx)}
    return {(p.table, p.column, p.type): p.rows for p in found[reference].findings} if reference in found else {}


async def last_pass(engine: Engine) -> Any:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.first(select(residual_pass).order_by(residual_pass.c.finished_at.desc()).limit(1))


@asynccontextmanager
async def as_owner(engine: Engine) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    url = engine.platform.settings.database_owner_url
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def test_the_key_outlives_the_certificate_until_the_pass(nightly: Engine) -> None:
    ada, bystander = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    before = await picture(nightly.platform.db, bystander)
    reference = await erased(nightly, ada)
    row = await nightly.request(reference)
    assert subjects.unseal(nightly.platform.keys, row.id, row.identifiers_sealed).person.homes
    assert row.address_hash is None
    issued = await nightly.certificate(reference)
    assert f"certificates/{issued.reference}.json" in await nightly.objects()
    assert not [key for key in await nightly.objects() if "addendum" in key]
    assert await passes.run_due(nightly.platform) is False

    assert await passes.run(nightly.platform)
    document = await addendum_of(nightly, reference)
    assert document is not None
    await nightly.work()
    row = await nightly.request(reference)
    assert (row.identifiers_sealed, row.key_id) == (None, None)
    with pytest.raises(KeyGone):
        nightly.platform.keys.get(subjects.key_name(row.id))
    assert await nightly.platform.blobs.get(f"certificates/{issued.reference}.addendum.json") == document
    assert (await check_of(nightly, reference)).status is ResidualStatus.CLEAN
    assert {"residual.clean", "request.closed"} <= set(await nightly.audited(ada))
    assert await picture(nightly.platform.db, bystander) == before


async def test_what_the_addendum_says(nightly: Engine) -> None:
    ada = await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    await passes.run(nightly.platform)
    document, keys = await addendum_of(nightly, reference), nightly.platform.signer.keys()
    issued = await nightly.certificate(reference)
    assert document is not None
    assert verify_certificate(issued.document, keys).is_valid
    report = verify_addendum(document, keys, certificate=issued.document)
    assert report.is_valid, report.problems
    read = json.loads(document)
    assert read["lookedFor"] == {"address": 1, "email": 1, "phone": 1, "username": 1}
    assert (read["found"], read["heldByOthers"]) == ([], [])
    assert read["pass"]["tables"] > 60
    assert read["pass"]["canaries"] == {"planted": 8, "found": 8}
    assert ada.email not in document.decode()
    assert str(ada.customer_id) not in document.decode()


async def test_nothing_planted_stays(nightly: Engine) -> None:
    await erased(nightly, await make_person(nightly.platform.db))
    await passes.run(nightly.platform)
    async with as_owner(nightly) as connection:
        for table, column in (("customer", "given_name"), ("staff", "name"), ("audit_event", "details::text")):
            found = await connection.execute(f"SELECT count(*) FROM {table} WHERE {column} LIKE '%planted%'")
            assert await found.fetchone() == (0,)


async def test_everything_that_is_left_is_found(nightly: Engine) -> None:
    """A row of somebody else's, the log's details, JSON, lists and plain text: each place is named, no value is."""
    ada, other = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    clean = await make_person(nightly.platform.db)
    phone = await phone_of(nightly, ada)
    reference, bystander = await erased(nightly, ada), await erased(nightly, clean)
    async with nightly.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(inquiry).where(inquiry.c.id == other.inquiry_id).values(body=f"ask {ada.email}!"))
        seen = {"properties": {"form": [{"tel": f"{phone[:3]} (0){phone[3:6]}/{phone[6:]}"}]}}
        await tx.execute(insert(event).values(**other.origin, type="form", occurred_at=func.now(), **seen))
        await record(tx, SYSTEM, "test.leaked", subject_ref=None, details={"to": ada.email.upper()})
    assert await passes.run(nightly.platform)
    await nightly.work()
    assert await places(nightly, reference) == {
        ("inquiry", "body", "email"): 1,
        ("event", "properties", "phone"): 1,
        ("audit_event", "details", "email"): 1,
    }
    row = await nightly.request(reference)
    assert (await addendum_of(nightly, reference), row.key_id) == (None, subjects.key_name(row.id))
    assert await addendum_of(nightly, bystander) is not None
    assert (await last_pass(nightly)).status is PassStatus.FOUND
    assert "residual.found" in await nightly.audited(ada)


async def test_once_it_is_gone_the_addendum_follows(nightly: Engine) -> None:
    ada, other = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    await leave(nightly, ada, other)
    await passes.run(nightly.platform)
    await passes.run(nightly.platform)
    assert await places(nightly, reference) == {("inquiry", "body", "email"): 1}
    async with nightly.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(inquiry).where(inquiry.c.id == other.inquiry_id).values(body="[removed]"))
        await checks.again(tx, SYSTEM, reference)
        with pytest.raises(checks.NothingFound):
            await checks.again(tx, SYSTEM, reference)
    await passes.run(nightly.platform)
    await nightly.work()
    assert await addendum_of(nightly, reference) is not None
    assert (await nightly.request(reference)).key_id is None
    assert await places(nightly, reference) == {}
    assert "residual.again" in await nightly.audited(ada)


async def test_what_others_hold_is_theirs(nightly: Engine) -> None:
    """A family's phone, and somebody who registered again with the same address, are no residue; both are told."""
    ada, family = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    phone = await phone_of(nightly, ada)
    async with nightly.platform.db.transaction(Role.WORKER) as tx:
        mine = update(phone_number).where(phone_number.c.id == family.phone_id)
        await tx.execute(mine.values(number=phone, e164=phone))
        await tx.execute(insert(staff).values(id=new_id(), username=ada.email, name="Ada", roles=["agent"]))
    reference = await erased(nightly, ada)
    await passes.run(nightly.platform)
    document = await addendum_of(nightly, reference)
    assert document is not None
    held = {(one["table"], one["column"], one["type"]): one["rows"] for one in json.loads(document)["heldByOthers"]}
    assert held == {
        ("phone_number", "number", "phone"): 1,
        ("phone_number", "e164", "phone"): 1,
        ("staff", "username", "email"): 1,
    }


async def test_rows_of_their_own_are_never_others(nightly: Engine) -> None:
    """Somebody whose rows came back under their own id still is who was erased."""
    ada, other = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    async with as_owner(nightly) as connection:
        await connection.execute(
            "INSERT INTO customer (id, kind, brand_id, audit_ref, status) SELECT %s, kind, brand_id, %s, status"
            " FROM customer WHERE id = %s",
            (ada.customer_id, new_id(), other.customer_id),
        )
        await connection.execute(
            "INSERT INTO email_address (id, customer_id, collection_id, address, normalized)"
            " VALUES (%s, %s, %s, %s, %s)",
            (new_id(), ada.customer_id, other.origin["collection_id"], ada.email, ada.email),
        )
    await passes.run(nightly.platform)
    assert ("email_address", "normalized", "email") in await places(nightly, reference)


BLIND = {
    "RESIDUAL_TABLE_HIDDEN": (
        "REVOKE SELECT ON brand FROM cdp_worker",
        "GRANT SELECT ON brand TO cdp_worker",
    ),
    "RESIDUAL_TABLE_HIDDEN by a policy": (
        "ALTER POLICY inquiry_worker ON inquiry USING (received_at > now())",
        "ALTER POLICY inquiry_worker ON inquiry USING (true)",
    ),
    "RESIDUAL_TABLE_HIDDEN by a further policy": (
        "CREATE POLICY wall ON device AS RESTRICTIVE TO cdp_worker USING (false)",
        "DROP POLICY wall ON device",
    ),
    "RESIDUAL_CANARY_MISSING": (
        """CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER eat BEFORE INSERT ON system FOR EACH ROW EXECUTE FUNCTION eat()""",
        "DROP TRIGGER eat ON system",
    ),
}


@pytest.mark.parametrize("how", BLIND)
async def test_a_pass_that_does_not_see_says_nothing(nightly: Engine, how: str) -> None:
    ada = await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    blind, mend = BLIND[how]
    async with as_owner(nightly) as connection:
        await connection.execute(blind)
        await passes.run(nightly.platform)
        failed = await last_pass(nightly)
        assert (failed.status, failed.code) == (PassStatus.FAILED, how.split(maxsplit=1)[0])
        assert (await check_of(nightly, reference)).status is ResidualStatus.WAITING
        assert await addendum_of(nightly, reference) is None
        async with nightly.platform.db.transaction(Role.WORKER) as tx:
            assert await checks.due(tx, timedelta(0)) is None, "it rests for a moment"
        await connection.execute(mend)
    await passes.run(nightly.platform)
    assert await addendum_of(nightly, reference) is not None


async def test_a_table_made_tomorrow_is_looked_through(nightly: Engine) -> None:
    """Also types that nobody has used yet, and a table that forgot to let the worker in."""
    ada = await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    async with as_owner(nightly) as connection:
        await connection.execute(
            "CREATE TABLE novelty (id int PRIMARY KEY, kept json, tags varchar(90)[], code char(60), many jsonb[]);"
            "CREATE DOMAIN word AS text; ALTER TABLE novelty ADD spoken word"
        )
        mail = ada.email
        await connection.execute(
            "INSERT INTO novelty VALUES (1, %s, %s, %s, %s::jsonb[], %s)",
            ('{"a": "x\\u0040y \\n' + mail.replace("@", "\\u0040") + '"}', ["a", mail], mail, [f'"{mail}"'], mail),
        )
        await passes.run(nightly.platform)
        assert (await last_pass(nightly)).code == "RESIDUAL_TABLE_HIDDEN"
        await connection.execute("GRANT SELECT ON novelty TO cdp_worker")
        await passes.run(nightly.platform)
        found = await places(nightly, reference)
        assert found == {("novelty", name, "email"): 1 for name in ("kept", "tags", "code", "many", "spoken")}


async def test_when_a_pass_is_due(nightly: Engine) -> None:
    reference = await erased(nightly, await make_person(nightly.platform.db))
    check = await check_of(nightly, reference)
    at_once, by_night = timedelta(0), timedelta(days=1)
    async with nightly.platform.db.transaction(Role.WORKER) as tx:
        assert await checks.due(tx, at_once) == check.id
        assert await checks.due(tx, timedelta(days=20_000)) is None
        for age, is_due in ((timedelta(hours=25), True), (timedelta(0), None)):
            moved = update(residual_check).where(residual_check.c.id == check.id)
            await tx.execute(moved.values(created_at=func.now() - age))
            if is_due is not None:
                assert await checks.due(tx, by_night) == check.id
        tick = await tx.scalar(select(func.date_bin(by_night, func.now(), func.timestamptz(checks.NIGHT))))
        await tx.execute(moved.values(created_at=tick))
        assert await checks.due(tx, by_night) == check.id
        await tx.execute(moved.values(created_at=tick + timedelta(microseconds=1)))
        assert await checks.due(tx, by_night) is None


async def test_one_pass_at_a_time(nightly: Engine) -> None:
    reference = await erased(nightly, await make_person(nightly.platform.db))
    async with alone(nightly.platform.db) as held:
        assert held is not None
        assert await passes.run(nightly.platform) is False
    made = await asyncio.gather(*(passes.run(nightly.platform) for _ in range(3)))
    assert any(made)
    assert await addendum_of(nightly, reference) is not None


async def test_without_the_key_nothing_can_be_looked_for(nightly: Engine) -> None:
    ada = await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    nightly.platform.keys.destroy(subjects.key_name((await nightly.request(reference)).id))
    await passes.run(nightly.platform)
    await nightly.work()
    assert (await check_of(nightly, reference)).status is ResidualStatus.IMPOSSIBLE
    assert (await nightly.request(reference)).key_id is None
    assert await addendum_of(nightly, reference) is None
    assert "residual.impossible" in await nightly.audited(ada)


@pytest.mark.parametrize("is_left", [False, True])
async def test_killed_at_every_moment(nightly: Engine, *, is_left: bool) -> None:
    """Between any two writes: the next pass says the same, once, and the key never dies before the addendum."""
    ada, other = await make_person(nightly.platform.db), await make_person(nightly.platform.db)
    reference = await erased(nightly, ada)
    if is_left:
        await leave(nightly, ada, other)
    moments = 1
    while await mortally(nightly, moments, lambda place: passes.run(place.platform)):
        moments += 1
        key = nightly.platform.keys.exists(subjects.key_name((await nightly.request(reference)).id))
        assert key or await addendum_of(nightly, reference) is not None
    await nightly.work()
    assert moments > 3
    assert (await addendum_of(nightly, reference) is None) == is_left
    assert ((await nightly.request(reference)).key_id is None) != is_left
    assert (await nightly.audited(ada)).count("residual.clean") == (not is_left)
    async with nightly.platform.db.transaction(Role.WORKER) as tx:
        assert bool(await tx.scalar(select(func.count()).select_from(residual_finding))) == is_left


async def leave(engine: Engine, ada: Person, other: Person) -> None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(inquiry).where(inquiry.c.id == other.inquiry_id).values(body=f"ask {ada.email}!"))


async def phone_of(engine: Engine, person: Person) -> str:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found: str = await tx.scalar(select(phone_number.c.e164).where(phone_number.c.id == person.phone_id))
    return found
