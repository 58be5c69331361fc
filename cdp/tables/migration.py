"""Bring a database up to the newest schema: alembic's head, then the rights of the role the application signs in as.

The migrations make the three app roles; whoever signs in as ``CDP_DATABASE_URL`` must be able to become each of them
and to inherit from none, so that forgetting ``SET ROLE`` shows nothing instead of everything.
"""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from cdp.core.db import DatabaseUnreachable, Role
from cdp.core.errors import Conflict, Forbidden

PROJECT = Path(__file__).parent.parent.parent


class MigrationRefused(Forbidden):
    """The owner of the database may not do this."""

    code = "MIGRATION_REFUSED"


class SchemaUnknown(Conflict):
    """The migrations do not fit the database: it was made by another version."""

    code = "SCHEMA_UNKNOWN"


def upgrade(owner_url: str, *, app_url: str) -> None:
    """Run every missing migration as the owner, then let the application's login role become the app roles.

    Raises MigrationRefused, with the SQL an administrator can run, when the owner lacks the right;
    DatabaseUnreachable when nobody answers; SchemaUnknown when the database is at a revision we do not have.
    """
    config = Config(PROJECT / "alembic.ini")
    config.attributes["url"] = _plain(owner_url)
    try:
        command.upgrade(config, "head")
        _let_become(owner_url, str(make_url(app_url).username))
    except CommandError as error:
        raise SchemaUnknown(f"The migrations do not fit the database: {error}") from error
    except (OperationalError, psycopg.OperationalError) as error:
        raise DatabaseUnreachable from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise _refusal(owner_url, app_url) from error
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refusal(owner_url, app_url) from error


def make_roles(owner_url: str, *, app_url: str) -> None:
    """Make the app roles that a server does not have yet, for what is restored there and names them.

    Raises MigrationRefused and DatabaseUnreachable, like ``upgrade``.
    """
    try:
        with psycopg.connect(_plain(owner_url)) as connection:
            found = connection.execute("SELECT rolname FROM pg_roles").fetchall()
            for role in Role:
                if (role.value,) not in found:
                    connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role.value)))
        _let_become(owner_url, str(make_url(app_url).username))
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refusal(owner_url, app_url) from error


def _let_become(owner_url: str, login: str) -> None:
    with psycopg.connect(_plain(owner_url)) as connection:
        for role in Role:
            question = "SELECT pg_has_role(%s, %s, 'SET')"
            row = connection.execute(question, (login, role.value)).fetchone()
            if row == (True,):
                continue
            grant = sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE")
            connection.execute(grant.format(sql.Identifier(role.value), sql.Identifier(login)))


def _refusal(owner_url: str, app_url: str) -> MigrationRefused:
    owner, login = make_url(owner_url).username, make_url(app_url).username
    lines = ["The owner may not create or grant the app roles. An administrator runs this once:"]
    for role in Role:
        lines += [
            f"  CREATE ROLE {role.value} NOLOGIN;",
            f'  GRANT {role.value} TO "{owner}" WITH ADMIN OPTION;',
        ]
        if login != owner:
            lines.append(f'  GRANT {role.value} TO "{login}" WITH INHERIT FALSE, SET TRUE;')
    return MigrationRefused("\n".join(lines))


def _plain(url: str) -> str:
    """The URL as libpq reads it, whatever driver it names."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
