"""People without an account: the proof, the same engine, what they get, and what nobody learns."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.core.sign import Verdict, check
from cdp.operations import suppression
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.requests import exports, guests, request_views
from cdp.operations.requests.opening import Opened
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import IdentityType, customer, identity
from cdp.tables.message import message
from cdp.tables.request import RequestStatus, RequestType, privacy_request, request_proof
from tests.connectors.webhook_peer import Peer, served
from tests.engine import Engine
from tests.population import Person, make_person, picture
from tests.requests.test_casework import Office, office

__all__ = ["office"]

S = RequestStatus
STRANGER = "Grace.Hopper@example.net"


@pytest.fixture
def peer() -> Iterator[Peer]:
    with served() as one:
        yield one


async def ask(engine: Engine, kind: RequestType, email: str = STRANGER, *, address: str = "203.0.113.7") -> None:
    await guests.ask(engine.platform, kind, email, locale="en", address=address)


async def newest_code(engine: Engine, email: str = STRANGER) -> str:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        theirs = select(message.c.body).where(func.lower(message.c.recipient) == email.lower())
        bodies = [row.body for row in await tx.all(theirs.order_by(message.c.id.desc()))]
    return next(found.group(1) for body in bodies if (found := re.search(r"#([\w-]{43})\s", body)))


async def open_by_link(engine: Engine, kind: RequestType, email: str = STRANGER) -> Opened:
    await ask(engine, kind, email)
    return await guests.confirm(engine.platform, await newest_code(engine, email))


async def could_sign_in(engine: Engine, person: Person) -> None:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        mine = update(account).where(account.c.customer_id == person.customer_id)
        await tx.execute(mine.values(password_hash="a hash"))


async def status_of(engine: Engine, person: Person) -> str:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return (await tx.scalar(select(customer.c.status).where(customer.c.id == person.customer_id))).value


async def test_a_stranger_is_erased_from_the_systems_that_know_them(engine: Engine, peer: Peer) -> None:
    bystander = await make_person(engine.platform.db)
    before = await picture(engine.platform.db, bystander)
    for email in (STRANGER.lower(), bystander.email):
        peer.people[email] = {"profile": [{"email": email}]}
    await engine.connect(peer)
    opened = await open_by_link(engine, RequestType.ERASURE)
    await engine.work()
    row = await engine.request(opened.reference)
    assert (row.status, row.customer_id, row.channel) == (S.COMPLETED, None, "privacy request page")
    assert (row.identifiers_sealed, row.key_id, row.address_hash) == (None, None, None)
    assert peer.people.keys() == {bystander.email}
    issued = engine.document(await engine.certificate(opened.reference))
    assert check(issued, engine.platform.signer.keys()) is Verdict.VALID
    by_name = {one["name"]: one for one in issued["systems"]}
    assert by_name["own"]["verified"]["state"] == "done"
    assert by_name["newsletter"]["verified"]["state"] == "done"
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(message)) is None
        assert await tx.first(select(request_proof)) is None
        assert await suppression.is_suppressed(tx, engine.platform.pepper, "email", STRANGER.lower())
        assert not await suppression.is_suppressed(tx, engine.platform.pepper, "email", bystander.email)
    assert engine.keys("request-") == []
    assert await picture(engine.platform.db, bystander) == before
    assert opened.status_key is not None
    view = await request_views.with_key(engine.platform, opened.reference, opened.status_key)
    assert view.certificate is not None


async def test_a_stranger_undoes_it_with_the_link(engine: Engine, peer: Peer) -> None:
    peer.people[STRANGER.lower()] = {"profile": [{"email": STRANGER.lower()}]}
    await engine.connect(peer)
    slow = engine.with_settings(cooling_off=timedelta(days=1))
    opened = await open_by_link(slow, RequestType.ERASURE)
    await slow.work()
    assert await slow.status(opened.reference) is S.COOLING_OFF
    view = await request_views.with_key(slow.platform, opened.reference, opened.status_key or "")
    assert view.can_undo
    await request_views.undo(slow.platform, guests.ANONYMOUS, view)
    await slow.work()
    assert await slow.status(opened.reference) is S.CANCELLED
    assert peer.people


async def test_a_stranger_gets_their_copy_by_a_mailed_link(engine: Engine, peer: Peer) -> None:
    peer.people[STRANGER.lower()] = {"profile": [{"email": STRANGER.lower(), "city": "Arlington"}]}
    await engine.connect(peer)
    opened = await open_by_link(engine, RequestType.ACCESS)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert (await exports.of_request(tx, opened.id)) is not None
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    [letter] = [one for one in engine.letters_to(STRANGER) if "is ready" in one.splitlines()[0]]
    code = re.search(r"/privacy/request/file#([\w-]{43})", letter).group(1)  # type: ignore[union-attr]
    for _ in range(2):
        found = await guests.download(engine.platform, code)
        assert b"".join([chunk async for chunk in found.chunks])[:2] == b"PK"
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(request_proof).values(expires_at=func.now()))
    with pytest.raises(LinkRefused):
        await guests.download(engine.platform, code)


async def test_whoever_was_imported_and_never_signed_in_is_found(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    opened = await open_by_link(engine, RequestType.ERASURE, ada.email)
    assert (await engine.request(opened.reference)).customer_id == ada.customer_id
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    assert {table for table, rows in (await picture(engine.platform.db, ada)).items() if rows} == {"audit_event"}


async def test_whoever_could_sign_in_is_looked_at_first(office: Office) -> None:
    engine = office.engine
    ada = await make_person(engine.platform.db)
    await could_sign_in(engine, ada)
    opened = await open_by_link(engine, RequestType.ERASURE, ada.email)
    await engine.work()
    assert await engine.status(opened.reference) is S.RECEIVED
    assert await status_of(engine, ada) == "active"
    await office.approve(opened)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED


async def test_an_address_in_somebody_elses_profile_leads_nowhere(engine: Engine) -> None:
    squatter = await make_person(engine.platform.db)
    await could_sign_in(engine, squatter)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        values = {"address": STRANGER, "normalized": STRANGER.lower()}
        await tx.execute(insert(email_address).values(**squatter.origin, **values))
        origin = {**squatter.origin, "origin_identity_id": None}
        await tx.execute(insert(identity).values(**origin, type=IdentityType.EMAIL, value=STRANGER.lower()))
    before = await picture(engine.platform.db, squatter)
    opened = await open_by_link(engine, RequestType.ERASURE)
    await engine.work()
    row = await engine.request(opened.reference)
    assert (row.status, row.customer_id) == (S.COMPLETED, None)
    assert await picture(engine.platform.db, squatter) == before
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert not await suppression.is_suppressed(tx, engine.platform.pepper, "email", STRANGER.lower())


async def test_asking_looks_the_same_for_everybody(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    before = await picture(engine.platform.db, ada)
    await ask(engine, RequestType.ERASURE, ada.email)
    await ask(engine, RequestType.ERASURE)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(message.c.subject, message.c.body, message.c.customer_id).order_by(message.c.id))
        assert await tx.first(select(privacy_request)) is None
    known, unknown = ((row.subject, re.sub(r"[\w-]{43}", "", row.body), row.customer_id) for row in rows)
    assert known == unknown
    assert await picture(engine.platform.db, ada) == before


async def test_the_address_waits_sealed_and_is_forgotten(engine: Engine) -> None:
    await ask(engine, RequestType.ERASURE)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(request_proof))
        assert row is not None
        assert STRANGER.lower().encode() not in row.address_sealed
        await tx.execute(update(request_proof).values(expires_at=func.now()))
    with pytest.raises(LinkRefused):
        await guests.confirm(engine.platform, await newest_code(engine))
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(request_proof)) is None
        await tx.execute(update(message).values(created_at=func.now() - timedelta(days=2)))
    await engine.work()
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(message)) is None


async def test_a_link_works_once(engine: Engine) -> None:
    await ask(engine, RequestType.ACCESS)
    code = await newest_code(engine)
    await guests.confirm(engine.platform, code)
    for wrong in (code, "x" * 43, ""):
        with pytest.raises(LinkRefused):
            await guests.confirm(engine.platform, wrong)


@pytest.mark.parametrize("is_known", [True, False])
async def test_who_asks_twice_gets_back_into_the_first(engine: Engine, *, is_known: bool) -> None:
    email = (await make_person(engine.platform.db)).email if is_known else STRANGER
    first = await open_by_link(engine, RequestType.ACCESS, email)
    second = await open_by_link(engine, RequestType.PORTABILITY, email)
    assert (second.reference, second.status_key) == (first.reference, first.status_key)
    assert (await engine.request(first.reference)).joined == 1


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_objection_stops_marketing(engine: Engine, *, is_known: bool) -> None:
    ada = await make_person(engine.platform.db)
    email = ada.email if is_known else STRANGER
    opened = await open_by_link(engine, RequestType.OBJECTION, email)
    await engine.work()
    assert await engine.status(opened.reference) is S.COMPLETED
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await suppression.is_suppressed(tx, engine.platform.pepper, "email", STRANGER.lower()) is not is_known
        assert await guests.objections.rests(tx, ada.customer_id, "promotions") is is_known


async def test_mailboxes_are_not_flooded(engine: Engine) -> None:
    for _ in range(4):
        await ask(engine, RequestType.ERASURE)
    with pytest.raises(TooManyTries):
        await ask(engine, RequestType.ERASURE, address="203.0.113.8")
    await ask(engine, RequestType.ERASURE, "somebody.else@example.net", address="203.0.113.8")


@pytest.mark.parametrize(
    ("kind", "email", "code"),
    [
        (RequestType.RECTIFICATION, STRANGER, "NOT_OFFERED"),
        (RequestType.ERASURE, "not an address", "INVALID_EMAIL"),
        (RequestType.ERASURE, "a@b\nBcc: c@d.example", "INVALID_EMAIL"),
    ],
)
async def test_what_is_not_taken(engine: Engine, kind: RequestType, email: str, code: str) -> None:
    with pytest.raises(PlatformError) as refusal:
        await ask(engine, kind, email)
    assert refusal.value.code == code
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await tx.first(select(message)) is None
