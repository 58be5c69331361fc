"""What people choose when they ask for a copy: less of it, in fewer forms, in parts, locked; and what is refused."""

import io
import json
import random
import zipfile
from collections.abc import AsyncIterator

import pyrage
import pytest
from graphql import OperationDefinitionNode, parse
from sqlalchemy import select, update

from cdp.core import age
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.operations.packages import subject_access
from cdp.operations.packages.choices import OPERATIONS, Choices, ExportCategory, ExportFormat
from cdp.operations.requests import exports
from cdp.operations.requests.exports import RangeInvalid
from cdp.tables.consent import preference
from cdp.tables.export import export
from cdp.tables.request import RequestStatus, TaskStep
from cdp.web.account.categories import CATEGORIES
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person

PASSPHRASE = "four words make one"


@pytest.fixture
async def ada(engine: Engine) -> Person:
    return await make_person(engine.platform.db)


@pytest.fixture
async def newsletter(engine: Engine, ada: Person) -> AsyncIterator[Peer]:
    with served() as peer:
        peer.people[ada.email] = {"profile": [{"email": ada.email}]}
        await engine.connect(peer)
        yield peer


async def made(engine: Engine, person: Person, chosen: Choices) -> str:
    opened = await engine.open_export(person, chosen)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    return opened.reference


async def part(engine: Engine, person: Person, reference: str, number: int, start: int = 0) -> exports.Download:
    return await exports.download(engine.platform, engine.viewer(person), reference, start=start, part=number)


async def body(download: exports.Download) -> bytes:
    return b"".join([chunk async for chunk in download.chunks])


def test_every_kind_of_data_is_in_one_category_and_pages_group_it_the_same_way() -> None:
    named = [name for names in OPERATIONS.values() for name in names]
    definitions = parse(subject_access.DOCUMENT.read_text(encoding="utf-8")).definitions
    all_ = {one.name.value for one in definitions if isinstance(one, OperationDefinitionNode) and one.name}
    assert len(named) == len(set(named))
    assert all_ <= set(named)
    assert {one.slug for one in CATEGORIES} == {one.value for one in ExportCategory} - {ExportCategory.SYSTEMS.value}


async def test_only_what_was_chosen_is_in_it_and_it_says_so(engine: Engine, ada: Person, newsletter: Peer) -> None:
    chosen = Choices(frozenset({ExportCategory.ORDERS}), frozenset({ExportFormat.HTML, ExportFormat.CSV}))
    reference = await made(engine, ada, chosen)
    package = await engine.package(ada, reference)
    names = set(package.namelist())
    assert {"data/orders.csv", "data/orders_items.csv", "index.html", "missing.json", "README.txt"} <= names
    assert not {name for name in names if name.endswith(".json")} - {"manifest.json", "missing.json"}
    assert not {name for name in names if "emails" in name or name.startswith("systems/")}
    manifest = json.loads(package.read("manifest.json"))
    assert manifest["chosen"] == {"categories": ["orders"], "formats": ["html", "csv"]}
    assert "as you chose" in package.read("index.html").decode()
    assert [name for name, _ in await engine.tasks(reference)].count("newsletter") == 0
    assert ada.email.encode() not in b"".join(package.read(name) for name in names)

    everything = await engine.package(ada, await made(engine, ada, Choices()))
    assert "as you chose" not in everything.read("index.html").decode()
    assert "systems/newsletter/profile.json" in everything.namelist()


async def test_what_connected_systems_hold_can_be_asked_for_alone(
    engine: Engine, ada: Person, newsletter: Peer
) -> None:
    reference = await made(engine, ada, Choices(frozenset({ExportCategory.SYSTEMS})))
    names = (await engine.package(ada, reference)).namelist()
    assert "systems/newsletter/profile.json" in names
    assert not [name for name in names if name.startswith("data/")]


async def test_parts_join_to_the_package(engine: Engine, ada: Person) -> None:
    noise = random.Random(7)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(preference).values(value="".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(300_000)))
        )
    size = 1024 * 1024
    reference = await made(engine, ada, Choices(part_bytes=size))
    whole = await engine.download(ada, reference)
    count = -(-len(whole) // size)
    assert count > 1
    parts = [await part(engine, ada, reference, number) for number in range(1, count + 1)]
    assert [one.filename for one in parts] == [f"{reference}.zip.{number:03d}" for number in range(1, count + 1)]
    assert [one.size_bytes for one in parts[:-1]] == [size] * (count - 1)
    assert b"".join([await body(one) for one in parts]) == whole
    second = await part(engine, ada, reference, 2, start=5)
    assert await body(second) == whole[size + 5 : 2 * size]
    for number in (-1, count + 1):
        with pytest.raises(RangeInvalid):
            await part(engine, ada, reference, number)


async def test_a_passphrase_locks_it_and_is_forgotten(engine: Engine, ada: Person) -> None:
    chosen = Choices(frozenset({ExportCategory.PROFILE}), passphrase=PASSPHRASE)
    opened = await engine.open_export(ada, chosen)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        before = await tx.first(select(export.c.passphrase_sealed, export.c.choices))
    assert before is not None
    assert PASSPHRASE.encode() not in bytes(before.passphrase_sealed)
    assert PASSPHRASE not in json.dumps(before.choices)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(export.c.passphrase_sealed)) is None
    locked = await exports.download(engine.platform, engine.viewer(ada), opened.reference)
    assert locked.filename == f"{opened.reference}.zip.age"
    raw = await body(locked)
    package = zipfile.ZipFile(io.BytesIO(pyrage.passphrase.decrypt(raw, PASSPHRASE)))
    assert "data/profile.json" in package.namelist()
    with pytest.raises(pyrage.DecryptError):
        pyrage.passphrase.decrypt(raw, PASSPHRASE.upper())


async def test_an_age_key_locks_it(engine: Engine, ada: Person) -> None:
    identity = age.new_identity()
    reference = await made(engine, ada, Choices(age_key=age.recipient_of(identity)))
    package = zipfile.ZipFile(io.BytesIO(age.decrypt(identity, await engine.download(ada, reference))))
    assert package.testzip() is None


async def test_a_withdrawn_copy_leaves_no_passphrase(engine: Engine, ada: Person) -> None:
    opened = await engine.open_export(ada, Choices(passphrase=PASSPHRASE))
    await engine.cancel(ada, opened.reference)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(export.c.passphrase_sealed)) is None


REFUSED = [
    ("NOTHING_CHOSEN", Choices(frozenset())),
    ("NOTHING_CHOSEN", Choices(formats=frozenset())),
    ("PART_SIZE_INVALID", Choices(part_bytes=100)),
    ("PASSPHRASE_WEAK", Choices(passphrase="short")),
    ("LOCKED_TWICE", Choices(passphrase=PASSPHRASE, age_key="age1x")),
    ("AGE_KEY_INVALID", Choices(age_key="age1notakey")),
]


async def test_what_can_not_be_made_is_refused_at_once(engine: Engine, ada: Person) -> None:
    for code, chosen in REFUSED:
        with pytest.raises(PlatformError) as refused:
            await engine.open_export(ada, chosen)
        assert refused.value.code == code
    assert (await engine.audited(ada)).count("request.opened") == 0


async def test_our_own_part_is_always_asked(engine: Engine, ada: Person) -> None:
    opened = await engine.open_export(ada, Choices(frozenset({ExportCategory.SYSTEMS})))
    assert set(await engine.tasks(opened.reference)) == {("own", TaskStep.READ)}
