"""What stands around the mapped tables and would keep a copy: refused at registration, until it is declared."""

from copy import deepcopy
from typing import Any

import pytest

from cdp.connectors.base import State
from cdp.connectors.registry import problems
from tests.connectors import shop
from tests.connectors.conformance import steps
from tests.connectors.test_sql import Shop, either_shop, mariadb_shop, postgres_shop, sqlite_shop, system_for

__all__ = ["either_shop", "mariadb_shop", "postgres_shop", "sqlite_shop"]

PAST = "CREATE TABLE past (client_id INTEGER, was VARCHAR(120))"
COPYING = {
    "sqlite": "CREATE TRIGGER copying AFTER DELETE ON client BEGIN INSERT INTO past VALUES (old.id, old.Email); END",
    "mariadb": "CREATE TRIGGER copying AFTER DELETE ON client FOR EACH ROW "
    "INSERT INTO `past` VALUES (old.id, old.Email)",
    "postgresql": "CREATE FUNCTION copying() RETURNS trigger LANGUAGE plpgsql AS "
    '$$ BEGIN INSERT INTO public.past VALUES (old.id, old."Email"); RETURN old; END $$; '
    "CREATE TRIGGER copying AFTER DELETE ON client FOR EACH ROW EXECUTE FUNCTION copying()",
}


def execute(where: Shop, *statements: str) -> None:
    with where.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


async def found(where: Shop, mapping: Any = shop.MAPPING) -> list[str]:
    """Codes of what is wrong with a mapping of the shop."""
    return [one.code for one in await problems(system_for(where.platform, where.url, mapping), where.platform)]


def unrelated(*names: str) -> Any:
    return {**shop.MAPPING, "unrelated": list(names)}


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("CREATE TABLE lucky_draw (email VARCHAR(120), prize INTEGER)", "IDENTITY_UNDECLARED"),
        ("CREATE TABLE lucky_draw (ledger_id INTEGER REFERENCES ledger (id), prize INTEGER)", "REFERENCE_UNDECLARED"),
    ],
    ids=["namesake", "points to kept rows"],
)
async def test_a_table_nobody_thought_of(either_shop: Shop, table: str, code: str) -> None:
    execute(either_shop, table)
    assert await found(either_shop) == [code]
    assert await found(either_shop, unrelated("lucky_draw")) == []


async def test_a_table_of_another_schema(postgres_shop: Shop) -> None:
    execute(postgres_shop, "DROP SCHEMA IF EXISTS elsewhere CASCADE", "CREATE SCHEMA elsewhere")
    execute(postgres_shop, 'CREATE TABLE elsewhere.lucky_draw ("E-Mail" text, email text)')
    assert await found(postgres_shop) == ["IDENTITY_UNDECLARED"]
    assert await found(postgres_shop, unrelated("elsewhere.lucky_draw")) == []
    execute(postgres_shop, "DROP SCHEMA elsewhere CASCADE")


async def test_a_trigger_that_keeps_what_goes(either_shop: Shop) -> None:
    execute(either_shop, PAST, COPYING[either_shop.url.get_backend_name()])
    assert await found(either_shop) == ["COPY_UNDECLARED"]
    assert await found(either_shop, unrelated("past")) == []
    mapping = deepcopy(shop.MAPPING)
    reference = {"columns": ["client_id"], "table": "client", "keys": ["id"]}
    mapping["tables"].append({"name": "past", "rows": "delete", "references": [reference]})
    assert await found(either_shop, mapping) == []
    bystander, subject = await either_shop.person(), await either_shop.person()
    others = await either_shop.held(bystander)
    check, erase, verify = await steps(either_shop.connect_to(either_shop.url, mapping), subject)
    assert (check.state, erase.state, verify.state) == (State.DONE,) * 3
    with either_shop.engine.begin() as connection:
        assert list(connection.exec_driver_sql("SELECT * FROM past")) == []
    assert not await either_shop.held(subject)
    assert await either_shop.held(bystander) == others


async def test_a_view_that_keeps_a_copy(postgres_shop: Shop) -> None:
    execute(postgres_shop, "CREATE MATERIALIZED VIEW clients AS SELECT id AS number FROM client")
    execute(postgres_shop, "CREATE VIEW only_looks AS SELECT * FROM client")
    assert await found(postgres_shop) == ["COPY_UNDECLARED"]
    assert await found(postgres_shop, unrelated("clients")) == []


async def test_the_parts_of_a_table_are_mapped_with_it(postgres_shop: Shop) -> None:
    execute(
        postgres_shop,
        "CREATE TABLE click (client_id int REFERENCES client (id), email text, day int) PARTITION BY RANGE (day)",
        "CREATE TABLE click_1 PARTITION OF click FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (day)",
        "CREATE TABLE click_1_1 PARTITION OF click_1 FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE click_2 PARTITION OF click FOR VALUES FROM (10) TO (20)",
    )
    reference = {"columns": ["client_id"], "table": "client", "keys": ["id"]}
    clicks = {"name": "click", "rows": "delete", "references": [reference]}
    mapping = {"tables": [*shop.MAPPING["tables"], clicks]}
    assert await found(postgres_shop, mapping) == []
    bystander, subject = await postgres_shop.person(), await postgres_shop.person()
    mark, other = shop.mark_of(subject), shop.mark_of(bystander)
    for one in (mark, other):
        for day in (3, 12):
            row = f'SELECT id, lower("Email"), {day} FROM client WHERE "Email" LIKE \'%%{one}%%\''
            execute(postgres_shop, f"INSERT INTO click {row}")
    outcomes = await steps(postgres_shop.connect_to(postgres_shop.url, mapping), subject)
    assert [outcome.state for outcome in outcomes] == [State.DONE] * 3
    with postgres_shop.engine.begin() as connection:
        left = [row[0] for row in connection.exec_driver_sql("SELECT email FROM click")]
    assert [other in one for one in left] == [True, True]
