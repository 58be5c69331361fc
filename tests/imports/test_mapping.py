"""A mapping file is checked before anything is read, and every fault is named by its path."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
from pydantic import BaseModel

from cdp.operations.imports import mapping
from tests.imports.conftest import SHOP

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "mappings").glob("*-import.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path):
    assert mapping.read(path).mapping.customers.identities


def test_json_is_read_like_yaml(tmp_path: Path):
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(SHOP))
    assert mapping.read(path).mapping == mapping.parse(SHOP)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("version",), 2, "version"),
        (("name",), "Not a name", "name"),
        (("surprise",), 1, "surprise"),
        (("customers", "fields", "shoe_size"), "size", "customers.fields.shoe_size"),
        (("customers", "fields", "given_name"), {"column": "a", "constant": "b"}, "customers.fields.given_name"),
        (("customers", "fields", "given_name"), {}, "customers.fields.given_name"),
        (("customers", "fields", "given_name"), 7, "customers.fields.given_name"),
        (("customers", "fields", "given_name"), {"column": "a", "zone": "Mars/Base"}, "customers.fields.given_name"),
        (("customers", "fields", "given_name"), {"column": "a", "present": "x"}, "customers.fields.given_name"),
        (("customers", "fields", "given_name"), {"join": []}, "customers.fields.given_name.join"),
        (("customers", "identities"), [], "customers.identities"),
        (("customers", "identities", 0, "type"), "shoe_size", "customers.identities.0.type"),
        (("customers", "identities", 0, "issuer"), "", "customers.identities.0"),
        (("customers", "addresses", 0, "kind"), "igloo", "customers.addresses.0.kind"),
        (("customers", "preferences", 0, "key"), "Not a key", "customers.preferences.0.key"),
        (("orders", "key"), None, "orders.key"),
        (("items", "fields", "sku"), None, "items.fields.sku"),
        (("orders",), None, ""),
    ],
)
def test_every_fault_is_named_by_its_path(path, value, place):
    document = deepcopy(SHOP)
    target = document
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    with pytest.raises(mapping.MappingInvalid) as refusal:
        mapping.parse(document)
    assert refusal.value.code == "MAPPING_INVALID"
    assert place in [error["path"] for error in refusal.value.extensions["errors"]]


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00", "!!python/object:os.system {}", "- &a [*a]"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(mapping.MappingInvalid):
        mapping.read(path)


def test_a_missing_mapping_is_refused(tmp_path: Path):
    with pytest.raises(mapping.MappingInvalid):
        mapping.read(tmp_path / "absent.yaml")


def test_the_page_names_every_key_and_every_code():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "import.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[A-Za-z0-9_]+", page))
    models = [found for found in vars(mapping).values() if isinstance(found, type) and issubclass(found, BaseModel)]
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert keys - words == set()
    sources = "".join(path.read_text() for path in (root / "cdp" / "operations" / "imports").glob("*.py"))
    codes = set(re.findall(r'(?:code = |Bad\(|RowInvalid\(|Reject\([^"]*"\w+", [^"]*)"([A-Z][A-Z_]+)"', sources))
    assert len(codes) > 15
    assert codes - words == set()
