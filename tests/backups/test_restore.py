"""A backup from before a deletion comes back without the person; whoever else is in it comes back untouched."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import make_url, select, update

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.core.sign import canonical
from cdp.embedded.binaries import installed_postgres
from cdp.operations import journal, moves, subjects, suppression
from cdp.operations.accounts import email_proofs
from cdp.operations.backups import archive, backup, replay, restore
from cdp.operations.backups.dump import ProgramFailed, Programs
from cdp.operations.journal import JournalBroken
from cdp.operations.residual import addenda
from cdp.tables.audit import audit_event
from cdp.tables.base import Category
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.request import RequestStatus, TaskStep, privacy_request
from tests.conftest import drop_database
from tests.engine import Engine
from tests.faults.walking import Fault, Walk
from tests.holds.desk import staffed
from tests.population import Person, make_person, picture


@pytest.fixture(scope="module")
def programs() -> Programs:
    server = installed_postgres(Settings())
    return Programs(server.with_name("pg_dump"), server.with_name("pg_restore"))


@asynccontextmanager
async def as_owner(engine: Engine) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    url = engine.platform.settings.database_owner_url
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def put_back(engine: Engine, programs: Programs, made: backup.Made) -> restore.Restored:
    """Restore with nothing else connected, as an operator does."""
    await engine.place.reader.close()
    await engine.platform.db.close()
    return await restore.restore(engine.platform, programs, made.path)


async def erased(engine: Engine, person: Person) -> str:
    opened = await engine.open_erasure(person)
    await engine.work()
    assert await engine.status(opened.reference) == "completed"
    return opened.reference


async def is_there(engine: Engine, person: Person) -> bool:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(customer.c.id).where(customer.c.id == person.customer_id)) is not None


async def is_suppressed(engine: Engine, email: str) -> bool:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await suppression.is_suppressed(tx, engine.platform.pepper, "email", email)


async def come_back(engine: Engine, person: Person) -> Person:
    """Register again with the same address and prove it."""
    again = await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        mine = update(email_address).where(email_address.c.id == again.email_id)
        await tx.execute(mine.values(address=person.email, normalized=person.email))
        viewer = Viewer(Actor.CUSTOMER, customer_id=again.customer_id)
        await email_proofs.prove_address(tx, engine.platform, viewer, person.email)
    return replace(again, email=person.email)


async def test_a_backup_from_before_a_deletion(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    ada, bystander, earlier = [await make_person(engine.platform.db) for _ in range(3)]
    gone_before = await erased(engine, earlier)
    before = await picture(engine.platform.db, bystander)
    everything = await rows(engine)
    made = await backup.make(engine.platform, programs, tmp_path)
    reference = await erased(engine, ada)
    issued = await engine.certificate(reference)
    request = await engine.request(reference)
    addendum = await addendum_of(engine, request.id)
    assert addendum is not None

    done = await put_back(engine, programs, made)
    assert (done.rows, done.replayed.entries, done.replayed.erased, done.replayed.certificates) == (
        sum(everything.values()),
        1,
        1,
        1,
    )
    assert not await is_there(engine, ada)
    after = await picture(engine.platform.db, ada)
    assert {name: len(found) for name, found in after.items() if found and name != "audit_event"} == {}
    assert await picture(engine.platform.db, bystander) == before
    assert await engine.status(reference) is RequestStatus.COMPLETED
    assert (await engine.certificate(reference)).document == issued.document
    assert await addendum_of(engine, request.id) == addendum
    assert (await engine.request(reference)).id == request.id
    assert await engine.status(gone_before) is RequestStatus.COMPLETED
    assert await is_suppressed(engine, ada.email)
    assert await engine.audited(ada) == ["erasure.replayed"]
    await replay.check(engine.platform)
    assert [one["entry"] for one in await engine.journal()] == ["erasure", "erasure", "restore"]
    again = await replay.replay(engine.platform)
    assert (again.entries, again.erased) == (0, 0)


async def addendum_of(engine: Engine, request_id: UUID) -> bytes | None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = await addenda.of_request(tx, request_id)
    return found.document if found else None


async def rows(engine: Engine) -> dict[str, int]:
    async with as_owner(engine) as connection:
        names = await connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
        connection_url = await engine.platform.db.connect_raw(Role.WORKER)
        try:
            return await backup.counted(connection_url, [row[0] for row in await names.fetchall()])
        finally:
            await connection_url.close()


async def test_who_registered_again_is_left_alone(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    """In the backup of after their return, and in their order: suppressed, lifted, and only then the next erasure."""
    ada, ben = await make_person(engine.platform.db), await make_person(engine.platform.db)
    older = await backup.make(engine.platform, programs, tmp_path)
    await erased(engine, ada)
    assert await is_suppressed(engine, ada.email)
    again = await come_back(engine, ada)
    assert not await is_suppressed(engine, ada.email)
    newer = await backup.make(engine.platform, programs, tmp_path)
    before = await picture(engine.platform.db, again)
    await journal.publish(engine.platform)
    await erased(engine, ben)

    done = await put_back(engine, programs, newer)
    assert (done.replayed.entries, done.replayed.erased) == (1, 1)
    assert await picture(engine.platform.db, again) == before
    assert not await is_suppressed(engine, ada.email)
    assert not await is_there(engine, ben)

    done = await put_back(engine, programs, older)
    assert [one["entry"] for one in await engine.journal()] == ["erasure", "lift", "erasure", "restore", "restore"]
    assert (done.replayed.entries, done.replayed.erased) == (4, 2)
    assert not await is_there(engine, ada)
    assert not await is_suppressed(engine, ada.email), "they came back after they were erased: imports may have them"
    assert await is_suppressed(engine, ben.email)


async def test_open_requests_of_the_backup(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    """An erasure and an export that were open in the backup and over since are not begun again."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    waiting = await engine.open_erasure(ada)
    other = await engine.open_export(bystander)
    made = await backup.make(engine.platform, programs, tmp_path)
    await engine.work()
    assert await engine.status(waiting.reference) is RequestStatus.COMPLETED
    await put_back(engine, programs, made)
    row = await engine.request(waiting.reference)
    assert (row.status, row.customer_id, row.identifiers_sealed, row.key_id) == (
        RequestStatus.COMPLETED,
        None,
        None,
        None,
    )
    with pytest.raises(KeyGone):
        engine.platform.keys.get(subjects.key_name(waiting.id))
    assert await engine.status(other.reference) is RequestStatus.COLLECTING
    assert await is_there(engine, bystander)


