"""The own kind, on our real tables: the conformance suite, and what the data map promises."""

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Column, MetaData, String, Table, Uuid, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from cdp.connectors.base import Connector, Identifier, State, Subject, System
from cdp.connectors.own.connector import bury_exports
from cdp.connectors.own.rows import cut_values, erase_rows, trace_statements
from cdp.connectors.registry import connect
from cdp.core.blobs import ObjectMissing
from cdp.core.db import Role
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.operations.reference import Purpose
from cdp.tables import metadata
from cdp.tables.base import Category, Erase, personal
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerKind, customer
from cdp.tables.datamap import identity_columns, keeps_rows, personal_tables
from cdp.tables.export import export
from cdp.tables.message import message
from cdp.tables.order import ACCOUNTING_LAW, sales_order, sales_order_item
from cdp.tables.request import privacy_request
from tests.connectors.conformance import SECRET, Conformance, key_of, steps
from tests.connectors.filling import fill
from tests.population import LONG_AGO, NOW, Person, make_person, picture

OWN = System(SystemId(new_id()), "own", "own", {})


class OurTables:
    """Our own database."""

    def __init__(self, platform: Platform, settings: Settings) -> None:
        self.platform, self.settings = platform, settings
        self.connector = connect(OWN, platform)
        self.people: dict[CustomerId, Person] = {}

    async def person(self) -> Subject:
        known = await make_person(self.platform.db)
        async with self.platform.db.transaction(Role.WORKER) as tx:
            await fill(tx, known)
        self.people[known.customer_id] = known
        identifiers = (Identifier("email", known.email, verified=True),)
        return Subject(RequestId(new_id()), known.customer_id, known.audit_ref, identifiers, SECRET)

    async def unreachable(self) -> Connector:
        nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
        return connect(OWN, Platform.open(self.settings.model_copy(update={"database_url": nowhere})))

    async def everything(self) -> dict[str, list[tuple[object, ...]]]:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            return {
                table.name: sorted((tuple(row) for row in await tx.all(select(table))), key=repr)
                for table in metadata.sorted_tables
            }

    async def held(self, subject: Subject) -> dict[str, object]:
        known = self.people[subject.customer_id]
        found: dict[str, object] = {
            name: rows for name, rows in (await picture(self.platform.db, known)).items() if rows
        }
        found.pop("audit_event", None)
        for name, rows in (await self.everything()).items():
            if any(part in repr(row) for row in rows for part in self.texts(subject)):
                found.setdefault(name, rows)
        return {name: found[name] for name in found if name in {t.name for t in personal_tables()}}

    async def come_back(self, subject: Subject) -> None:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            brand_id = await tx.scalar(select(metadata.tables["brand"].c.id).limit(1))
            row = {"id": subject.customer_id, "kind": CustomerKind.PERSON, "audit_ref": subject.subject_ref}
            await tx.execute(insert(customer).values(**row, brand_id=brand_id))

    def texts(self, subject: Subject) -> list[str]:
        known = self.people[subject.customer_id]
        mark = known.email.split("@")[0].removeprefix("ada.")
        return [known.email, f"Family{mark}", f"Street {mark}", f"Question {mark}"]


class TestOwn(Conformance):
    @pytest.fixture
    async def harness(self, platform: Platform, settings: Settings) -> OurTables:
        return OurTables(platform, settings)


@pytest.fixture
async def ours(platform: Platform, settings: Settings) -> OurTables:
    return OurTables(platform, settings)


async def test_every_personal_table_holds_rows_before_and_none_after(ours: OurTables) -> None:
    subject = await ours.person()
    before = await picture(ours.platform.db, ours.people[subject.customer_id])
    assert [table.name for table in personal_tables() if not before[table.name]] == []
    check, erase, verify = await steps(ours.connector, subject)
    after = await picture(ours.platform.db, ours.people[subject.customer_id])
    assert [table.name for table in personal_tables() if after[table.name]] == []
    kept = {table.name for table in personal_tables() if keeps_rows(table)}
    assert {held.collection for held in check.retained} == kept
    assert erase.records.keys() == {table.name for table in personal_tables()}
    assert verify.evidence["tables_read"] == len(list(personal_tables()))


async def test_orders_stay_as_facts_without_the_person(ours: OurTables) -> None:
    subject = await ours.person()
    order_id = ours.people[subject.customer_id].order_id
    _, erase, _ = await steps(ours.connector, subject)
    until = date(LONG_AGO.year + 10, LONG_AGO.month, LONG_AGO.day)
    kept = {held.collection: held for held in erase.retained}
    assert (kept["sales_order"].basis, kept["sales_order"].until) == (ACCOUNTING_LAW, until)
    assert (kept["sales_order_item"].basis, kept["sales_order_item"].until) == (ACCOUNTING_LAW, until)
    async with ours.platform.db.transaction(Role.WORKER) as tx:
        order = await tx.first(select(sales_order).where(sales_order.c.id == order_id))
        items = await tx.all(select(sales_order_item).where(sales_order_item.c.order_id == order_id))
    assert order is not None
    assert str(order.total) == "20.50"
    assert order.retained_until.date() == until
    personal = (order.customer_id, order.origin_identity_id, order.collection_id, order.billing_name)
    assert personal == (None, None, None, None)
    assert [(item.customer_id, item.collection_id, item.title) for item in items] == [(None, None, "A book")] * 2


