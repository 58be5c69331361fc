"""An erasure from its opening to its certificate, over our own tables and connected systems."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, insert, select, text, update

from cdp.access.viewer import MissingScope
from cdp.connectors.base import State
from cdp.core.blobs import Blobs
from cdp.core.db import Role
from cdp.core.keys import KeyGone
from cdp.core.sign import Verdict, check
from cdp.operations import subjects, suppression
from cdp.operations.journal import PREFIX, object_key
from cdp.operations.packages.formats import subject_hash
from cdp.operations.requests import certificates, erasure
from cdp.tables.account import account
from cdp.tables.certificate import certificate
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.message import message
from cdp.tables.order import sales_order
from cdp.tables.request import RequestStatus, TaskStatus, TaskStep, privacy_request
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person, picture

DONE = TaskStatus.DONE


@pytest.fixture
def peer():
    with served() as one:
        yield one


def remember(peer: Peer, person: Person) -> None:
    peer.people[person.email] = {"profile": [{"email": person.email, "name": "Ada"}]}


async def held(engine: Engine, person: Person) -> set[str]:
    """Tables with a row about somebody."""
    return {table for table, rows in (await picture(engine.platform.db, person)).items() if rows}


async def test_erases_everywhere_and_proves_it(engine: Engine, peer: Peer) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db, given_name="Bo")
    remember(peer, ada)
    remember(peer, bystander)
    await engine.connect(peer)
    before = await picture(engine.platform.db, bystander)

    opened = await engine.open_erasure(ada)
    await engine.work()

    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    assert await engine.outcomes(opened.reference) == {
        "own.check": (DONE, "FOUND"),
        "newsletter.check": (DONE, "FOUND"),
        "newsletter.erase": (DONE, "ERASED"),
        "newsletter.verify": (DONE, "NOTHING_LEFT"),
        "own.erase": (DONE, "ERASED"),
        "own.verify": (DONE, "NOTHING_LEFT"),
    }
    assert peer.people.keys() == {bystander.email}
    assert set(peer.effects.values()) == {1}
    assert await held(engine, ada) == {"audit_event"}
    assert await picture(engine.platform.db, bystander) == before


async def test_keeps_what_the_law_demands_without_the_person(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    await engine.open_erasure(ada)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        kept = await tx.first(select(sales_order).where(sales_order.c.id == ada.order_id))
    assert kept is not None
    assert (kept.customer_id, kept.billing_name) == (None, None)
    assert kept.retained_until.year == 2036


async def test_certificate_lists_and_proves_without_naming(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    remember(peer, ada)
    await engine.connect(peer)
    opened = await engine.open_erasure(ada)
    await engine.work()

    issued = await engine.certificate(opened.reference)
    document = engine.document(issued)
    assert check(document, engine.platform.signer.keys()) is Verdict.VALID
    newsletter, own = document["systems"]
    assert (newsletter["name"], newsletter["erased"]["records"]) == ("newsletter", {"profile": 1})
    assert newsletter["verified"]["code"] == "NOTHING_LEFT"
    assert {kept["collection"] for kept in own["retained"]} >= {"sales_order", "sales_order_item"}
    assert {entry["what"] for entry in document["notScanned"]} == {"write-ahead-log", "dead-rows", "backups"}
    assert opened.status_key is not None
    salt = subjects.salt_of(opened.status_key)
    assert document["subject"]["hash"] == subject_hash(salt, ada.email)
    text = issued.document.decode()
    for secret in (ada.email, str(ada.customer_id), str(ada.audit_ref), opened.status_key, salt):
        assert secret not in text
    assert await engine.platform.blobs.get(f"certificates/{issued.reference}.json") == issued.document
    assert await engine.platform.blobs.get(f"certificates/{certificates.VERIFIER}") == certificates.verifier()


async def test_nothing_leads_back_afterwards(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    taken = await engine.open_export(ada)
    await engine.work()
    package = await engine.download(ada, taken.reference)
    opened = await engine.open_erasure(ada)
    await engine.work()

    row = await engine.request(opened.reference)
    assert (row.customer_id, row.identifiers_sealed, row.key_id, row.reason) == (None, None, None, None)
    assert engine.keys("request-") == []
    assert engine.keys("export-") == []
    assert await engine.objects("exports/") == []
    assert await engine.objects("requests/") == []
    with pytest.raises(KeyGone):
        subjects.unseal(engine.platform.keys, row.id, b"")
    assert package


async def test_journal_and_suppression_outlive_the_person(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    await engine.work()
    row = await engine.request(opened.reference)
    (entry,) = await engine.journal()
    assert entry["requestId"] == str(row.id)
    assert check(entry, engine.platform.signer.keys()) is Verdict.VALID
    assert entry["customerId"] == str(ada.customer_id)
    assert {line["type"] for line in entry["suppressed"]} == {"email", "phone", "username"}
    assert ada.email not in json.dumps(entry)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await suppression.is_suppressed(tx, engine.platform.pepper, "email", ada.email)
        assert not await suppression.is_suppressed(tx, engine.platform.pepper, "email", "somebody@example.com")


async def test_somebody_elses_address_is_never_suppressed(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        theirs = {"address": bystander.email, "normalized": bystander.email}
        await tx.execute(insert(email_address).values(**ada.origin, **theirs))
    await engine.open_erasure(ada)
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await suppression.is_suppressed(tx, engine.platform.pepper, "email", ada.email)
        assert not await suppression.is_suppressed(tx, engine.platform.pepper, "email", bystander.email)


async def test_letters_say_what_happens_and_hold_the_key(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    await engine.work()
    first, last = engine.letters(ada)
    assert opened.status_key is not None
    assert f"/account/requests/{opened.reference}#{opened.status_key}" in first
    assert subjects.salt_of(opened.status_key) in last


async def test_every_step_is_audited(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    await engine.open_erasure(ada)
    await engine.work()
    actions = await engine.audited(ada)
    assert [one for one in actions if one.startswith(("request.", "customer.", "erasure."))] == [
        "request.opened",
        "request.cooling_off",
        "request.erasing",
        "request.verifying",
        "erasure.journalled",
        "customer.erased",
        "request.completed",
        "request.closed",
    ]
    assert actions.count("task.done") == 3
    assert actions.count("message.sent") == 2


async def test_waits_out_the_cooling_off_time(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        later = func.now() + text("interval '1 hour'")
        await tx.execute(update(privacy_request).values(cooling_off_until=later))
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COOLING_OFF
    assert "customer" in await held(engine, ada)
    await engine.cool_off(opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED


async def test_own_rows_wait_for_the_last_letter(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    blocker = engine.platform.settings.state_dir / "outbox"
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_text("not a folder: no mail can leave")
    await engine.with_settings(retry_base_s=600.0).work()
    assert await engine.status(opened.reference) is RequestStatus.VERIFYING
    assert "customer" in await held(engine, ada)
    blocker.unlink()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(message).values(next_run_at=func.now()))
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    (last,) = engine.letters(ada)
    assert last.startswith("Your data is deleted")


async def test_own_rows_wait_for_the_journal(engine: Engine) -> None:
    """What can not be written durably was not written: a restore would bring the person back."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    opened = await engine.open_erasure(ada)
    blocker = Path(urlsplit(engine.platform.blobs.url).path) / "journal"
    blocker.write_text("not a folder: no entry can be written")
    await engine.with_settings(retry_base_s=600.0).work()
    assert await engine.status(opened.reference) is RequestStatus.VERIFYING
    assert "customer" in await held(engine, ada)
    blocker.unlink()
    await engine.work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    (entry,) = await engine.journal()
    assert entry["customerId"] == str(ada.customer_id)
    assert await picture(engine.platform.db, bystander) == before


