"""The demo's connected systems: a CRM in SQLite, a warehouse in a second Postgres database, a newsletter by webhook.

Each holds copies of the same customers and a bystander, in its own words and under its own numbers.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from cdp.cli.tour import newsletter
from cdp.connectors.base import Json
from cdp.operations.systems import Registration

WAREHOUSE = "demo_warehouse"
ACCOUNTING = "Accounting records: HGB § 257, AO § 147"


@dataclass(frozen=True)
class Copy:
    """One person as other systems know them."""

    name: str
    email: str


def create_crm(path: Path, people: Sequence[Copy]) -> Registration:
    """Make the CRM's file anew and describe it: contacts with notes (both go)."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE contact (id INTEGER PRIMARY KEY, full_name TEXT NOT NULL, mail TEXT NOT NULL UNIQUE);"
            "CREATE TABLE note (contact_id INTEGER NOT NULL REFERENCES contact (id), body TEXT NOT NULL);"
        )
        for number, person in enumerate(people, 1):
            connection.execute("INSERT INTO contact VALUES (?, ?, ?)", (number, person.name, person.email))
            notes = [(number, f"{person.name} asked about delivery."), (number, "Call back in spring.")]
            connection.executemany("INSERT INTO note VALUES (?, ?)", notes)
    connection.close()
    mapping: Json = {
        "tables": [
            {"name": "contact", "rows": "delete", "identities": [_email("mail")]},
            {"name": "note", "rows": "delete", "references": [_reference("contact_id", "contact", "id")]},
        ]
    }
    return Registration("crm", "Customer relations", "sql", {"url": f"sqlite:///{path}", "mapping": mapping}, {}, 10)


def create_warehouse(owner_url: str, app_url: str, people: Sequence[Copy]) -> Registration:
    """Make the warehouse's database anew: parcels go, delivery notes stay under the law without their person."""
    login = str(make_url(app_url).username)
    with psycopg.connect(_plain(owner_url), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(WAREHOUSE)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(WAREHOUSE)))
    with psycopg.connect(_plain(_in_warehouse(owner_url))) as connection:
        connection.execute(
            "CREATE TABLE consignee (id int PRIMARY KEY, email text NOT NULL, street text);"
            "CREATE INDEX ON consignee (lower(email));"
            "CREATE TABLE parcel (id int PRIMARY KEY, consignee_id int NOT NULL REFERENCES consignee, status text);"
            "CREATE TABLE delivery_note (id int PRIMARY KEY, consignee_id int REFERENCES consignee,"
            " signed_by text, delivered_on date NOT NULL, weight_g int NOT NULL);"
        )
        for number, person in enumerate(people, 1):
            connection.execute(
                "INSERT INTO consignee VALUES (%s, %s, %s)", (number, person.email.upper(), f"High Street {number}")
            )
            connection.execute("INSERT INTO parcel VALUES (%s, %s, 'delivered')", (number, number))
            connection.execute(
                "INSERT INTO delivery_note VALUES (%s, %s, %s, '2026-03-01', 1250)", (number, number, person.name)
            )
        connection.execute(
            sql.SQL("GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(login))
        )
    mapping: Json = {
        "tables": [
            {"name": "consignee", "rows": "delete", "identities": [_email("email")]},
            {"name": "parcel", "rows": "delete", "references": [_reference("consignee_id", "consignee", "id")]},
            {
                "name": "delivery_note",
                "rows": "keep",
                "references": [_reference("consignee_id", "consignee", "id")],
                "columns": {
                    "id": "preserve",
                    "consignee_id": "null",
                    "signed_by": "null",
                    "delivered_on": "preserve",
                    "weight_g": "preserve",
                },
                "retention": {"basis": ACCOUNTING, "years": 10, "since": "delivered_on"},
            },
        ]
    }
    target = make_url(_in_warehouse(app_url))
    secrets: dict[str, Json] = {"password": target.password} if target.password else {}
    url = target._replace(password=None).render_as_string(hide_password=False)
    return Registration("warehouse", "Warehouse", "sql", {"url": url, "mapping": mapping}, secrets, 20)


def create_newsletter(path: Path, port: int, secret: str, people: Sequence[Copy]) -> Registration:
    """Make the newsletter's file anew; its process is started by the tour."""
    path.unlink(missing_ok=True)
    newsletter.create(path, [(person.email, "Monthly news") for person in people])
    return Registration(
        "newsletter", "Newsletter", "webhook", {"url": f"http://127.0.0.1:{port}/cdp"}, {"secret": secret}, 30
    )


def crm_copies(path: Path, person: Copy) -> int:
    """Rows of the CRM that still hold something of a person."""
    connection = sqlite3.connect(path)
    try:
        contacts = connection.execute("SELECT count(*) FROM contact WHERE mail = ?", (person.email,)).fetchone()[0]
        notes = connection.execute("SELECT count(*) FROM note WHERE body LIKE ?", (f"%{person.name}%",)).fetchone()[0]
        return int(contacts + notes)
    finally:
        connection.close()


def newsletter_copies(path: Path, person: Copy) -> int:
    """Subscriptions of a person."""
    connection = sqlite3.connect(path)
    try:
        query = "SELECT count(*) FROM subscriber WHERE lower(address) = ?"
        return int(connection.execute(query, (person.email.lower(),)).fetchone()[0])
    finally:
        connection.close()


def warehouse_copies(owner_url: str, person: Copy) -> int:
    """Rows of the warehouse that still hold something of a person."""
    with psycopg.connect(_plain(_in_warehouse(owner_url))) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM consignee WHERE lower(email) = %(email)s)"
            " + (SELECT count(*) FROM delivery_note WHERE signed_by = %(name)s)",
            {"email": person.email.lower(), "name": person.name},
        ).fetchone()
        return int(row[0]) if row else 0


def _email(column: str) -> Json:
    return {"column": column, "type": "email", "normalise": "lower"}


def _reference(column: str, table: str, key: str) -> Json:
    return {"columns": [column], "table": table, "keys": [key]}


def _in_warehouse(url: str) -> str:
    return make_url(url).set(database=WAREHOUSE).render_as_string(hide_password=False)


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
