"""An erasure takes what was typed about a person, and leaves the log whole: its leaves are what they were."""

import json
from pathlib import Path

from rich.console import Console
from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.cli.audit import LOG_FILE, write_log
from cdp.cli.tour.log import check_log
from cdp.cli.tour.steps import Tour
from cdp.core.db import Role
from cdp.operations import audit
from cdp.operations.audit import Note
from cdp.operations.verification import verify_log
from cdp.tables.audit import audit_note
from tests.engine import Engine, engine
from tests.population import Person, make_person

__all__ = ["engine"]
TYPED = "she called about her mother"


async def say(engine: Engine, person: Person) -> None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        note = Note(person.customer_id, TYPED)
        await audit.record(tx, SYSTEM, "customer.revealed", subject_ref=person.audit_ref, note=note)


async def typed(engine: Engine, person: Person) -> list[str]:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        found = select(audit_note.c.text).where(audit_note.c.customer_id == person.customer_id)
        return [row.text for row in await tx.all(found)]


async def test_the_words_go_and_the_log_stays_whole(engine: Engine, tmp_path: Path) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before, after, keys = tmp_path / "before.ndjson", tmp_path / "after.ndjson", engine.platform.signer.keys()
    for person in (ada, bystander):
        await say(engine, person)
    await write_log(engine.platform, before)
    opened = await engine.open_erasure(ada)
    await engine.work()
    assert await typed(engine, ada) == []
    assert await typed(engine, bystander) == [TYPED]
    await write_log(engine.platform, after)
    report = verify_log(after, keys, witnesses=[before])
    assert report.is_valid, report.problems
    known = [json.loads(line) for line in after.read_bytes().splitlines()]
    mine = [entry for entry in known if entry.get("subject") == str(ada.audit_ref)]
    assert {"customer.revealed", "request.opened", "request.completed"} <= {entry["action"] for entry in mine}
    text = after.read_text(encoding="utf-8")
    for secret in (TYPED, ada.email, bystander.email):
        assert secret not in text
    assert opened.status_key is not None
    assert opened.status_key not in text


async def test_the_tour_ends_with_it(engine: Engine, tmp_path: Path) -> None:
    opened = await engine.open_erasure(await make_person(engine.platform.db))
    await engine.work()
    (tmp_path / "certificate.json").write_bytes((await engine.certificate(opened.reference)).document)
    stage = None
    tour = Tour(stage, engine.platform, Console(quiet=True), tmp_path, "", "")  # type: ignore[arg-type]  # not played on
    await check_log(tour)
    assert verify_log(tmp_path / LOG_FILE, engine.platform.signer.keys()).is_valid
    assert not (tmp_path / "altered.ndjson").exists()
