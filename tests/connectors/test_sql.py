"""The sql kind, on SQLite, a second Postgres server and MariaDB: the suite, and what only databases can do wrong."""

import json
import re
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, inspect, make_url, select, text

from cdp.connectors.base import Change, Code, ConfigurationInvalid, Connector, State, Subject, System, Updates
from cdp.connectors.registry import connect, problems
from cdp.core.ids import SystemId, new_id
from cdp.core.platform import Platform
from tests import peers
from tests.connectors import shop
from tests.connectors.conformance import SearchingConformance, key_of, records_of, steps, stranger_like


def system_for(platform: Platform, url: URL, mapping: Any, **configuration: Any) -> System:
    """A system row whose password, if any, is sealed."""
    system_id = SystemId(new_id())
    sealed = None
    if url.password:
        sealed = platform.sealer.seal(json.dumps({"password": url.password}).encode(), f"system:{system_id}")
        url = url._replace(password=None)
    plain = {"url": url.render_as_string(), "mapping": mapping, **configuration}
    return System(system_id, "shop", "sql", plain, sealed)


class Shop:
    """The shop in one database."""

    def __init__(self, platform: Platform, url: URL, engine: Engine) -> None:
        self.platform, self.url, self.engine = platform, url, engine
        self.connector = self.connect_to(url)

    def connect_to(self, url: URL, mapping: Any = shop.MAPPING) -> Connector:
        return connect(system_for(self.platform, url, mapping), self.platform)

    async def person(self) -> Subject:
        with self.engine.begin() as connection:
            return shop.move_in(connection)

    async def unreachable(self) -> Connector:
        elsewhere = {
            "sqlite": {"database": "/nowhere/shop.sqlite"},
            "postgresql": {"host": "127.0.0.1", "port": 1, "query": {}},
            "mariadb": {"host": "127.0.0.1", "port": 1, "query": {}},
        }
        return self.connect_to(self.url.set(**elsewhere[self.url.get_backend_name()]))

    async def everything(self) -> object:
        with self.engine.begin() as connection:
            return shop.everything(connection)

    async def held(self, subject: Subject) -> list[str]:
        mark = shop.mark_of(subject)
        with self.engine.begin() as connection:
            found = shop.everything(connection)
        return [repr(row) for rows in found.values() for row in rows if mark in repr(row).lower()]

    async def come_back(self, subject: Subject) -> None:
        with self.engine.begin() as connection:
            lines = select(shop.ledger.c.id).where(shop.ledger.c.name == "erased").order_by(shop.ledger.c.id)
            for ledger_id in connection.scalars(lines):
                known = {"ledger_id": ledger_id, "position": 99}
                connection.execute(shop.ledger_line.insert().values(**known, remark="They called again"))

    def texts(self, subject: Subject) -> list[str]:
        mark = shop.mark_of(subject)
        return [
            f"Zoë {mark}",
            f"Street {mark}",
            f"/for/{mark}",
            f"To {mark}",
            f"DE00 {mark}",
            f"Zoe.{mark}@Example.com",
        ]


@pytest.fixture
def sqlite_shop(tmp_path: Path, platform: Platform) -> Shop:
    url = make_url(f"sqlite:///{tmp_path}/shop.sqlite")
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        shop.metadata.create_all(connection)
        peers.took_part(f"sqlite {connection.scalar(text('SELECT sqlite_version()'))}")
    return Shop(platform, url, engine)


@pytest.fixture
def postgres_shop(foreign_postgres_url: str, platform: Platform) -> Shop:
    url = make_url(foreign_postgres_url).set(drivername="postgresql")
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        shop.metadata.create_all(connection)
    return Shop(platform, url, engine)


