"""Fides datasets as mappings: a whole one erases somebody, and what a mapping can not say is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from cdp.connectors.base import ConfigurationInvalid, Identifier, State
from cdp.connectors.registry import connect
from cdp.connectors.sql.fides import translate
from cdp.core.platform import Platform
from tests.connectors.conformance import steps
from tests.connectors.test_chinook import WHO, everything, sqlite_url, subject_of  # noqa: F401 - a fixture
from tests.connectors.test_sql import system_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "mappings" / "chinook.fides.yml"
BASIS = "Accounting records"


def dataset(*collections: dict[str, Any]) -> dict[str, Any]:
    return {"fides_key": "shop", "name": "Shop", "collections": list(collections)}


def column(name: str, *categories: str, **meta: Any) -> dict[str, Any]:
    return {"name": name, "data_categories": list(categories), "fides_meta": meta or None}


CLIENT = {
    "name": "client",
    "fields": [column("id", primary_key=True), column("email", "user.contact.email", identity="email")],
}


async def test_a_translated_dataset_erases_one_customer_of_chinook(sqlite_url: str, platform: Platform) -> None:  # noqa: F811
    translated = translate(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), basis=BASIS)
    assert translated.open_points == ()
    connector = connect(system_for(platform, make_url(sqlite_url), translated.mapping), platform)
    assert await connector.probe() == ()
    before = everything(sqlite_url)
    subject = subject_of(Identifier("email", "frantisekw@jetbrains.com", verified=True))
    check, erase, verify = await steps(connector, subject)
    assert (check.records, erase.records) == ({}, {"Customer": 1, "Invoice": 7})
    assert check.evidence["tables"] == {"Customer": {"cut": 1}, "Invoice": {"cut": 7}}
    assert {(one.collection, one.basis) for one in verify.retained} == {
        ("Customer", BASIS),
        ("Invoice", BASIS),
        ("InvoiceLine", BASIS),
    }
    assert verify.state is State.DONE
    after = everything(sqlite_url)
    assert [row for row in after["Customer"] if row[0] != WHO] == [row for row in before["Customer"] if row[0] != WHO]
    assert "Wichterlová" not in repr(after)


def test_directions_strategies_and_skipped_collections_are_taken_over() -> None:
    order = {
        "name": "order",
        "fields": [
            column("id", primary_key=True),
            column("note", "user.content", masking_strategy_override={"strategy": "hash"}),
            column("client_id", references=[{"dataset": "shop", "field": "client.id", "direction": "from"}]),
        ],
    }
    session = {"name": "session", "fields": [column("client")], "fides_meta": {"masking_strategy_override": None}}
    session["fides_meta"] = {"masking_strategy_override": {"strategy": "delete"}}
    client = {**CLIENT, "fields": [*CLIENT["fields"]]}
    client["fields"][0] = column(
        "id", primary_key=True, references=[{"dataset": "shop", "field": "session.client", "direction": "to"}]
    )
    ignored = {"name": "log", "fields": [column("x")], "fides_meta": {"skip_processing": True}}
    mapping = translate(dataset(client, order, session, ignored), basis=BASIS).mapping
    assert mapping["unrelated"] == ["log"]
    assert mapping["tables"] == [
        {
            "name": "client",
            "rows": "keep",
            "identities": [{"type": "email", "column": "email", "normalise": "lower"}],
            "references": [],
            "columns": {"id": "preserve", "email": "keyed_hash"},
            "retention": {"basis": BASIS},
        },
        {
            "name": "order",
            "rows": "keep",
            "identities": [],
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
            "columns": {"id": "preserve", "note": "hash", "client_id": "preserve"},
            "retention": {"basis": BASIS},
        },
        {
            "name": "session",
            "rows": "delete",
            "identities": [],
            "references": [{"columns": ["client"], "table": "client", "keys": ["id"]}],
        },
    ]


def test_what_a_mapping_can_not_say_is_named() -> None:
    nested = {"name": "address", "fields": [column("street", "user.contact.address.street")]}
    profile = {
        "name": "profile",
        "fields": [
            nested,
            column("email", "user.contact.email", identity="email"),
            column("elsewhere", references=[{"dataset": "crm", "field": "person.id", "direction": "from"}]),
        ],
    }
    translated = translate(dataset(CLIENT, profile), basis=BASIS)
    assert {(one.code, one.at) for one in translated.open_points} == {
        ("NOT_A_COLUMN", "collections[1].address"),
        ("REFERENCE_UNRESOLVED", "profile.elsewhere"),
    }


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "VALUE_INVALID"),
        ([], "VALUE_INVALID"),
        ({"dataset": []}, "VALUE_INVALID"),
        ({"fides_key": "shop"}, "VALUE_INVALID"),
        (dataset({"name": "log", "fields": [column("x")]}), "NO_IDENTITY"),
        (dataset(CLIENT, {"name": "log", "fields": [column("x")]}), "TABLE_UNREACHED"),
    ],
    ids=["nothing", "a list", "empty", "no collections", "nobody is found", "nothing leads there"],
)
def test_what_is_no_dataset_or_reaches_nobody_is_refused(document: object, code: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        translate(document, basis=BASIS)
    assert code in {one.code for one in refused.value.problems}
