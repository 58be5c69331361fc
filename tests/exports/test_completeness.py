"""Everything the data map says is exported is in the package: a column added tomorrow fails here until it is."""

from datetime import timedelta

from sqlalchemy import String, Table, Text, func, select, update

from cdp.core.db import Role
from cdp.tables.account import session
from cdp.tables.base import Personal
from cdp.tables.datamap import personal_tables, subject_column
from cdp.tables.message import MessageStatus, message
from cdp.tables.oauth import oauth_grant, oauth_token
from cdp.tables.request import RequestStatus, TaskStatus, privacy_request, request_task
from tests.connectors.filling import fill
from tests.engine import Engine
from tests.population import Person, make_person


def exported(table: Table) -> list[str]:
    """Columns of free text that a person takes away; their values in the tests are unmistakable."""
    return [
        column.name
        for column in table.columns
        if isinstance(entry := column.info.get("datamap"), Personal)
        and entry.export
        and type(column.type) in (String, Text)
    ]


async def held(engine: Engine, person: Person) -> dict[str, set[str]]:
    """Every exported text held about a person, by its column."""
    found: dict[str, set[str]] = {}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for table in personal_tables():
            names = exported(table)
            if names:
                mine = select(*(table.c[name] for name in names)).where(subject_column(table) == person.customer_id)
                for row in await tx.all(mine):
                    for name in names:
                        found.setdefault(f"{table.name}.{name}", set()).update({getattr(row, name)} - {None})
    return found


async def test_everything_exported_is_in_the_package(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    later = {"expires_at": func.now() + timedelta(hours=1), "revoked_at": None}
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await fill(tx, ada)
        await tx.execute(update(privacy_request).values(status=RequestStatus.CANCELLED))
        await tx.execute(update(request_task).values(status=TaskStatus.DONE))
        await tx.execute(update(session).values(later))
        await tx.execute(update(oauth_token).values(later))
        await tx.execute(update(oauth_grant).values(revoked_at=None))
        # The text of a letter under way is its reader's alone; once sent it holds no link.
        await tx.execute(update(message).values(status=MessageStatus.SENT))
    expected = await held(engine, ada)
    assert len(expected) > 60
    opened = await engine.open_export(ada)
    await engine.work()
    package = await engine.package(ada, opened.reference)
    whole = "".join(package.read(name).decode() for name in package.namelist() if name.startswith("data/"))
    lost = {place for place, texts in expected.items() if any(text not in whole for text in texts)}
    assert not lost