@pytest.fixture
def mariadb_shop(mariadb_url: str, platform: Platform) -> Shop:
    url = make_url(mariadb_url)
    engine = create_engine(url.set(drivername="mariadb+pymysql"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SET foreign_key_checks = 0"))
        for name in inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE `{name}`")
        connection.execute(text("SET foreign_key_checks = 1"))
        shop.metadata.create_all(connection)
    return Shop(platform, url, engine)


class TestSqlite(SearchingConformance):
    @pytest.fixture
    async def harness(self, sqlite_shop: Shop) -> Shop:
        return sqlite_shop


class TestPostgres(SearchingConformance):
    @pytest.fixture
    async def harness(self, postgres_shop: Shop) -> Shop:
        return postgres_shop


class TestMariadb(SearchingConformance):
    @pytest.fixture
    async def harness(self, mariadb_shop: Shop) -> Shop:
        return mariadb_shop


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def either_shop(request: pytest.FixtureRequest) -> Shop:
    """The shop on each database in turn."""
    return request.getfixturevalue(f"{request.param}_shop")


async def _refused(harness: Shop, code: str, state: State = State.FAILED) -> None:
    """An erasure ends in this code and leaves no trace; a bystander's rows are part of the picture."""
    await harness.person()
    subject = await harness.person()
    before = await harness.everything()
    outcome = await harness.connector.erase(subject, key_of(subject, "erase"))
    assert (outcome.state, outcome.code) == (state, code)
    assert await harness.everything() == before


DEAF = {
    "sqlite": {
        "delete": "CREATE TRIGGER deaf BEFORE DELETE ON visit BEGIN SELECT RAISE(IGNORE); END",
        "update": "CREATE TRIGGER deaf BEFORE UPDATE ON ledger_line BEGIN SELECT RAISE(IGNORE); END",
        "undo": "CREATE TRIGGER deaf AFTER UPDATE OF street ON parcel WHEN new.street IS NULL "
        "BEGIN UPDATE parcel SET street = old.street WHERE id = old.id; END",
    },
    "postgresql": {
        "delete": "CREATE RULE deaf AS ON DELETE TO visit DO INSTEAD NOTHING",
        "update": "CREATE RULE deaf AS ON UPDATE TO ledger_line DO INSTEAD NOTHING",
        "undo": "CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN new.street := old.street; RETURN new; END $$; "
        "CREATE TRIGGER deaf BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION deaf()",
    },
    "mariadb": {
        "delete": "CREATE TRIGGER deaf AFTER DELETE ON client FOR EACH ROW "
        "INSERT INTO visit VALUES (old.Email, 'again');"
        "CREATE TRIGGER dumb AFTER DELETE ON visit FOR EACH ROW "
        "INSERT IGNORE INTO client (Email, `full name`) VALUES (old.who, 'again')",
        "update": "CREATE TRIGGER deaf BEFORE UPDATE ON ledger_line FOR EACH ROW SET new.remark = old.remark",
        "undo": "CREATE TRIGGER deaf BEFORE UPDATE ON parcel FOR EACH ROW SET new.street = old.street",
    },
}


async def test_who_differs_by_an_accent_or_a_blank_is_somebody_else(mariadb_shop: Shop) -> None:
    subject = await mariadb_shop.person()
    email = next(known.value for known in subject.identifiers if known.type == "email")
    like = {"accent": email.replace("e", "é", 1), "blank": f"{email} "}
    with mariadb_shop.engine.begin() as connection:
        for visitor in like.values():
            connection.execute(shop.visit.insert().values(who=visitor, page="/theirs"))
    assert (await steps(mariadb_shop.connector, subject))[2].state is State.DONE
    with mariadb_shop.engine.begin() as connection:
        assert {row.who for row in connection.execute(select(shop.visit))} == {*like.values()}


async def test_a_table_that_can_not_undo_is_refused(mariadb_shop: Shop) -> None:
    with mariadb_shop.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE visit ENGINE = MyISAM")
    assert [problem.code for problem in await mariadb_shop.connector.probe()] == ["NOT_TRANSACTIONAL"]
    await _refused(mariadb_shop, "MAPPING_MISMATCH")


async def test_rows_reached_through_a_column_that_is_set_null_go_too(mariadb_shop: Shop) -> None:
    subject = await mariadb_shop.person()
    check, erase, verify = await steps(mariadb_shop.connector, subject)
    assert check.records["thread"] == erase.records["thread"] == 4
    assert not check.records.keys() & {kept.collection for kept in check.retained}
    assert check.evidence["tables"] == erase.evidence["tables"]
    assert verify.state is State.DONE
    assert not await mariadb_shop.held(subject)


@pytest.mark.parametrize("way", ["delete", "update", "undo"])
async def test_a_database_that_does_not_do_what_it_says_is_found_out(either_shop: Shop, way: str) -> None:
    with either_shop.engine.begin() as connection:
        for statement in re.split(r"(?<=\));(?=CREATE)", DEAF[either_shop.url.get_backend_name()][way]):
            connection.exec_driver_sql(statement)
    await _refused(either_shop, "LEFT_BEHIND")


async def test_a_column_that_appears_later_stops_the_erasure(either_shop: Shop) -> None:
    with either_shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ledger ADD COLUMN nickname TEXT"))
    await _refused(either_shop, "MAPPING_MISMATCH")
    subject = await either_shop.person()
    for outcome in await steps(either_shop.connector, subject):
        assert outcome.evidence == {"problems": ["COLUMN_UNDECIDED"]}


async def test_a_foreign_key_nobody_declared_stops_the_erasure_and_the_registration(either_shop: Shop) -> None:
    with either_shop.engine.begin() as connection:
        connection.execute(text("CREATE TABLE secret_club (client_id INTEGER REFERENCES client (id))"))
    assert [p.code for p in await either_shop.connector.probe()] == ["REFERENCE_UNDECLARED"]
    subject = await either_shop.person()
    with either_shop.engine.begin() as connection:
        connection.execute(text("INSERT INTO secret_club SELECT max(id) FROM client"))
    before = await either_shop.everything()
    outcome = await either_shop.connector.erase(subject, key_of(subject, "erase"))
    assert (outcome.state, outcome.code) == (State.FAILED, "CONSTRAINT")
    assert await either_shop.everything() == before


async def test_a_locked_database_is_asked_again(either_shop: Shop) -> None:
    subject = await either_shop.person()
    connector = connect(
        system_for(either_shop.platform, either_shop.url, shop.MAPPING, timeout_s=1), either_shop.platform
    )
    raw = either_shop.engine.raw_connection()
    try:
        locking = {
            "sqlite": "BEGIN IMMEDIATE",
            "postgresql": "LOCK TABLE client IN ACCESS EXCLUSIVE MODE",
            "mariadb": "SELECT * FROM client FOR UPDATE",
        }
        raw.cursor().execute(locking[either_shop.url.get_backend_name()])
        outcome = await connector.erase(subject, key_of(subject, "erase"))
        assert (outcome.state, outcome.code) == (State.RETRY, "BUSY")
    finally:
        raw.rollback()
        raw.close()
    assert (await connector.erase(subject, key_of(subject, "erase"))).state is State.DONE


async def test_tombstones_are_found_only_with_the_secret_of_their_request(either_shop: Shop) -> None:
    subject = await either_shop.person()
    assert (await steps(either_shop.connector, subject))[2].retained[0].collection == "ledger"
    later = replace(subject, secret=b"the secret of another request")
    assert (await either_shop.connector.check(later, "k")).code == "NOTHING_FOUND"
    with either_shop.engine.begin() as connection:
        payer, phone, iban, token = connection.execute(
            select(shop.ledger.c.payer, shop.ledger.c.phone, shop.ledger.c.iban, shop.ledger.c.token)
        ).one()
    assert (payer[:7], len(payer)) == ("erased-", 39)
    assert (phone[:7], len(phone)) == ("erased-", 30)
    assert (iban[:7], token[:7]) == ("hashed-", "random-")


@pytest.mark.parametrize("column", ["iban", "token"])
async def test_what_only_begins_like_a_hash_of_ours_is_cut_too(either_shop: Shop, column: str) -> None:
    subject = await either_shop.person()
    mark = shop.mark_of(subject)
    prefix = {"iban": "hashed-", "token": "random-"}[column]
    with either_shop.engine.begin() as connection:
        connection.execute(shop.ledger.update().values({column: f"{prefix}walker-{mark}@example.com"}))
    assert (await steps(either_shop.connector, subject))[2].state is State.DONE
    assert not await either_shop.held(subject)


async def test_an_address_in_a_text_that_is_preserved_is_left_behind(either_shop: Shop) -> None:
    """Somebody wrote it where the mapping expects nothing about anybody."""
    bystander, subject = await either_shop.person(), await either_shop.person()
    mapping = changed(lambda t: t["ledger_line"]["columns"].update(remark="preserve"))
    connector = either_shop.connect_to(either_shop.url, mapping)
    assert await connector.probe() == ()
    assert (await steps(connector, bystander))[2].state is State.DONE
    said = f"Ask {subject.identifiers[0].value.title()}!"
    with either_shop.engine.begin() as connection:
        connection.execute(shop.ledger_line.update().where(shop.ledger_line.c.position == 1).values(remark=said))
    before = await either_shop.everything()
    outcome = await connector.erase(subject, key_of(subject, "erase"))
    assert (outcome.state, outcome.code, outcome.records) == (State.FAILED, "LEFT_BEHIND", {"ledger_line": 1})
    assert await either_shop.everything() == before
    assert (await steps(either_shop.connector, subject))[2].state is State.DONE


@pytest.mark.parametrize("elsewhere", ["postgres", "mariadb"])
async def test_all_databases_make_the_same_tombstones(
    sqlite_shop: Shop, request: pytest.FixtureRequest, elsewhere: str
) -> None:
    other_shop: Shop = request.getfixturevalue(f"{elsewhere}_shop")
    subject = await sqlite_shop.person()
    with sqlite_shop.engine.begin() as one, other_shop.engine.begin() as other:
        for table in shop.metadata.sorted_tables:
            rows = [dict(row) for row in one.execute(select(table)).mappings()]
            if table.name == "client":
                rows = [{**row, "favourite_card_id": None} for row in rows]
            other.execute(table.insert(), rows)
    system = system_for(sqlite_shop.platform, sqlite_shop.url, shop.MAPPING)
    found = []
    for where in (sqlite_shop, other_shop):
        sealed = system_for(where.platform, where.url, shop.MAPPING)
        same = replace(sealed, id=system.id, secrets_sealed=None)
        if where.url.password:
            secrets = json.dumps({"password": where.url.password}).encode()
            same = replace(same, secrets_sealed=where.platform.sealer.seal(secrets, same.seal_context))
        assert (await connect(same, where.platform).erase(subject, "k")).state is State.DONE
        with where.engine.begin() as connection:
            found.append(connection.execute(select(shop.ledger.c.payer, shop.ledger.c.phone, shop.ledger.c.iban)).one())
    assert found[0] == found[1]


async def test_a_shared_number_reaches_its_other_owner_only_when_verified(either_shop: Shop) -> None:
    subject, neighbour = await either_shop.person(), await either_shop.person()
    email, phone = subject.identifiers
    borrowed = replace(neighbour.identifiers[1], verified=False)
    before = await either_shop.held(neighbour)
    outcomes = await steps(either_shop.connector, replace(subject, identifiers=(email, phone, borrowed)))
    assert await either_shop.held(neighbour) == before
    assert [outcome.evidence["unproven"] for outcome in outcomes] == [["phone"]] * 3


async def test_rows_hidden_by_row_level_security_are_not_taken_for_erased(postgres_shop: Shop) -> None:
    subject = await postgres_shop.person()
    with postgres_shop.engine.begin() as connection:
        connection.exec_driver_sql(
            "DO $$ BEGIN CREATE ROLE clerk LOGIN PASSWORD 'clerk'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; "
            "GRANT USAGE ON SCHEMA public TO clerk; "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk; "
            "ALTER TABLE client ENABLE ROW LEVEL SECURITY; CREATE POLICY nothing ON client USING (false)"
        )
    clerk = postgres_shop.connect_to(postgres_shop.url.set(username="clerk", password="clerk"))
    for outcome in await steps(clerk, subject):
        assert (outcome.state, outcome.code) == (State.FAILED, "NOT_ALLOWED")
    assert [p.code for p in await clerk.probe()] == ["NOT_ALLOWED"]


async def test_a_wrong_password_is_not_retried_for_ever(postgres_shop: Shop) -> None:
    subject = await postgres_shop.person()
    wrong = postgres_shop.connect_to(postgres_shop.url.set(password="wrong"))
    for outcome in await steps(wrong, subject):
        assert outcome.state in {State.FAILED, State.RETRY}
        assert outcome.state is not State.DONE
    assert [p.code for p in await wrong.probe()] != []


@pytest.mark.parametrize(
    ("make", "state", "code"),
    [
        (lambda path: path.write_bytes(b"this is no database at all" * 100), State.FAILED, "MISCONFIGURED"),
        (lambda path: path.unlink(), State.RETRY, "UNREACHABLE"),
        (
            lambda path: sqlite3.connect(path).execute("DROP TABLE visit").connection.close(),
            State.FAILED,
            "MAPPING_MISMATCH",
        ),
    ],
    ids=["garbage", "missing", "table dropped"],
)
async def test_another_file_in_its_place_is_never_taken_for_an_empty_shop(
    sqlite_shop: Shop, make: Callable[[Path], object], state: State, code: str
) -> None:
    subject = await sqlite_shop.person()
    path = Path(str(sqlite_shop.url.database))
    make(path)
    for outcome in await steps(sqlite_shop.connector, subject):
        assert (outcome.state, outcome.code) == (state, code)
    assert [found.name for found in path.parent.glob("shop.sqlite")] == (
        [] if code == "UNREACHABLE" else ["shop.sqlite"]
    )


async def test_a_reader_who_stops_early_leaves_nothing_open(either_shop: Shop) -> None:
    subject = await either_shop.person()
    pages = either_shop.connector.read(subject, "k")
    async for page in pages:
        assert page.records
        break
    await pages.aclose()  # type: ignore[attr-defined]
    assert (await either_shop.connector.erase(subject, "k")).state is State.DONE
    assert await records_of(either_shop.connector, subject) == {}


def changed(change: Callable[[dict[str, Any]], object]) -> Any:
    """The shop's mapping with one change; its tables by name."""
    mapping = deepcopy(shop.MAPPING)
    change({table["name"]: table for table in mapping["tables"]} | {"tables": mapping["tables"]})
    return mapping


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "no such table": (lambda t: t["card"].update(name="cards"), "TABLE_MISSING", "mapping.tables[1]"),
    "no such column": (
        lambda t: t["client"]["identities"][0].update(column="Emial"),
        "COLUMN_MISSING",
        "mapping.tables[0].identities[0]",
    ),
    "no such key": (
        lambda t: t["card"]["references"][0].update(keys=["number"]),
        "COLUMN_MISSING",
        "mapping.tables[1].references[0]",
    ),
    "since of no column": (
        lambda t: t["ledger"]["retention"].update(since="booked"),
        "COLUMN_MISSING",
        "mapping.tables[5].retention.since",
    ),
    "reference to nowhere": (
        lambda t: t["card"]["references"][0].update(table="clients"),
        "REFERENCE_UNRESOLVED",
        "mapping.tables[1].references[0]",
    ),
    "reference of unequal length": (
        lambda t: t["card"]["references"][0].update(columns=["client_id", "id"]),
        "REFERENCE_UNRESOLVED",
        "mapping.tables[1].references[0]",
    ),
    "nothing leads there": (lambda t: t["visit"].pop("references"), "TABLE_UNREACHED", "mapping.tables"),
    "nobody can be found": (
        lambda t: (t["client"].pop("identities"), t["ledger"].pop("identities")),
        "NO_IDENTITY",
        "mapping.tables",
    ),
    "twice": (lambda t: t["tables"].append(deepcopy(t["card"])), "TABLE_TWICE", "mapping.tables[7]"),
    "undecided": (lambda t: t["ledger"]["columns"].pop("iban"), "COLUMN_UNDECIDED", "mapping.tables[5].columns.iban"),
    "kept without a law": (lambda t: t["parcel"].pop("retention"), "BASIS_MISSING", "mapping.tables[4].retention"),
    "kept and deleted": (
        lambda t: t["card"].update(columns={"holder": "null"}),
        "DELETED_AND_KEPT",
        "mapping.tables[1]",
    ),
    "years without since": (
        lambda t: t["ledger"]["retention"].pop("since"),
        "VALUE_INVALID",
        "mapping.tables[5].retention",
    ),
    "not nullable": (
        lambda t: t["ledger"]["columns"].update(name="null"),
        "NOT_NULLABLE",
        "mapping.tables[5].columns.name",
    ),
    "constant on a unique column": (
        lambda t: t["ledger"]["columns"].update(token={"strategy": "constant", "value": "x"}),
        "COLUMN_UNIQUE",
        "mapping.tables[5].columns.token",
    ),
    "constant of another type": (
        lambda t: t["ledger"]["columns"].update(amount={"strategy": "constant", "value": "x"}),
        "COLUMN_TYPE",
        "mapping.tables[5].columns.amount",
    ),
    "constant too long": (
        lambda t: t["ledger"]["columns"].update(name={"strategy": "constant", "value": "x" * 41}),
        "COLUMN_TYPE",
        "mapping.tables[5].columns.name",
    ),
    "constant without a value": (
        lambda t: t["ledger"]["columns"].update(name="constant"),
        "VALUE_INVALID",
        "mapping.tables[5].columns.name",
    ),
    "hash of a number": (
        lambda t: t["ledger"]["columns"].update(amount="hash"),
        "COLUMN_TYPE",
        "mapping.tables[5].columns.amount",
    ),
    "normalised number": (
        lambda t: t["ledger"]["identities"].append({"type": "customer_number", "column": "id", "normalise": "digits"}),
        "COLUMN_TYPE",
        "mapping.tables[5].identities[2]",
    ),
    "primary key changed": (
        lambda t: t["parcel"]["columns"].update(id="random"),
        "KEY_CHANGED",
        "mapping.tables[4].columns.id",
    ),
    "foreign key to what goes": (
        lambda t: t["parcel"]["columns"].update(client_id="preserve"),
        "KEY_CHANGED",
        "mapping.tables[4].columns.client_id",
    ),
    "foreign key to a constant": (
        lambda t: t["parcel"]["columns"].update(client_id={"strategy": "constant", "value": 1}),
        "KEY_CHANGED",
        "mapping.tables[4].columns.client_id",
    ),
    "kept rows nobody can find": (
        lambda t: t["ledger"]["columns"].update(payer={"strategy": "constant", "value": "erased"}),
        "NOT_FINDABLE",
        "mapping.tables[5].identities[0]",
    ),
    "an address that stays": (
        lambda t: t["ledger"]["columns"].update(payer="preserve"),
        "IDENTITY_KEPT",
        "mapping.tables[5].identities[0]",
    ),
    "unknown strategy": (
        lambda t: t["ledger"]["columns"].update(name="shred"),
        "VALUE_UNKNOWN",
        "mapping.tables[5].columns.name.strategy",
    ),
    "unknown field": (lambda t: t["card"].update(rwos="keep"), "FIELD_UNKNOWN", "mapping.tables[1].rwos"),
    "missing field": (lambda t: t["card"].pop("rows"), "FIELD_MISSING", "mapping.tables[1].rows"),
    "unknown identifier": (
        lambda t: t["client"]["identities"][0].update(type="shoe_size"),
        "VALUE_UNKNOWN",
        "mapping.tables[0].identities[0].type",
    ),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_a_mapping_that_would_end_in_a_false_success_is_refused(either_shop: Shop, case: str) -> None:
    change, code, at = WRONG[case]
    await either_shop.person()
    before = await either_shop.everything()
    found = await problems(system_for(either_shop.platform, either_shop.url, changed(change)), either_shop.platform)
    assert (code, at) in [(problem.code, problem.at) for problem in found]
    assert all(problem.message for problem in found)
    assert await either_shop.everything() == before


async def test_a_ring_of_foreign_keys_that_nothing_loosens_is_refused(postgres_shop: Shop) -> None:
    with postgres_shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE client ALTER favourite_card_id SET NOT NULL"))
    assert [p.code for p in await postgres_shop.connector.probe()] == ["CYCLE_UNBREAKABLE"]
    with postgres_shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE client ALTER CONSTRAINT client_card DEFERRABLE"))
    assert await postgres_shop.connector.probe() == ()


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({"url": "nonsense"}, "VALUE_INVALID"),
        ({"url": "postgresql://u:word@localhost/shop"}, "SECRET_IN_CONFIGURATION"),
        ({"url": "sqlite:////shop.sqlite", "timeout_s": 0}, "VALUE_INVALID"),
        ({"url": "sqlite:////shop.sqlite", "pool": 3}, "VALUE_INVALID"),
        ({}, "VALUE_INVALID"),
        ({"url": "telegraph://localhost/shop"}, "DRIVER_MISSING"),
        ({"url": "oracle://localhost/shop"}, "DRIVER_MISSING"),
    ],
    ids=str,
)
async def test_a_configuration_that_can_not_work_is_refused(platform: Platform, configuration: Any, code: str) -> None:
    system = System(SystemId(new_id()), "shop", "sql", {"mapping": shop.MAPPING, **configuration})
    assert {problem.code for problem in await problems(system, platform)} == {code}


