"""The data map is complete, and the database stands behind it: second wall, indexes, names, secrets, append-only."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cdp.access.viewer import SYSTEM
from cdp.core.clock import utc_now
from cdp.core.db import Database, Role
from cdp.core.ids import new_id
from cdp.core.settings import Settings
from cdp.operations.population.seed import seed
from cdp.tables import datamap, metadata
from cdp.tables.base import Category, Erase, Personal, personal

PERSONAL = sorted(table.name for table in datamap.personal_tables())
# Partners reach only tables that a grant may name.
ROLES = {role.value for role in Role} - {Role.PARTNER}


@pytest.fixture
def owner(settings: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(settings.database_owner_url) as connection:
        yield connection


def test_the_map_has_no_gap():
    assert datamap.gaps() == []
    assert {"customer", "account", "sales_order", "consent", "event"} <= set(PERSONAL)


def test_the_page_says_what_the_columns_say():
    page = Path(__file__).parents[2] / "docs" / "data-map.md"
    assert page.read_text(encoding="utf-8") == datamap.reference(), "write cdp.tables.datamap.reference() to the page"


def test_what_is_kept_names_its_law():
    with pytest.raises(ValueError, match="law"):
        personal(Category.ORDER, erase=Erase.KEEP)
    for entry in datamap.entries():
        assert (entry.erase is Erase.KEEP) == (entry.basis is not None)


def test_passwords_and_hashes_are_never_exported():
    exported = {f"{entry.table}.{entry.column}" for entry in datamap.entries() if entry.export}
    assert not {name for name in exported if "hash" in name or "secret" in name or "sealed" in name} - {"export.sha256"}


def test_every_table_of_the_database_is_declared_and_the_other_way_round(owner: psycopg.Connection):
    rows = owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {name for (name,) in rows} - {"alembic_version"} == set(metadata.tables)


@pytest.mark.parametrize("table", PERSONAL)
def test_a_personal_table_stands_behind_the_second_wall(owner: psycopg.Connection, table: str):
    found = owner.execute(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", (table,)
    ).fetchone()
    assert found == (True, True)
    policies = owner.execute("SELECT roles, qual FROM pg_policies WHERE tablename = %s", (table,)).fetchall()
    by_role = {role: predicate for roles, predicate in policies for role in roles}
    assert set(by_role) - {Role.PARTNER} == ROLES
    assert "cdp.subject" in by_role["cdp_customer"]


def test_every_foreign_key_is_indexed(owner: psycopg.Connection):
    missing = owner.execute(
        """
        SELECT c.conrelid::regclass::text, c.conname FROM pg_constraint c
         WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND NOT EXISTS (
               SELECT 1 FROM pg_index i
                WHERE i.indrelid = c.conrelid AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1])
        """
    ).fetchall()
    assert missing == []


def test_every_name_follows_the_convention(owner: psycopg.Connection):
    ends = {"p": "_pkey", "f": "_fkey", "u": "_key", "c": "_check"}
    constraints = owner.execute(
        "SELECT conrelid::regclass::text, conname, contype::text FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND contype = ANY (%s)"
        "   AND conrelid <> 'alembic_version'::regclass",
        (list(ends),),
    ).fetchall()
    odd = [name for table, name, kind in constraints if not (name.startswith(table) and name.endswith(ends[kind]))]
    indexes = owner.execute(
        "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    ).fetchall()
    odd += [n for t, n in indexes if not (n.startswith(f"{t}_") and n.endswith(("_idx", "_key", "_pkey")))]
    assert odd == []


def test_the_database_checks_every_closed_set(owner: psycopg.Connection):
    checks = owner.execute("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'").fetchall()
    text = "\n".join(definition for (definition,) in checks)
    for table in metadata.tables.values():
        for column in table.columns:
            for value in getattr(column.type, "enums", ()):
                assert f"'{value}'" in text, f"{table.name}.{column.name} may not be {value}"


async def test_a_customer_sees_and_adds_nothing_of_another(fresh_settings: Settings, fresh_database: Database):
    await seed(fresh_settings, fresh_database, SYSTEM, customers=60, seed_number=1, now=utc_now())
    with psycopg.connect(fresh_settings.database_url, autocommit=True) as connection:
        connection.execute("SET ROLE cdp_worker")
        people = [row[0] for row in connection.execute("SELECT id FROM customer ORDER BY id LIMIT 3")]
        filled = {
            table
            for table in PERSONAL
            if connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone() != (0,)
        }
        assert {"customer", "sales_order_item", "consent", "device"} <= filled
        connection.execute("SET ROLE cdp_customer")
        for subject in (None, *people):
            connection.execute("SELECT set_config('cdp.subject', %s, false)", (str(subject or ""),))
            for table in sorted(filled):
                column = "id" if table == "customer" else "customer_id"
                question = sql.SQL("SELECT DISTINCT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
                seen = {row[0] for row in connection.execute(question)}
                assert seen <= {subject}, table
        connection.execute("SELECT set_config('cdp.subject', %s, false)", (str(people[0]),))
        stolen = connection.execute("UPDATE customer SET given_name = 'x' WHERE id = %s", (people[1],))
        assert stolen.rowcount == 0
        origin = connection.execute("SELECT collection_id FROM customer").fetchone()
        assert origin is not None
        for owner, refused in ((people[1], True), (people[0], False)):
            statement = (
                "INSERT INTO preference (id, customer_id, collection_id, key, value) VALUES (%s, %s, %s, 'k', '1')"
            )
            try:
                connection.execute(statement, (new_id(), owner, origin[0]))
            except psycopg.errors.InsufficientPrivilege:
                assert refused
            else:
                assert not refused


@pytest.mark.parametrize("role", ["cdp_customer", "cdp_staff"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("account", "password_hash"),
        ("privacy_request", "identifiers_sealed"),
        ("privacy_request", "secret_hash"),
        ("session", "token_hash"),
        ("system", "configuration"),
        ("system", "secrets_sealed"),
    ],
)
def test_secrets_are_for_the_worker_alone(owner: psycopg.Connection, role: str, table: str, column: str):
    question = "SELECT has_column_privilege(%s, %s, %s, 'SELECT')"
    assert owner.execute(question, (role, table, column)).fetchone() == (False,)
    assert owner.execute(question, ("cdp_worker", table, column)).fetchone() == (True,)


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET code = 'x'", "DELETE FROM audit_event"])
async def test_the_log_is_never_changed(settings: Settings, statement: str):
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("SET ROLE cdp_worker")
        connection.execute(
            "INSERT INTO audit_event (id, action, outcome, actor_kind) VALUES (%s, 'test.made', 'ok', 'system')",
            (new_id(),),
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_a_consent_is_withdrawn_and_never_rewritten(owner: psycopg.Connection):
    triggers = owner.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal").fetchall()
    assert {"consent", "audit_event", "certificate"} <= {name for (name,) in triggers}


def test_declarations_are_of_the_two_kinds():
    for table in datamap.personal_tables():
        for column in table.columns:
            declared = column.info.get("datamap")
            assert declared is None or isinstance(declared, Personal | datamap.Structural)
