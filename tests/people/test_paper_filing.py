"""An office's list of paper becomes the register: every line once, refused by number and code."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.core.errors import Forbidden
from cdp.core.ids import new_id
from cdp.operations.paper import filing
from cdp.tables.audit import audit_event
from cdp.tables.contact import email_address
from cdp.tables.customer import IdentityType, identity
from cdp.tables.paper import PaperStatus, paper_record
from tests.cli.test_sign_in_verbs import run
from tests.engine import Engine
from tests.population import Person, make_person, picture
from tests.site import give_account

HEAD = "customer,category,office,location,description,retain_until,issuer\n"


def line(customer: str, *, category: str = "order", until: str = "2031-12-31", issuer: str = "") -> str:
    return f'{customer},{category},Berlin,"Cellar, shelf 4",Signed delivery notes,{until},{issuer}\n'


Write = Callable[[str | bytes], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write a file; its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "register.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


async def number_of(engine: Engine, person: Person, value: str) -> str:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        numbered = {"type": IdentityType.CUSTOMER_NUMBER, "issuer": "shop", "value": value}
        await tx.execute(insert(identity).values(id=new_id(), **person.origin, **numbered))
    return value


async def test_every_line_is_registered_once(engine: Engine, written: Write) -> None:
    ada, grace, bystander = [await make_person(engine.platform.db) for _ in range(3)]
    before = await picture(engine.platform.db, bystander)
    numbered = line(await number_of(engine, grace, "K-17"), issuer="shop")
    path = written("\ufeff" + HEAD + line(ada.email.upper()) + line(ada.email, category="support") + numbered)
    first = await filing.file(engine.platform, SYSTEM, path)
    assert (first.registered, first.known, first.refused) == (3, 0, [])
    again = await filing.file(engine.platform, SYSTEM, path)
    assert (again.registered, again.known, again.refused) == (0, 3, [])
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(paper_record))
        events = await tx.all(select(audit_event.c.id).where(audit_event.c.action == "paper.registered"))
    assert {(row.customer_id, row.status, row.location) for row in rows} == {
        (person.customer_id, PaperStatus.FILED, "Cellar, shelf 4") for person in (ada, grace)
    }
    assert (len(rows), len(events)) == (3, 3)
    assert await picture(engine.platform.db, bystander) == before


async def test_what_can_not_be_registered_is_told_by_line_and_code(
    engine: Engine, written: Write, redis_url: str
) -> None:
    ada, thief = await make_person(engine.platform.db), await make_person(engine.platform.db)
    await give_account(engine.platform, thief)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        theirs = update(email_address).where(email_address.c.id == thief.email_id)
        await tx.execute(theirs.values(normalized="eve@example.com", address="eve@example.com", verified_at=None))
    lines = [
        line("nobody@example.com"),
        line("eve@example.com"),
        line(ada.email, category="gossip"),
        line(ada.email, until="31.12.2031"),
        line(""),
        line("K-18", issuer="shop"),
        line(ada.email),
    ]
    path = written(HEAD + "".join(lines))
    settings = engine.platform.settings.model_copy(update={"redis_url": redis_url})
    ended = await asyncio.to_thread(run, settings, "paper", "import", str(path), "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    done = json.loads(ended.stdout)
    assert (done["registered"], done["known"]) == (1, 0)
    codes = ("CUSTOMER_UNKNOWN", "CUSTOMER_UNKNOWN", *3 * ("PAPER_INVALID",), "CUSTOMER_UNKNOWN")
    assert done["refused"] == [{"line": number, "code": code} for number, code in enumerate(codes, 2)]
    assert ada.email not in ended.stdout + ended.stderr


@pytest.mark.parametrize("content", [b"", b"customer,office\n", b"\xff\xfe\x00", b'customer,"'])
async def test_a_file_that_is_none(engine: Engine, written: Write, content: bytes) -> None:
    path = written(content)
    with pytest.raises(filing.FileUnreadable):
        await filing.file(engine.platform, SYSTEM, path)
    with pytest.raises(filing.FileUnreadable):
        await filing.file(engine.platform, SYSTEM, path.with_name("nothing.csv"))


async def test_customers_register_nothing(engine: Engine, written: Write) -> None:
    ada = await make_person(engine.platform.db)
    path = written(HEAD + line(ada.email))
    with pytest.raises(Forbidden):
        await filing.file(engine.platform, engine.viewer(ada, "requests:work"), path)
