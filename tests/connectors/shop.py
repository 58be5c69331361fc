"""A shop's database as it might stand anywhere: rings of foreign keys, rows without a key, facts the law keeps.

client <-> card        a ring of foreign keys; both go
visit                  no primary key, reached by the e-mail address
thread                 replies to replies, whoever wrote them
parcel                 kept, cut loose from the client
ledger, ledger_line    kept, with tombstones; the lines have a compound key
"""

import secrets
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    insert,
    select,
)

from cdp.connectors.base import Identifier, Subject
from cdp.core.ids import CustomerId, RequestId, new_id
from tests.connectors.conformance import SECRET

metadata = MetaData()
client = Table(
    "client",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("Email", String(120), nullable=False, unique=True),
    Column("full name", String(80), nullable=False),
    Column("favourite_card_id", Integer),
    ForeignKeyConstraint(["favourite_card_id"], ["card.id"], use_alter=True, name="client_card"),
)
card = Table(
    "card",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("client_id", ForeignKey("client.id"), nullable=False),
    Column("holder", String(80), nullable=False),
)
visit = Table("visit", metadata, Column("who", String(120)), Column("page", Text))
thread = Table(
    "thread",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent_id", ForeignKey("thread.id")),
    Column("client_id", ForeignKey("client.id")),
    Column("body", Text, nullable=False),
)
parcel = Table(
    "parcel",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("client_id", ForeignKey("client.id")),
    Column("street", String(80)),
    Column("weight", Integer, nullable=False),
)
ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("payer", String(60), nullable=False),
    Column("name", String(40), nullable=False),
    Column("phone", String(30)),
    Column("iban", String(80)),
    Column("token", String(80), unique=True),
    Column("amount", Numeric(12, 2), nullable=False),
    Column("booked_on", Date, nullable=False),
)
ledger_line = Table(
    "ledger_line",
    metadata,
    Column("ledger_id", ForeignKey("ledger.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("remark", Text),
)

LAW = "Accounting records"
MAPPING: dict[str, Any] = {
    "tables": [
        {
            "name": "client",
            "rows": "delete",
            "identities": [{"type": "email", "column": "Email", "normalise": "lower"}],
        },
        {
            "name": "card",
            "rows": "delete",
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
        },
        {"name": "visit", "rows": "delete", "references": [{"columns": ["who"], "table": "client", "keys": ["Email"]}]},
        {
            "name": "thread",
            "rows": "delete",
            "references": [
                {"columns": ["client_id"], "table": "client", "keys": ["id"]},
                {"columns": ["parent_id"], "table": "thread", "keys": ["id"]},
            ],
        },
        {
            "name": "parcel",
            "rows": "keep",
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
            "columns": {"id": "preserve", "client_id": "null", "street": "null", "weight": "preserve"},
            "retention": {"basis": "Dangerous goods register"},
        },
        {
            "name": "ledger",
            "rows": "keep",
            "identities": [
                {"type": "email", "column": "payer", "normalise": "lower"},
                {"type": "phone", "column": "phone", "normalise": "digits"},
            ],
            "columns": {
                "id": "preserve",
                "payer": "keyed_hash",
                "name": {"strategy": "constant", "value": "erased"},
                "phone": "keyed_hash",
                "iban": "hash",
                "token": "random",
                "amount": "preserve",
                "booked_on": "preserve",
            },
            "retention": {"basis": LAW, "years": 10, "since": "booked_on"},
        },
        {
            "name": "ledger_line",
            "rows": "keep",
            "references": [{"columns": ["ledger_id"], "table": "ledger", "keys": ["id"]}],
            "columns": {"ledger_id": "preserve", "position": "preserve", "remark": "null"},
            "retention": {"basis": LAW, "years": 10, "since": "ledger.booked_on"},
        },
    ]
}


def mark_of(subject: Subject) -> str:
    """The part every text of a person of the shop carries."""
    return (
        next(known.value for known in subject.identifiers if known.type == "email").split("@")[0].removeprefix("zoe.")
    )


def move_in(connection: Connection) -> Subject:
    """Write one client with rows in every table."""
    mark = secrets.token_hex(4)
    number = int(mark, 16) % 10**8
    email, phone = f"zoe.{mark}@example.com", f"+49170{number:08d}"
    ident = number % 10**6 * 100 + 1
    connection.execute(
        insert(client).values({"id": ident, "Email": f"Zoe.{mark}@Example.com", "full name": f"Zoë {mark}"})
    )
    connection.execute(insert(card), [{"id": ident + n, "client_id": ident, "holder": f"Zoë {mark}"} for n in (0, 1)])
    connection.execute(client.update().where(client.c.id == ident).values(favourite_card_id=ident))
    connection.execute(insert(visit), [{"who": f"Zoe.{mark}@Example.com", "page": f"/for/{mark}"} for _ in range(3)])
    connection.execute(insert(thread).values(id=ident, client_id=ident, body=f"I am {mark}"))
    for reply in range(1, 4):
        connection.execute(insert(thread).values(id=ident + reply, parent_id=ident + reply - 1, body=f"To {mark}"))
    connection.execute(insert(parcel).values(id=ident, client_id=ident, street=f"Street {mark}", weight=7))
    connection.execute(
        insert(ledger).values(
            id=ident,
            payer=email.upper(),
            name=f"Zoë {mark}",
            phone=f"+49 (170) {number:08d}",
            iban=f"DE00 {mark}",
            token=f"token {mark}",
            amount=Decimal("12.50"),
            booked_on=date(2024, 2, 29),
        )
    )
    connection.execute(
        insert(ledger_line), [{"ledger_id": ident, "position": n, "remark": f"For {mark}"} for n in (1, 2)]
    )
    identifiers = (Identifier("email", email, verified=True), Identifier("phone", phone, verified=True))
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, SECRET)


def everything(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {
        table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for table in metadata.sorted_tables
    }