async def test_an_erasure_that_was_in_its_last_steps(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    """The backup knows the journal's entry but still has the rows, and the key to go on died since."""
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        person = await subjects.gather(tx, ada.customer_id)
        row = await tx.first(select(privacy_request).where(privacy_request.c.id == opened.id))
        assert person is not None
        request = await journal_request(tx, row.id)
        await journal.append_erasures(tx, engine.platform, [journal.Erased(request, person, [])])
    await journal.publish(engine.platform)
    made = await backup.make(engine.platform, programs, tmp_path)
    await engine.work()
    done = await put_back(engine, programs, made)
    assert (done.replayed.entries, done.replayed.erased) == (0, 1)
    assert not await is_there(engine, ada)


async def journal_request(tx: Any, request_id: Any) -> Any:
    return await moves.lock(tx, request_id)


async def test_a_hold_that_begins_after_the_entry(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    """The journal learns of it with our own rows: what the hold kept then is kept by the replay as well."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    made = await backup.make(engine.platform, programs, tmp_path)
    opened = await engine.open_erasure(ada)
    walk = Walk(engine, Fault.LOST_DOORBELL, set(), nothing, opened.id)
    while ("own", TaskStep.ERASE) not in await engine.tasks(opened.reference):
        assert await walk.step()
    await (await staffed(engine)).hold(ada, Category.ORDER)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.HELD
    kept = (await picture(engine.platform.db, ada))["sales_order"]
    assert kept
    await journal.publish(engine.platform)
    assert [one["held"] for one in await engine.journal()] == [[], ["order"]]

    done = await put_back(engine, programs, made)
    assert done.replayed.entries == 2
    assert await engine.status(opened.reference) is RequestStatus.NEEDS_ATTENTION
    assert (await picture(engine.platform.db, ada))["sales_order"] == kept
    assert await picture(engine.platform.db, bystander) == before


async def test_a_backup_comes_back_on_another_server(
    engine: Engine, programs: Programs, tmp_path: Path, other_postgres_url: str
) -> None:
    """One that has neither our tables nor our roles yet; keys and objects were carried there."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    made = await backup.make(engine.platform, programs, tmp_path)
    reference = await erased(engine, ada)
    url = make_url(other_postgres_url).set(drivername="postgresql")
    async with await psycopg.AsyncConnection.connect(other_postgres_url, autocommit=True) as server:
        await server.execute("CREATE DATABASE elsewhere")
        there = url.set(database="elsewhere").render_as_string(hide_password=False)
        place = engine.platform.settings.model_copy(update={"database_url": there, "database_owner_url": there})
        platform = Platform.open(place)
        try:
            done = await restore.restore(platform, programs, made.path)
            assert (done.replayed.entries, done.replayed.erased) == (1, 1)
            new = replace(engine, platform=platform)
            assert not await is_there(new, ada)
            assert await picture(platform.db, bystander) == before
            assert await new.status(reference) is RequestStatus.COMPLETED
            await replay.check(platform)
        finally:
            await platform.close()
            with psycopg.connect(other_postgres_url, autocommit=True) as again:
                drop_database(again, "elsewhere")


async def nothing() -> None:
    """What a walk looks at here."""


async def test_nothing_is_served_before_the_replay(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    """Somebody else's tools put an old state back: API and worker refuse until the journal is replayed."""
    ada = await make_person(engine.platform.db)
    await replay.check(engine.platform)
    await erased(engine, ada)
    async with as_owner(engine) as connection:
        await connection.execute("DELETE FROM journal_entry")
    with pytest.raises(replay.ReplayNeeded):
        await replay.check(engine.platform)
    done = await replay.replay(engine.platform)
    assert done.entries == 1
    await replay.check(engine.platform)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "Entry 2 .* missing"),
        ("changed", "Entry 2 .* changed"),
        ("swapped", "changed"),
        ("cut", "ends before"),
    ],
)
async def test_a_journal_that_is_not_whole(engine: Engine, how: str, said: str) -> None:
    people = [await make_person(engine.platform.db) for _ in range(3)]
    for person in people:
        await erased(engine, person)
    blobs = engine.platform.blobs
    second, third = [await blobs.get(journal.object_key(number)) for number in (2, 3)]
    match how:
        case "missing":
            await blobs.delete(journal.object_key(2))
        case "changed":
            await blobs.put(journal.object_key(2), second.replace(b'"held":[]', b'"held":["order"]'))
        case "swapped":
            await blobs.put(journal.object_key(2), third)
            await blobs.put(journal.object_key(3), second)
        case "cut":
            await blobs.delete(journal.object_key(3))
    async with as_owner(engine) as connection:
        await connection.execute("DELETE FROM journal_entry")
    before = {person.customer_id: await is_there(engine, person) for person in people}
    with pytest.raises(JournalBroken, match=said):
        await replay.replay(engine.platform)
    assert {person.customer_id: await is_there(engine, person) for person in people} == before
    with pytest.raises(replay.ReplayNeeded):
        await replay.check(engine.platform)