async def test_the_open_request_keeps_its_sealed_identifiers_and_no_other_does(ours: OurTables) -> None:
    subject = await ours.person()
    async with ours.platform.db.transaction(Role.WORKER) as tx:
        older = await tx.scalar(
            select(privacy_request.c.id).where(privacy_request.c.customer_id == subject.customer_id)
        )
        columns = [
            c.name for c in privacy_request.c if c.name not in {"id", "reference", "secret_hash", "type", "status"}
        ]
        copied = select(privacy_request).where(privacy_request.c.id == older)
        row = (await tx.execute(copied)).mappings().one()
        values = {name: row[name] for name in columns}
        status = {"type": "access", "status": "completed", "reference": new_id().hex[:20]}
        await tx.execute(insert(privacy_request).values(**values, **status, id=subject.request_id))
        await tx.execute(
            update(privacy_request)
            .values(identifiers_sealed=b"sealed")
            .where(privacy_request.c.id.in_([older, subject.request_id]))
        )
    await steps(ours.connector, subject)
    async with ours.platform.db.transaction(Role.WORKER) as tx:
        found = await tx.all(
            select(privacy_request.c.id, privacy_request.c.identifiers_sealed, privacy_request.c.customer_id).where(
                privacy_request.c.id.in_([older, subject.request_id])
            )
        )
    assert {row.id: (row.identifiers_sealed, row.customer_id) for row in found} == {
        older: (None, None),
        subject.request_id: (b"sealed", None),
    }


async def test_packages_die_with_the_person(ours: OurTables) -> None:
    subject = await ours.person()
    platform = ours.platform
    key_id, object_key = f"export-{new_id()}", f"exports/{new_id()}"
    platform.keys.create(key_id)
    await platform.blobs.put(object_key, b"sealed package")
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = export.c.customer_id == subject.customer_id
        await tx.execute(update(export).where(mine).values(key_id=key_id, object_key=object_key))
    assert await bury_exports(platform, subject.customer_id) == 1
    assert await bury_exports(platform, subject.customer_id) == 1
    with pytest.raises(KeyGone):
        platform.keys.get(key_id)
    with pytest.raises(ObjectMissing):
        await platform.blobs.get(object_key)


async def test_rows_go_in_the_callers_transaction_or_not_at_all(ours: OurTables) -> None:
    subject = await ours.person()
    before = await ours.everything()

    async def erase_and_fail() -> None:
        async with ours.platform.db.transaction(Role.WORKER) as tx:
            assert (await erase_rows(tx, subject.customer_id)).deleted["customer"] == 1
            raise LookupError

    with pytest.raises(LookupError):
        await erase_and_fail()
    assert await ours.everything() == before


async def test_the_same_address_at_somebody_else_is_named_and_left_alone(ours: OurTables) -> None:
    subject, other = await ours.person(), await ours.person()
    async with ours.platform.db.transaction(Role.WORKER) as tx:
        email = ours.people[subject.customer_id].email
        shared = {"address": email, "normalized": email, "is_primary": False, "created_at": NOW}
        origin = ours.people[other.customer_id].origin
        await tx.execute(insert(email_address).values(id=new_id(), **origin, **shared))
    *_, verify = await steps(ours.connector, subject)
    assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")
    assert verify.evidence["held_by_other_customers"] == {"email_address.normalized": 1}
    gone = replace(other, identifiers=subject.identifiers)
    still = await ours.connector.verify(gone, key_of(gone, "verify"))
    assert still.records["email_address.normalized"] == 1


async def test_a_column_that_is_hashed_keeps_nothing_of_its_value(platform: Platform) -> None:
    payer = Column("payer", String, info=personal(Category.ORDER, erase=Erase.HASH))
    only_here = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}
    receipt = Table("receipt", MetaData(), Column("id", Uuid, primary_key=True), payer, **only_here)
    async with platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(CreateTable(receipt))
        await tx.execute(insert(receipt), [{"id": new_id(), "payer": name} for name in ("Ada", "Ada", None)])
        await tx.execute(update(receipt).values(cut_values(receipt, b"salt", None)))
        one, same, nothing = await tx.all(select(payer).order_by(payer.nulls_last()))
    assert (one, nothing.payer) == (same, None)
    assert (len(one.payer), "Ada" in one.payer) == (64, False)


async def test_every_identity_column_is_looked_up_at_once(ours: OurTables) -> None:
    """By an index: an erasure of one person must not read whole tables."""
    subject, other = await ours.person(), await ours.person()
    known = (Identifier("email", "ada@example.com"), Identifier("cookie", "c-1"), Identifier("phone", "+4915112345678"))
    looked = [f"{column.table.name}.{column.name}" for column, _ in identity_columns()]
    assert {"message.recipient", "mail_link.address", "device.cookie_id", "identity.value"} < set(looked)
    async with ours.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        for statement in trace_statements(other.customer_id, known):
            compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(row[0] for row in await tx.all(text(f"EXPLAIN {compiled}".replace(":", r"\:"))))
            assert "Seq Scan" not in plan, plan
        origin = {"customer_id": other.customer_id, "purpose": Purpose.ACCOUNT_NOTICES.value, "template": "test"}
        left = {"recipient": ours.people[subject.customer_id].email.upper(), "subject": "Hello", "body": "Hello"}
        await tx.execute(insert(message).values(id=new_id(), **origin, **left))
    *_, verify = await steps(ours.connector, subject)
    assert verify.evidence["held_by_other_customers"] == {"message.recipient": 1}
