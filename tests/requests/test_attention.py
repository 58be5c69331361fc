"""Systems that are down, refuse, lie, hang or answer nonsense: visible, retried, never a false success."""

import json

import pytest
from prometheus_client import generate_latest
from sqlalchemy import update

from cdp.access.viewer import MissingScope
from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.ids import new_id
from cdp.endpoints.health import Metrics
from cdp.operations.requests import callbacks, figures, requests
from cdp.operations.requests.requests import NothingToRetry
from cdp.operations.verification import verify_certificate
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import identity
from cdp.tables.request import RequestStatus, TaskStatus, privacy_request, request_task
from cdp.tables.system import system
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person, picture

S, T = RequestStatus, TaskStatus


@pytest.fixture
def peer():
    with served() as one:
        yield one


async def connected(engine: Engine, peer: Peer) -> tuple[Person, Person]:
    """Somebody and a bystander, both known to the peer."""
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    for person in (ada, bystander):
        peer.people[person.email] = {"profile": [{"email": person.email}]}
    await engine.connect(peer)
    return ada, bystander


async def at_erasing(engine: Engine, peer: Peer, ada: Person) -> str:
    """An erasure whose checks are done and whose cooling-off time still runs."""
    opened = await engine.with_settings(cooling_off=engine.platform.settings.export_ttl).open_erasure(ada)
    await engine.work()
    assert await engine.status(opened.reference) is S.COOLING_OFF
    await engine.cool_off(opened.reference)
    return opened.reference


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((500, {}, b""), T.NEEDS_ATTENTION),
        ((503, {"retry-after": "0"}, b"busy"), T.NEEDS_ATTENTION),
        ((200, {}, b""), T.FAILED),
        ((200, {}, b"<html>ok</html>"), T.FAILED),
        ((200, {"content-type": "application/json"}, b'{"state": "done"}'), T.FAILED),
        ((204, {}, b""), T.FAILED),
        ((302, {"location": "http://127.0.0.1/"}, b""), T.FAILED),
        ((409, {"content-type": "application/json"}, json.dumps({"state": "held", "code": "CASE"}).encode()), T.HELD),
    ],
)
async def test_no_answer_but_a_clear_one_counts(engine: Engine, peer: Peer, answer, outcome: TaskStatus) -> None:
    ada, bystander = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    before = await picture(engine.platform.db, bystander)
    peer.answer = answer
    await engine.work()
    assert await engine.status(reference) is S.NEEDS_ATTENTION
    assert (await engine.outcomes(reference))["newsletter.erase"][0] is outcome
    assert "own.erase" not in await engine.outcomes(reference)
    peer.answer = None
    await engine.retry(reference)
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    assert peer.people.keys() == {bystander.email}
    assert set(peer.effects.values()) == {1}
    assert await picture(engine.platform.db, bystander) == before


async def test_a_liar_is_seen_and_erased_again_under_another_key(engine: Engine, peer: Peer) -> None:
    ada, bystander = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    peer.mode = "deletes_nothing"
    await engine.work()
    assert (await engine.outcomes(reference))["newsletter.verify"] == (T.FAILED, "LEFT_BEHIND")
    assert await engine.status(reference) is S.NEEDS_ATTENTION
    assert ada.email in peer.people
    peer.mode = "honest"
    await engine.retry(reference)
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    assert peer.people.keys() == {bystander.email}
    row = await engine.request(reference)
    assert peer.effects == {f"{row.id}:newsletter:erase": 1, f"{row.id}:newsletter:erase:2": 1}