@pytest.mark.parametrize("mapping", [None, [], {}, {"tables": []}, {"tables": [7]}, "x"], ids=str)
async def test_a_mapping_of_another_shape_is_refused(platform: Platform, mapping: Any) -> None:
    system = System(SystemId(new_id()), "shop", "sql", {"url": "sqlite:////shop.sqlite", "mapping": mapping})
    with pytest.raises(ConfigurationInvalid) as refused:
        connect(system, platform)
    assert all(problem.at.startswith("mapping") for problem in refused.value.problems)


CORRECTS: dict[str, dict[str, str]] = {
    "client": {"full name": "Customer.familyName"},
    "parcel": {"street": "PostalAddress.line1"},
    "ledger": {"name": "Customer.familyName"},
    "ledger_line": {"remark": "Inquiry.subject"},
}


def correcting(harness: Shop, corrects: dict[str, dict[str, str]] = CORRECTS) -> Updates:
    """The shop, some of whose columns take corrections."""
    mapping = deepcopy(shop.MAPPING)
    for table in mapping["tables"]:
        table["corrects"] = corrects.get(table["name"], {})
    connector = harness.connect_to(harness.url, mapping)
    assert isinstance(connector, Updates)
    return connector


async def test_a_correction_reaches_the_persons_rows_alone(either_shop: Shop) -> None:
    """Somebody else who says the same keeps saying it; done again, or for a stranger, nothing is found."""
    subject, bystander = await either_shop.person(), await either_shop.person()
    with either_shop.engine.begin() as connection:
        connection.execute(shop.client.update().values({"full name": "Jo"}))
        connection.execute(shop.ledger.update().values(name="Jo"))
    connector, key = correcting(either_shop), key_of(subject, "update")
    before = await either_shop.held(bystander)
    wanted = [Change("Customer", "familyName", "Jo", "Joé")]
    done = await connector.update(subject, key, wanted)
    assert (done.state, done.code, done.records) == (State.DONE, Code.CORRECTED, {"values": 2})
    assert sum("'Joé'" in row for row in await either_shop.held(subject)) == 2
    assert await either_shop.held(bystander) == before
    for who in (subject, stranger_like(subject)):
        again = await connector.update(who, key, wanted)
        assert (again.state, again.code) == (State.DONE, Code.NOTHING_FOUND)


