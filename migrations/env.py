"""Runs migrations as the owner: short lock and statement time-outs, one transaction a migration.

The URL comes from ``CDP_DATABASE_OWNER_URL``, else ``CDP_DATABASE_URL``, or from the caller through
``config.attributes["url"]``. An open connection may be handed over as ``config.attributes["connection"]``.
"""

import os

from alembic import context
from sqlalchemy import Connection, create_engine, make_url, text

from cdp.tables import metadata

config = context.config


def _url() -> str:
    url = config.attributes.get("url") or os.environ.get("CDP_DATABASE_OWNER_URL") or os.environ.get("CDP_DATABASE_URL")
    if not url:
        raise SystemExit("set CDP_DATABASE_OWNER_URL or run `cdp migrate`, which knows the embedded server")
    return str(url)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SET LOCAL statement_timeout = '15min'"))
        context.run_migrations()


def run() -> None:
    """Apply to the given connection or to a new one."""
    given = config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    engine = create_engine(make_url(_url()).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        _run(connection)
        connection.commit()
    engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    run()
