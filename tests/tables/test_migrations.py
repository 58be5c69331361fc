"""Migrations: one line of versions, up and down from empty, equal to the tables, and independent of the code."""

import ast
import re
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url

from cdp.core.settings import Settings
from cdp.tables import metadata

PROJECT = Path(__file__).parents[2]
VERSIONS = sorted((PROJECT / "migrations" / "versions").glob("*.py"))
LEFT = """
SELECT 'table ' || tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname LIKE 'cdp%%'
UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
   AND typtype = 'e'
UNION ALL SELECT 'sequence ' || sequencename FROM pg_sequences WHERE schemaname = 'public'
"""


def _config(settings: Settings) -> Config:
    config = Config(PROJECT / "alembic.ini")
    url = make_url(settings.database_owner_url).set(drivername="postgresql")
    config.attributes["url"] = url.render_as_string(hide_password=False)
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(Config(PROJECT / "alembic.ini"))


def _picture(settings: Settings) -> list[tuple[str, ...]]:
    """Columns, constraints, indexes, policies, triggers and rights of the database."""
    with psycopg.connect(settings.database_owner_url) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')"
            "  FROM information_schema.columns WHERE table_schema = 'public'"
            " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''"
            "  FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT tablename, policyname, coalesce(qual, ''), coalesce(with_check, ''), roles::text"
            "  FROM pg_policies"
            " UNION ALL SELECT table_name, grantee, privilege_type, column_name, ''"
            "  FROM information_schema.column_privileges WHERE grantee LIKE 'cdp%'"
            " UNION ALL SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', ''"
            "  FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()


def test_there_is_one_head_and_one_base():
    scripts = _scripts()
    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1


@pytest.mark.filterwarnings("ignore:Expression #1:UserWarning")  # alembic compares no operator class; see below
def test_the_database_is_what_the_tables_say(fresh_settings: Settings):
    engine = create_engine(make_url(fresh_settings.database_owner_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        search = [row for row in _picture(fresh_settings) if row[1] == "customer_search_name_idx"]
        assert "gin (lower(" in search[0][2]
        assert "gin_trgm_ops" in search[0][2]
    engine.dispose()
    command.check(_config(fresh_settings))


def test_down_to_nothing_and_up_again_is_the_same(fresh_settings: Settings):
    config = _config(fresh_settings)
    before = _picture(fresh_settings)
    command.downgrade(config, "base")
    with psycopg.connect(fresh_settings.database_owner_url) as connection:
        assert connection.execute(LEFT).fetchall() == []
    command.upgrade(config, "head")
    assert _picture(fresh_settings) == before


def test_every_single_step_goes_down_and_up(fresh_settings: Settings):
    config = _config(fresh_settings)
    for script in _scripts().walk_revisions():
        before = _picture(fresh_settings)
        below = script.down_revision or "base"
        command.downgrade(config, str(below))
        command.upgrade(config, script.revision)
        assert _picture(fresh_settings) == before, f"{script.revision} does not come back as it was"
        command.downgrade(config, str(below))


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_version_stands_alone(path: Path):
    assert re.fullmatch(r"\d{4}_\d{2}_\d{2}_\d{4}_[a-z0-9_]+", path.stem)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [module for module in modules if module.split(".")[0] == "cdp"]
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"upgrade", "downgrade"} <= functions