async def test_a_journal_signed_by_somebody_else(engine: Engine, fresh_platform: Platform) -> None:
    await erased(engine, await make_person(engine.platform.db))
    raw = await engine.platform.blobs.get(journal.object_key(1))
    keys = engine.platform.keys
    keys.destroy("signing-ed25519")
    stranger = Platform.open(engine.platform.settings)
    try:
        await engine.platform.blobs.put(journal.object_key(1), canonical(stranger.signer.sign(json.loads(raw))))
        with pytest.raises(JournalBroken):
            await journal.newer(engine.platform, journal.NOTHING)
    finally:
        await stranger.close()


async def test_a_backup_holds_no_readable_byte_and_no_key(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    ada = await make_person(engine.platform.db)
    made = await backup.make(engine.platform, programs, tmp_path)
    raw = made.path.read_bytes()
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == [made.path.name]
    for secret in (
        ada.email.encode(),
        b"PGDMP",
        *(engine.platform.keys.get(name) for name in engine.platform.keys.names()),
    ):
        assert secret not in raw
    manifest = archive.read_manifest(made.path, engine.platform.signer.keys())
    assert manifest["tables"]["customer"] == 1
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        actions = [row.action for row in await tx.all(select(audit_event.c.action))]
    assert actions.count("backup.made") == 1


async def test_what_can_not_be_restored_changes_nothing(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    ada = await make_person(engine.platform.db)
    before = await picture(engine.platform.db, ada)
    made = await backup.make(engine.platform, programs, tmp_path)
    raw = made.path.read_bytes()
    manifest = archive.read_manifest(made.path, engine.platform.signer.keys())
    key = engine.platform.keys.get(str(manifest["key"]))
    for place in (len(raw) // 2, raw.index(b'"journal"'), raw.index(b'"rows"') if b'"rows"' in raw else len(raw) // 3):
        made.path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(archive.BackupBroken):
            await put_back(engine, programs, made)
    made.path.write_bytes(raw)
    engine.platform.keys.destroy(str(manifest["key"]))
    with pytest.raises(restore.BackupKeyGone):
        await put_back(engine, programs, made)
    engine.platform.keys.create(str(manifest["key"]), key)
    busy = await engine.platform.db.connect_raw(Role.WORKER)
    with pytest.raises(restore.DatabaseInUse):
        await put_back(engine, programs, made)
    await busy.close()
    with pytest.raises(ProgramFailed):
        await put_back(engine, replace(programs, restore=Path("/bin/false")), made)
    assert await picture(engine.platform.db, ada) == before
    async with as_owner(engine) as connection:
        found = await connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%restor%'")
        assert await found.fetchall() == []


async def test_a_table_that_can_not_be_seen_is_in_no_backup(engine: Engine, programs: Programs, tmp_path: Path) -> None:
    async with as_owner(engine) as connection:
        await connection.execute("CREATE TABLE novelty (id int PRIMARY KEY)")
    with pytest.raises(backup.BackupRefused):
        await backup.make(engine.platform, programs, tmp_path)
    assert names_in(tmp_path) == []
    async with as_owner(engine) as connection:
        await connection.execute("GRANT SELECT ON novelty TO cdp_worker")
    with pytest.raises(ProgramFailed):
        await backup.make(engine.platform, replace(programs, dump=Path("/bin/false")), tmp_path)
    assert names_in(tmp_path) == []