class Watched(Blobs):
    """An object store that notes for every durable write what there was of somebody just after it."""

    def __init__(self, engine: Engine, person: Person) -> None:
        super().__init__(engine.platform.blobs.url)
        self._engine, self._person = engine, person
        self.durable: list[tuple[str, bool]] = []
        self.plain: list[str] = []

    async def put(self, key: str, payload: bytes) -> None:
        self.plain.append(key)
        await super().put(key, payload)

    async def put_durable(self, key: str, payload: bytes) -> None:
        await super().put_durable(key, payload)
        self.durable.append((key, "customer" in await held(self._engine, self._person)))


async def test_the_journal_is_flushed_to_disk_before_own_rows_go(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    store = Watched(engine, ada)
    platform = replace(engine.platform, blobs=store)
    await Engine(platform, replace(engine.place, platform=platform)).work()
    assert await engine.status(opened.reference) is RequestStatus.COMPLETED
    assert "customer" not in await held(engine, ada)
    assert store.durable == [(object_key(1), True)]
    assert not [key for key in store.plain if key.startswith(PREFIX)]


async def test_preview_says_what_would_go_and_what_stays(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    remember(peer, ada)
    await engine.connect(peer)
    before = await picture(engine.platform.db, ada)
    newsletter, own = await erasure.preview(engine.platform, engine.viewer(ada))
    assert (newsletter.name, newsletter.outcome.state, newsletter.will_erase) == ("newsletter", State.DONE, 1)
    assert own.will_erase > 10
    assert own.will_keep == 3
    assert await picture(engine.platform.db, ada) == before
    assert ada.email in peer.people


async def test_preview_shows_a_system_that_does_not_answer(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    await engine.connect(peer)
    peer.mode = "hanging"
    newsletter, own = await erasure.preview(engine.platform, engine.viewer(ada))
    assert not newsletter.is_known
    assert own.is_known


async def test_preview_needs_the_scope(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    with pytest.raises(MissingScope):
        await erasure.preview(engine.platform, engine.viewer(ada, "profile:read"))


async def test_customer_and_account_are_gone_not_frozen(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await engine.open_erasure(ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        frozen = await tx.scalar(select(customer.c.status).where(customer.c.id == ada.customer_id))
    assert frozen is CustomerStatus.FROZEN
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.scalar(select(func.count()).select_from(account)) == 0
        assert await tx.scalar(select(func.count()).select_from(certificate)) == 1
    tasks = await engine.tasks(opened.reference)
    assert all(row.customer_id is None for row in tasks.values())
    assert TaskStep.VERIFY in {step for _, step in tasks}
