"""Fides datasets as mappings: what a dataset says is taken over, what a mapping needs and it leaves open is named.

Fides masks the fields of the policy's categories and keeps the rows, unless a collection is overridden to delete them;
so do we. A mapping decides about every column of a kept row: fields in a ``user`` category are cut, keys and everything
else stay. Source: https://ethyca.github.io/fideslang/resources/dataset/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fideslang.models import (
    Dataset,
    DatasetCollection,
    DatasetField,
    EdgeDirection,
    FidesDatasetReference,
    MaskingStrategies,
)
from pydantic import ValidationError

from cdp.connectors.base import ConfigurationInvalid, Json, Problem
from cdp.connectors.sql.mapping import Rows, Strategy, parse
from cdp.tables.customer import IdentityType

IDENTITIES: Mapping[str, tuple[IdentityType, str]] = {
    "email": (IdentityType.EMAIL, "lower"),
    "phone_number": (IdentityType.PHONE, "digits"),
    "phone": (IdentityType.PHONE, "digits"),
    "username": (IdentityType.USERNAME, "none"),
    "ga_client_id": (IdentityType.COOKIE, "none"),
    "fides_user_device_id": (IdentityType.COOKIE, "none"),
}
STRATEGIES: Mapping[str, Strategy] = {
    "null_rewrite": Strategy.NULL,
    "hash": Strategy.HASH,
    "hmac": Strategy.KEYED_HASH,
    "random_string_rewrite": Strategy.RANDOM,
    "string_rewrite": Strategy.CONSTANT,
}
PERSONAL = "user"


@dataclass(frozen=True)
class Translated:
    """A mapping in its JSON form, and what of the dataset it does not say."""

    mapping: dict[str, Json]
    open_points: tuple[Problem, ...]


def translate(document: object, *, basis: str) -> Translated:
    """Turn one dataset into a mapping; ``basis`` is the law under which its rows are kept.

    Raises ConfigurationInvalid when it is no dataset, or its mapping contradicts itself.
    """
    dataset = _dataset(document)
    found: list[Problem] = []
    skipped: list[Json] = [one.name for one in dataset.collections if one.fides_meta and one.fides_meta.skip_processing]
    used = [one for one in dataset.collections if one.name not in skipped]
    references = _references(dataset, found)
    tables: list[Json] = []
    for number, collection in enumerate(used):
        at = f"collections[{number}]"
        found += [
            Problem("NOT_A_COLUMN", f"{at}.{one.name}", "Nested fields are no columns of a table")
            for one in collection.fields
            if one.fields
        ]
        tables.append(_table(dataset, collection, references.get(collection.name, []), basis))
    mapping: dict[str, Json] = {"tables": tables}
    if skipped:
        mapping["unrelated"] = skipped
    parse(mapping)
    return Translated(mapping, tuple(found))


def _dataset(document: object) -> Dataset:
    """The one dataset of a document, alone or as Fides files have it, in a list under ``dataset``."""
    if isinstance(document, Mapping) and isinstance(document.get("dataset"), list) and len(document["dataset"]) == 1:
        document = document["dataset"][0]
    try:
        return Dataset.model_validate(document)
    except ValidationError as error:
        raise ConfigurationInvalid(
            tuple(
                Problem("VALUE_INVALID", ".".join(map(str, one["loc"])), one["msg"])
                for one in error.errors(include_url=False, include_input=False, include_context=False)
            )
        ) from None


def _table(
    dataset: Dataset, collection: DatasetCollection, references: list[tuple[str, str, str]], basis: str
) -> dict[str, Json]:
    identities: list[Json] = [
        identity for one in collection.fields if (identity := _identity(dataset, one)) is not None
    ]
    table: dict[str, Json] = {"name": collection.name, "rows": _rows(collection).value, "identities": identities}
    table["references"] = [{"columns": [own], "table": other, "keys": [key]} for own, other, key in references]
    if _rows(collection) is Rows.KEEP:
        fixed = {own for own, _, _ in references} | {one.name for one in collection.fields if _is_key(one)}
        table["columns"] = {one.name: _decided(one, fixed) for one in collection.fields}
        table["retention"] = {"basis": basis}
    return table


def _rows(collection: DatasetCollection) -> Rows:
    override = collection.fides_meta.masking_strategy_override if collection.fides_meta else None
    return Rows.KEEP if override is None or override.strategy is not MaskingStrategies.DELETE else Rows.DELETE


def _identity(dataset: Dataset, one: DatasetField) -> dict[str, Json] | None:
    named = one.fides_meta.identity if one.fides_meta else None
    if named is None:
        return None
    if named not in IDENTITIES:
        return {"type": IdentityType.CUSTOMER_NUMBER.value, "column": one.name, "issuer": dataset.fides_key}
    kind, normalise = IDENTITIES[named]
    return {"type": kind.value, "column": one.name, "normalise": normalise}


def _decided(one: DatasetField, fixed: set[str]) -> Json:
    override = one.fides_meta.masking_strategy_override if one.fides_meta else None
    if override is not None and override.strategy in STRATEGIES:
        strategy = STRATEGIES[override.strategy]
        if strategy is not Strategy.CONSTANT:
            return strategy.value
        value: Any = (override.configuration or {}).get("rewrite_value", "MASKED")
        return {"strategy": strategy.value, "value": value}
    named = one.fides_meta.identity if one.fides_meta else None
    if one.name in fixed or (named is not None and named not in IDENTITIES):
        return Strategy.PRESERVE.value
    if named is not None:
        return Strategy.KEYED_HASH.value
    return (Strategy.NULL if _is_personal(one) else Strategy.PRESERVE).value


def _is_personal(one: DatasetField) -> bool:
    return any(category == PERSONAL or category.startswith(f"{PERSONAL}.") for category in one.data_categories or ())


def _is_key(one: DatasetField) -> bool:
    return bool(one.fides_meta and one.fides_meta.primary_key)


def _references(dataset: Dataset, found: list[Problem]) -> dict[str, list[tuple[str, str, str]]]:
    """For each collection: its column, the collection it leads to, and the key there."""
    names = {one.name for one in dataset.collections}
    references: dict[str, list[tuple[str, str, str]]] = {}
    for collection in dataset.collections:
        for one in collection.fields:
            for reference in (one.fides_meta.references if one.fides_meta else None) or ():
                other, _, key = reference.field.partition(".")
                if reference.dataset != dataset.fides_key or other not in names or not key:
                    text = "It leads to another dataset: declare a customer number there"
                    found.append(Problem("REFERENCE_UNRESOLVED", f"{collection.name}.{one.name}", text))
                    continue
                for child, line in _directed(collection.name, one.name, other, key, reference):
                    references.setdefault(child, []).append(line)
    return references


def _directed(
    here: str, column: str, other: str, key: str, reference: FidesDatasetReference
) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """``from``: values come from there; ``to``: they lead there; none: both ways."""
    direction: EdgeDirection | None = reference.direction
    if direction in {"from", None}:
        yield here, (column, other, key)
    if direction in {"to", None}:
        yield other, (key, here, column)