async def test_what_no_column_takes_is_unsupported_and_what_is_ambiguous_failed(either_shop: Shop) -> None:
    subject = await either_shop.person()
    with either_shop.engine.begin() as connection:
        connection.execute(shop.ledger_line.update().values(remark=None))
        connection.execute(shop.parcel.update().values(street=None))
    before = await either_shop.everything()
    connector, key = correcting(either_shop), key_of(subject, "update")
    unknown = await connector.update(subject, key, [Change("Customer", "locale", "de", "sv")])
    assert (unknown.state, unknown.code) == (State.UNSUPPORTED, Code.NOT_OFFERED)
    missing = [Change("PostalAddress", "line1", None, "Here"), Change("Inquiry", "subject", None, "This")]
    assert (await connector.update(subject, key, missing)).code == "AMBIGUOUS"
    assert await either_shop.everything() == before
    assert (await connector.update(subject, key, missing[:1])).records == {"values": 1}


async def test_a_database_that_does_not_correct_is_no_success(either_shop: Shop) -> None:
    subject = await either_shop.person()
    with either_shop.engine.begin() as connection:
        connection.execute(shop.ledger_line.update().values(remark="Old"))
        connection.exec_driver_sql(DEAF[either_shop.engine.dialect.name]["update"])
    before = await either_shop.everything()
    wanted = [Change("Inquiry", "subject", "Old", "New")]
    outcome = await correcting(either_shop).update(subject, key_of(subject, "update"), wanted)
    assert (outcome.state, outcome.code) == (State.FAILED, Code.LEFT_BEHIND)
    assert await either_shop.everything() == before


@pytest.mark.parametrize(
    ("table", "column", "code"),
    [
        ("client", "Email", "KEY_CHANGED"),
        ("client", "id", "KEY_CHANGED"),
        ("card", "client_id", "KEY_CHANGED"),
        ("client", "favourite_card_id", "COLUMN_TYPE"),
        ("parcel", "lane", "COLUMN_MISSING"),
    ],
)
async def test_columns_that_take_no_corrections(sqlite_shop: Shop, table: str, column: str, code: str) -> None:
    corrects = {table: {column: "Customer.familyName"}}
    try:
        found = await cast("Connector", correcting(sqlite_shop, corrects)).probe()
    except ConfigurationInvalid as error:
        found = error.problems
    assert [problem.code for problem in found] == [code]
