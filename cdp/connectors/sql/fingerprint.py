"""A mark of the mapped tables that changes whenever any of them does: a cheap statement instead of a whole reflection.

A database that changed must not be erased by an old map, so the mark covers all that ``schema.reflect`` reads. It is
taken in the transaction of the step itself.
"""

import hashlib
from collections.abc import Iterable

from sqlalchemy import Connection, text

from cdp.connectors.sql.database import MARIADB
from cdp.connectors.sql.mapping import Declared

# Every change of a catalogue row is a new version of it, with another xmin; statistics are updated in place.
_POSTGRES = text("""
WITH mapped AS (
    SELECT c.oid, c.relname, c.relnamespace, c.xmin FROM pg_class c
    WHERE c.relname = ANY (:names) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
), marks AS (
    SELECT 't' || current_schema() || oid || relname || relnamespace || xmin::text AS mark FROM mapped
    UNION ALL SELECT 'a' || attrelid || '.' || attnum || '.' || a.xmin::text
        FROM pg_attribute a JOIN mapped ON mapped.oid = attrelid WHERE attnum > 0
    UNION ALL SELECT 'c' || c.oid || '.' || c.xmin::text FROM pg_constraint c JOIN mapped ON mapped.oid = conrelid
    UNION ALL SELECT 'i' || indexrelid || '.' || i.xmin::text FROM pg_index i JOIN mapped ON mapped.oid = indrelid
    UNION ALL SELECT 'y' || y.oid || '.' || y.xmin::text FROM pg_type y
        WHERE y.oid IN (SELECT atttypid FROM pg_attribute a JOIN mapped ON mapped.oid = attrelid)
    UNION ALL SELECT 'e' || e.oid || '.' || e.xmin::text FROM pg_enum e
        WHERE enumtypid IN (SELECT atttypid FROM pg_attribute a JOIN mapped ON mapped.oid = attrelid)
)
SELECT md5(string_agg(mark, ',' ORDER BY mark)) FROM marks
""")
_SQLITE = text("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")


def fingerprint(connection: Connection, declared: Declared) -> str | None:
    """The mark; None where a dialect has none, so that everything is read anew."""
    match connection.dialect.name:
        case "postgresql":
            names = sorted({rule.name for rule in declared.tables})
            found = connection.scalar(_POSTGRES, {"names": names})
            return str(found) if found else None
        case "sqlite":
            return _digest(map(repr, connection.execute(_SQLITE)))
        case name if name in MARIADB:
            return _mariadb(connection, declared)
        case _:
            return None


def _mariadb(connection: Connection, declared: Declared) -> str | None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    here = str(connection.scalar(text("SELECT DATABASE()")))
    known = {
        f"{row[0]}.{row[1]}"
        for row in connection.execute(text("SELECT table_schema, table_name FROM information_schema.tables"))
    }
    places = [(rule.schema or here, rule.name) for rule in declared.tables]
    if any(f"{schema}.{name}" not in known for schema, name in places):
        return None
    shown = (
        repr(connection.exec_driver_sql(f"SHOW CREATE TABLE {quote(schema)}.{quote(name)}").first())
        for schema, name in places
    )
    return _digest(shown)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
