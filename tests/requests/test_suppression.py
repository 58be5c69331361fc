"""The suppression list covers every identifier, keeps numbers of two systems apart, and ends by a proven address."""

from dataclasses import replace

from sqlalchemy import insert, select, update

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import new_id
from cdp.core.seal import Pepper
from cdp.operations import journal, suppression
from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.accounts import Registration, register
from cdp.tables.account import account
from cdp.tables.contact import email_address, phone_number
from cdp.tables.customer import IdentityType, identity
from tests.engine import Engine
from tests.population import make_person

PASSWORD = "lantern orchard granite"


async def is_suppressed(engine: Engine, kind: str, value: str, *, issuer: str = "") -> bool:
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        return await suppression.is_suppressed(tx, engine.platform.pepper, kind, value, issuer=issuer)


async def test_every_identifier_is_covered(engine: Engine) -> None:
    ada, bystander = await make_person(engine.platform.db), await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        for kind, value in ((IdentityType.CUSTOMER_NUMBER, "KD-1"), (IdentityType.COOKIE, "c-1")):
            row = {"type": kind, "issuer": "shop", "value": value}
            await tx.execute(insert(identity).values(id=new_id(), **ada.origin, **row))
        phone = await tx.scalar(select(phone_number.c.e164).where(phone_number.c.id == ada.phone_id))
        name = await tx.scalar(select(account.c.username).where(account.c.customer_id == ada.customer_id))
    await engine.open_erasure(ada)
    await engine.work()
    for kind, value, issuer in (
        ("email", ada.email, ""),
        ("phone", phone, ""),
        ("username", name, ""),
        ("username", name, "account"),
        ("customer_number", "KD-1", "shop"),
        ("cookie", "c-1", "shop"),
    ):
        assert await is_suppressed(engine, kind, value, issuer=issuer), (kind, issuer)
    assert not await is_suppressed(engine, "customer_number", "KD-1", issuer="crm")
    assert not await is_suppressed(engine, "customer_number", "KD-1")
    assert not await is_suppressed(engine, "email", bystander.email)


async def test_older_keys_are_tried_too(engine: Engine) -> None:
    ada = await make_person(engine.platform.db)
    await engine.open_erasure(ada)
    await engine.work()
    engine.platform.keys.create("pepper-0002")
    newer = Pepper(engine.platform.keys)
    assert newer.current == 2
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        assert await suppression.is_suppressed(tx, newer, "email", ada.email)
        renewed = replace(engine.platform, pepper=newer)
        assert await suppression.lift(tx, renewed, "email", ada.email, now=engine.platform.clock()) == 1
        assert not await suppression.is_suppressed(tx, newer, "email", ada.email)


async def test_who_comes_back_is_let_in_once_the_address_is_proven(engine: Engine) -> None:
    """Registering alone lifts nothing: anybody could register with somebody's address."""
    ada, other = await make_person(engine.platform.db), await make_person(engine.platform.db)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(account).where(account.c.customer_id == ada.customer_id).values(username=ada.email))
    for person in (ada, other):
        await engine.open_erasure(person)
    await engine.work()
    customer_id = await register(engine.platform, Registration(ada.email, PASSWORD, True))
    assert await is_suppressed(engine, "email", ada.email)
    async with engine.platform.db.transaction(Role.WORKER) as tx:
        viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id)
        await email_proofs.prove_address(tx, engine.platform, viewer, ada.email)
        mine = email_address.c.customer_id == customer_id
        assert await tx.scalar(select(email_address.c.verified_at).where(mine)) is not None
    assert not await is_suppressed(engine, "email", ada.email)
    assert not await is_suppressed(engine, "username", ada.email)
    assert await is_suppressed(engine, "email", other.email)
    await journal.publish(engine.platform)
    assert [one["entry"] for one in await engine.journal()] == ["erasure", "erasure", "lift"]
    assert ada.email not in str(await engine.journal())
