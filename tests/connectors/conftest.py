"""Databases that connector tests may empty as they like: one of the second Postgres server, and a MariaDB."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from tests.mariadb import mariadb


@pytest.fixture(scope="session")
def foreign_postgres_url(other_postgres_url: str) -> str:
    """URL of an own database on the second server, as its owner."""
    name = "connectors"
    plain = make_url(other_postgres_url).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return plain.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """URL of an own database on a MariaDB started for it."""
    with mariadb() as url:
        yield url
