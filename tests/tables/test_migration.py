"""``cdp migrate``: from empty, again, by an owner who may not create roles, and against nobody."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from cdp.core.db import DatabaseUnreachable, Role
from cdp.core.settings import Settings
from cdp.tables.migration import MigrationRefused, SchemaUnknown, upgrade
from tests.conftest import drop_database


@dataclass(frozen=True)
class Modest:
    """A database whose owner may not create roles, and the login role of an application."""

    administrator_url: str
    owner_url: str
    app_url: str


def _url(base: str, user: str, database: str) -> str:
    url = make_url(base).set(username=user, password=user, database=database)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def modest(other_postgres_url: str) -> Iterator[Modest]:
    suffix = secrets.token_hex(4)
    owner, app, database = f"owner_{suffix}", f"app_{suffix}", f"modest_{suffix}"
    with psycopg.connect(other_postgres_url, autocommit=True) as connection:
        for role in (owner, app):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(role))
            )
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(owner)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
        )
        yield Modest(
            other_postgres_url, _url(other_postgres_url, owner, database), _url(other_postgres_url, app, database)
        )
        drop_database(connection, database)


def test_an_owner_who_may_not_create_roles_gets_the_sql_to_hand_on(modest: Modest):
    with pytest.raises(MigrationRefused) as refused:
        upgrade(modest.owner_url, app_url=modest.app_url)
    advice = [line.strip() for line in refused.value.message.splitlines() if line.endswith(";")]
    with psycopg.connect(modest.administrator_url, autocommit=True) as administrator:
        known = {row[0] for row in administrator.execute("SELECT rolname FROM pg_roles")}
        for statement in advice:
            if statement.startswith("CREATE ROLE") and statement.split()[2] in known:
                continue
            administrator.execute(statement)
    upgrade(modest.owner_url, app_url=modest.app_url)
    upgrade(modest.owner_url, app_url=modest.app_url)
    with psycopg.connect(modest.app_url, autocommit=True) as app:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SELECT * FROM customer")
        for role in Role:
            app.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role.value)))
            assert app.execute("SELECT count(*) FROM customer").fetchone() == (0,)


def test_the_url_of_another_driver_is_understood(other_postgres_url: str):
    """A bare ``postgresql://`` and SQLAlchemy's names of drivers mean the same server."""
    url = make_url(other_postgres_url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    upgrade(url, app_url=url)
    with psycopg.connect(other_postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_a_database_of_a_newer_version_is_left_alone(fresh_settings: Settings):
    with psycopg.connect(fresh_settings.database_owner_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fromtomorrow'")
    with pytest.raises(SchemaUnknown, match="fromtomorrow"):
        upgrade(fresh_settings.database_owner_url, app_url=fresh_settings.database_url)


def test_an_unreachable_database_is_said_without_its_password():
    url = "postgresql://cdp:opensesame@127.0.0.1:9/cdp"
    with pytest.raises(DatabaseUnreachable) as refused:
        upgrade(url, app_url=url)
    assert "opensesame" not in str(refused.value)
