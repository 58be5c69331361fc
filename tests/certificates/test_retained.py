"""What stays is in the certificate, also when the worker died after erasing and before it could say so."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.operations import systems
from cdp.operations.requests import phases, steps, tasks
from cdp.operations.systems import Registration
from cdp.tables.request import TaskStep
from tests.engine import Engine
from tests.population import make_person

BASIS = "Accounting records: HGB § 257, AO § 147"
MAPPING = {
    "tables": [
        {
            "name": "client",
            "rows": "delete",
            "identities": [{"column": "mail", "type": "email", "normalise": "lower"}],
        },
        {
            "name": "bill",
            "rows": "keep",
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
            "columns": {"id": "preserve", "client_id": "null", "amount": "preserve"},
            "retention": {"basis": BASIS},
        },
    ]
}


@pytest.mark.parametrize("dies", [False, True])
async def test_a_lost_answer_loses_nothing_of_the_certificate(engine: Engine, tmp_path: Path, *, dies: bool) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    path = tmp_path / "bills.sqlite"
    with sqlite3.connect(path) as books:
        books.execute("CREATE TABLE client (id INTEGER PRIMARY KEY, mail TEXT NOT NULL)")
        books.execute("CREATE TABLE bill (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES client, amount INTEGER)")
        books.executemany("INSERT INTO client VALUES (?, ?)", [(1, ada.email), (2, bystander.email)])
        books.executemany("INSERT INTO bill VALUES (?, ?, ?)", [(1, 1, 10), (2, 1, 20), (3, 2, 30)])
    books.close()
    configuration = {"url": f"sqlite:///{path}", "mapping": MAPPING}
    await systems.add(engine.platform, SYSTEM, Registration("books", "Books", "sql", configuration, {}))

    opened = await engine.with_settings(cooling_off=timedelta(days=1)).open_erasure(ada)
    await engine.work()
    await engine.cool_off(opened.reference)
    await phases.advance(engine.platform, opened.id)
    if dies:
        task = (await engine.tasks(opened.reference))["books", TaskStep.ERASE]
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            (work,) = await tasks.claim(tx, [task.id], owner="doomed", settings=engine.platform.settings)
        await steps.perform(engine.platform, engine.place.reader, work)  # erased, and nobody hears of it
        await engine.expire_leases()
    await engine.work()

    document = engine.document(await engine.certificate(opened.reference))
    books_entry = next(one for one in document["systems"] if one["name"] == "books")
    assert books_entry["erased"]["attempts"] == (2 if dies else 1)
    assert books_entry["retained"] == [{"collection": "bill", "records": 2, "basis": BASIS, "until": None}]
    left = sqlite3.connect(path)
    assert left.execute("SELECT mail FROM client").fetchall() == [(bystander.email,)]
    assert left.execute("SELECT id, client_id FROM bill ORDER BY id").fetchall() == [(1, None), (2, None), (3, 2)]
    left.close()