async def test_a_lost_answer_is_asked_again_under_the_same_key(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    peer.mode = "dropping"
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    row = await engine.request(reference)
    erases = [call["key"] for call in peer.calls if call["step"] == "erase"]
    assert erases == [f"{row.id}:newsletter:erase"] * 2
    assert peer.effects == {erases[0]: 1}


async def test_a_hanging_system_is_timed_out_and_does_not_hold_up_the_others(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    with served() as other:
        other.people[ada.email] = {"profile": [{"email": ada.email}]}
        await engine.connect(other, "shop")
        reference = await at_erasing(engine, peer, ada)
        peer.mode = "hanging"
        await engine.with_settings(task_timeout_s=0.2, max_attempts=2).work()
        outcomes = await engine.outcomes(reference)
    assert outcomes["newsletter.erase"][0] is T.NEEDS_ATTENTION
    assert outcomes["shop.erase"] == (T.DONE, "ERASED")
    assert other.people == {}
    assert await engine.status(reference) is S.NEEDS_ATTENTION


async def test_a_refusal_of_another_system_waits_for_a_person(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    peer.answer = (403, {"content-type": "application/json"}, json.dumps({"state": "refused", "code": "OPEN"}).encode())
    opened = await engine.open_erasure(ada)
    await engine.work()
    assert (await engine.outcomes(opened.reference))["newsletter.check"] == (T.REFUSED, "OPEN")
    assert await engine.status(opened.reference) is S.NEEDS_ATTENTION
    peer.answer = None
    await engine.retry(opened.reference)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED


async def test_unsupported_is_not_failed_and_stands_in_the_certificate(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    said = {"state": "unsupported", "code": "NO_ERASE"}
    reference = await at_erasing(engine, peer, ada)
    peer.answer = (200, {"content-type": "application/json"}, json.dumps(said).encode())
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    newsletter, own = engine.document(await engine.certificate(reference))["systems"]
    assert (newsletter["erased"]["state"], newsletter["erased"]["code"]) == ("unsupported", "NO_ERASE")
    assert "verified" not in newsletter
    assert own["verified"]["state"] == "done"
    await engine.closed(reference)
    last = engine.letters(ada)[-1]
    assert last.startswith("Your data is deleted, but not everywhere")
    assert "\n- Newsletter\r\n" in last
    told = verify_certificate((await engine.certificate(reference)).document, engine.platform.signer.keys())
    assert (told.is_valid, told.left_out) == (True, ("Newsletter: not erased (NO_ERASE)",))


async def test_who_proved_no_address_is_told_which_systems_never_looked(engine: Engine, peer: Peer) -> None:
    """Nobody is looked for by an address that is not proven: that system keeps what it has, and the person knows."""
    ada, bystander = await connected(engine, peer)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for table in (email_address, phone_number, identity):
            await tx.execute(update(table).where(table.c.customer_id == ada.customer_id).values(verified_at=None))
    opened = await engine.open_erasure(ada)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert peer.people.keys() == {ada.email, bystander.email}
    assert (await engine.outcomes(opened.reference))["newsletter.erase"] == (T.UNSUPPORTED, "NO_IDENTIFIER")
    await engine.closed(opened.reference)
    assert "\n- Newsletter\r\n" in engine.letters(ada)[-1]
    told = verify_certificate((await engine.certificate(opened.reference)).document, engine.platform.signer.keys())
    assert told.left_out == ("Newsletter: not erased (NO_IDENTIFIER)",)


async def test_who_is_deleted_everywhere_is_told_so(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    opened = await engine.open_erasure(ada)
    await engine.work()
    await engine.closed(opened.reference)
    assert engine.letters(ada)[-1].startswith("Your data is deleted (")
    issued = await engine.certificate(opened.reference)
    assert verify_certificate(issued.document, engine.platform.signer.keys()).left_out == ()


async def test_whoever_is_on_call_sees_what_is_stuck_and_late(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    metrics = Metrics()

    async def told() -> str:
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            metrics.note_requests(await figures.now(tx))
        return generate_latest(metrics.registry).decode()

    peer.answer = (204, {}, b"")
    opened = await engine.open_erasure(ada)
    await engine.work()
    said = await told()
    assert 'cdp_open_requests{state="needs_attention"} 1.0' in said
    assert 'cdp_open_requests{state="checking"} 0.0' in said
    assert 'cdp_stuck_tasks{state="failed",system="newsletter"} 1.0' in said
    assert "cdp_overdue_requests 0.0" in said
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(privacy_request).values(due_at=privacy_request.c.requested_at))
    assert "cdp_overdue_requests 1.0" in await told()
    peer.answer = None
    await engine.retry(opened.reference)
    await engine.work()
    said = await told()
    assert 'cdp_open_requests{state="needs_attention"} 0.0' in said
    assert 'cdp_stuck_tasks{state="failed",system="newsletter"} 0.0' in said
    assert "cdp_overdue_requests 0.0" in said


async def test_a_waiting_system_is_asked_again_with_the_same_key(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    said = {"state": "waiting", "retryAfter": 1}
    peer.answer = (202, {"content-type": "application/json"}, json.dumps(said).encode())
    await engine.work()
    task = (await engine.tasks(reference))["newsletter", "erase"]
    assert (task.status, task.attempt) == (T.WAITING, 0)
    peer.answer = None
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        waiting = update(request_task).where(request_task.c.status == T.WAITING)
        await tx.execute(waiting.values(next_run_at=request_task.c.started_at))
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED


async def test_a_waiting_system_calls_back_and_is_asked_again_at_once(engine: Engine, peer: Peer) -> None:
    ada, bystander = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    said = {"state": "waiting", "retryAfter": 3600}
    peer.answer = (202, {"content-type": "application/json"}, json.dumps(said).encode())
    await engine.work()
    task = (await engine.tasks(reference))["newsletter", "erase"]
    callback = peer.calls[-1]["callback"]
    assert (task.status, callback["url"].endswith(f"/v1/tasks/{task.id}/callback")) == (T.WAITING, True)
    for token in ("", "x", "ü", callback["token"][:-1]):
        with pytest.raises(NotFound):
            await callbacks.called(engine.platform, task.id, token)
    with pytest.raises(NotFound):
        await callbacks.called(engine.platform, new_id(), callback["token"])
    peer.answer = None
    await engine.work()
    assert await engine.status(reference) is S.ERASING, "nobody asks before the time"
    await callbacks.called(engine.platform, task.id, callback["token"])
    await callbacks.called(engine.platform, task.id, callback["token"])
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    assert peer.people.keys() == {bystander.email}
    assert set(peer.effects.values()) == {1}
    assert "task.called_back" in await engine.audited(ada)
    with pytest.raises(NotFound):
        await callbacks.called(engine.platform, task.id, callback["token"])


async def test_a_callback_that_lies_changes_nothing(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    said = {"state": "waiting", "retryAfter": 3600}
    peer.answer = (202, {"content-type": "application/json"}, json.dumps(said).encode())
    await engine.work()
    task = (await engine.tasks(reference))["newsletter", "erase"]
    await callbacks.called(engine.platform, task.id, peer.calls[-1]["callback"]["token"])
    await engine.work()
    assert (await engine.outcomes(reference))["newsletter.erase"][0] is T.WAITING
    assert ada.email in peer.people


async def test_a_broken_configuration_is_visible(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).where(system.c.name == "newsletter").values(configuration={}))
    opened = await engine.open_erasure(ada)
    await engine.work()
    assert (await engine.outcomes(opened.reference))["newsletter.check"] == (T.FAILED, "MISCONFIGURED")
    assert await engine.status(opened.reference) is S.NEEDS_ATTENTION


async def test_a_system_connected_meanwhile_is_erased_too(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    reference = await at_erasing(engine, peer, ada)
    peer.people[ada.email] = {"profile": [{"email": ada.email}]}
    await engine.connect(peer)
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    assert peer.people == {}


async def test_a_system_switched_off_meanwhile_is_erased_all_the_same(engine: Engine, peer: Peer) -> None:
    ada, bystander = await connected(engine, peer)
    reference = await at_erasing(engine, peer, ada)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).where(system.c.name == "newsletter").values(enabled=False))
    await engine.work()
    assert await engine.status(reference) is S.COMPLETED
    assert peer.people.keys() == {bystander.email}


async def test_a_lost_key_store_is_visible(engine: Engine, peer: Peer) -> None:
    ada = await make_person(engine.platform.db)
    reference = await at_erasing(engine, peer, ada)
    engine.platform.keys.destroy(f"request-{(await engine.request(reference)).id}")
    await engine.work()
    assert await engine.status(reference) is S.NEEDS_ATTENTION
    assert (await picture(engine.platform.db, ada))["customer"]


async def test_only_operators_retry_and_only_what_waits(engine: Engine, peer: Peer) -> None:
    ada, _ = await connected(engine, peer)
    opened = await engine.open_erasure(ada)
    with pytest.raises(NothingToRetry):
        await engine.retry(opened.reference)
    with pytest.raises(NotFound):
        await engine.retry("ER-2222-2222")
    with pytest.raises(MissingScope):
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            await requests.retry(tx, engine.viewer(ada), opened.reference)
