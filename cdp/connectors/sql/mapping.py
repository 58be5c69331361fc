"""What an operator declares about somebody else's database: where people are found, what hangs on them, what happens.

The JSON form is these classes, field by field; unknown fields are refused. ``declared_problems`` holds a mapping
against itself, ``schema`` against the real database. Close in spirit to Fides datasets
(https://ethyca.github.io/fideslang/resources/dataset/), but every column of a kept row must be decided.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Annotated

from phonenumbers import SUPPORTED_REGIONS
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cdp.connectors.base import ConfigurationInvalid, Json, Problem
from cdp.tables.customer import IdentityType

_STRICT = ConfigDict(extra="forbid")
_NUMBER = IdentityType.CUSTOMER_NUMBER


class Normalise(StrEnum):
    """How a stored value is brought to the form identifiers have before the two are compared."""

    NONE = "none"  # as it is stored; the only one that uses an ordinary index
    LOWER = "lower"
    TRIMMED = "trimmed"  # lower case, without blanks around it
    DIGITS = "digits"


class Rows(StrEnum):
    """What happens to the rows of a table that belong to the person."""

    DELETE = "delete"
    KEEP = "keep"


class Strategy(StrEnum):
    """What becomes of one column of a kept row."""

    NULL = "null"
    HASH = "hash"  # SHA-256: equal values stay equal, short values can be guessed
    KEYED_HASH = "keyed_hash"  # a tombstone under a key that dies with the request
    CONSTANT = "constant"
    RANDOM = "random"
    PRESERVE = "preserve"


@dataclass(frozen=True, config=_STRICT)
class IdentityRule:
    """A column that carries identifiers of one type. ``issuer`` for numbers somebody hands out.

    ``region`` (``DE``): phone numbers without a country code are of there.
    """

    column: str
    type: IdentityType
    issuer: str = ""
    normalise: Normalise = Normalise.NONE
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None


@dataclass(frozen=True, config=_STRICT)
class ReferenceRule:
    """Rows belong to the person when ``columns`` equal the ``keys`` of a row of ``table`` that does."""

    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    table: str
    keys: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class ColumnRule:
    """The strategy of one column; ``value`` for ``constant`` alone."""

    strategy: Strategy
    value: str | int | bool | None = None


@dataclass(frozen=True, config=_STRICT)
class RetentionRule:
    """Why rows stay: the law, and with ``years`` and ``since`` (a column here, or ``Table.Column``) until when."""

    basis: Annotated[str, Field(min_length=1, max_length=200)]
    years: Annotated[int, Field(gt=0, le=200)] | None = None
    since: str | None = None


def _long_form(rule: object) -> object:
    return {"strategy": rule} if isinstance(rule, str) else rule


@dataclass(frozen=True, config=_STRICT)
class TableRule:
    """One table. A table with ``rows: keep`` names every column: ``"Email": "keyed_hash"``.

    ``corrects`` names columns that take corrections, and the field of our API that each is: ``"City":
    "PostalAddress.city"``.
    """

    name: str
    rows: Rows
    schema: str | None = None
    identities: tuple[IdentityRule, ...] = ()
    references: tuple[ReferenceRule, ...] = ()
    columns: Mapping[str, Annotated[ColumnRule, BeforeValidator(_long_form)]] = field(default_factory=dict)
    retention: RetentionRule | None = None
    corrects: Mapping[str, Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*\.[a-z][A-Za-z0-9]*$")]] = field(
        default_factory=dict
    )

    @property
    def key(self) -> str:
        """Name by which references and evidence call this table."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, config=_STRICT)
class Declared:
    """The mapping of one database. ``unrelated``: tables and views that look like somebody's, and are nobody's."""

    tables: Annotated[tuple[TableRule, ...], Field(min_length=1, max_length=1000)]
    unrelated: tuple[str, ...] = ()

    def table(self, key: str) -> TableRule | None:
        """The rule of a table, if there is one."""
        return next((rule for rule in self.tables if rule.key == key), None)


_ADAPTER = TypeAdapter(Declared)
_CODES = {
    "missing": "FIELD_MISSING",
    "unexpected_keyword_argument": "FIELD_UNKNOWN",
    "enum": "VALUE_UNKNOWN",
}


def parse(value: Json) -> Declared:
    """Read a mapping. Raises ConfigurationInvalid with every problem and its path."""
    try:
        declared = _ADAPTER.validate_python(value)
    except ValidationError as error:
        raise ConfigurationInvalid(
            tuple(
                Problem(_CODES.get(one["type"], "VALUE_INVALID"), _path(one["loc"]), one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            )
        ) from None
    found = tuple(declared_problems(declared))
    if found:
        raise ConfigurationInvalid(found)
    return declared


def _path(location: tuple[int | str, ...]) -> str:
    path = "mapping"
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path


def declared_problems(declared: Declared) -> Iterator[Problem]:
    """Everything a mapping gets wrong by itself."""
    keys = [rule.key for rule in declared.tables]
    for number, rule in enumerate(declared.tables):
        at = f"mapping.tables[{number}]"
        if keys.index(rule.key) != number:
            yield Problem("TABLE_TWICE", at, f"{rule.key} is declared twice")
        yield from _identity_problems(rule, at)
        yield from _reference_problems(declared, rule, at)
        yield from _row_problems(declared, rule, at)
        yield from _correction_problems(declared, rule, at)
    if not any(rule.identities for rule in declared.tables):
        yield Problem("NO_IDENTITY", "mapping.tables", "No table says how a person is found")
    for key in sorted(set(keys) - _reachable(declared)):
        yield Problem("TABLE_UNREACHED", "mapping.tables", f"Nothing leads from an identity to {key}")


def _identity_problems(rule: TableRule, at: str) -> Iterator[Problem]:
    for number, identity in enumerate(rule.identities):
        if identity.normalise is Normalise.DIGITS and identity.type not in (IdentityType.PHONE, _NUMBER):
            yield Problem("VALUE_INVALID", f"{at}.identities[{number}].normalise", "Only numbers are their digits")
        if identity.region and (identity.type, identity.normalise) != (IdentityType.PHONE, Normalise.DIGITS):
            why = "A region is for phone numbers that are compared by their digits"
            yield Problem("VALUE_INVALID", f"{at}.identities[{number}].region", why)
        elif identity.region and identity.region not in SUPPORTED_REGIONS:
            yield Problem("VALUE_UNKNOWN", f"{at}.identities[{number}].region", "Nobody has phone numbers there")


def _reference_problems(declared: Declared, rule: TableRule, at: str) -> Iterator[Problem]:
    for number, reference in enumerate(rule.references):
        path = f"{at}.references[{number}]"
        if len(reference.columns) != len(reference.keys):
            yield Problem("REFERENCE_UNRESOLVED", path, "columns and keys are of different length")
        if declared.table(reference.table) is None:
            yield Problem("REFERENCE_UNRESOLVED", path, f"{reference.table} is not declared")


def _correction_problems(declared: Declared, rule: TableRule, at: str) -> Iterator[Problem]:
    """What finds somebody's rows is no value to correct: afterwards they would be somebody else's, or nobody's."""
    finding = {one.column for one in rule.identities}
    finding |= {name for one in rule.references for name in one.columns}
    finding |= {
        name for other in declared.tables for one in other.references if one.table == rule.key for name in one.keys
    }
    for name in sorted(finding & rule.corrects.keys()):
        yield Problem("KEY_CHANGED", f"{at}.corrects.{name}", f"{rule.key}.{name} finds rows: it takes no corrections")


def _row_problems(declared: Declared, rule: TableRule, at: str) -> Iterator[Problem]:
    if rule.rows is Rows.DELETE:
        if rule.columns or rule.retention:
            yield Problem("DELETED_AND_KEPT", at, f"Rows of {rule.key} go, so no column or retention is declared")
        return
    if rule.retention is None:
        yield Problem("BASIS_MISSING", f"{at}.retention", f"Rows of {rule.key} stay: under which law?")
    elif (rule.retention.years is None) != (rule.retention.since is None):
        yield Problem("VALUE_INVALID", f"{at}.retention", "years and since belong together")
    else:
        other, _, _ = (rule.retention.since or "").rpartition(".")
        if other and declared.table(other) is None:
            yield Problem("REFERENCE_UNRESOLVED", f"{at}.retention.since", f"{other} is not declared")
    for name, column in rule.columns.items():
        if (column.strategy is Strategy.CONSTANT) != (column.value is not None):
            yield Problem("VALUE_INVALID", f"{at}.columns.{name}", "value is for constant, and constant needs one")
    for number, identity in enumerate(rule.identities):
        yield from _anchor_problems(rule, identity, f"{at}.identities[{number}]")


def _anchor_problems(rule: TableRule, identity: IdentityRule, at: str) -> Iterator[Problem]:
    """A kept row must be found again to be verified: by its tombstone, or by a number that is nobody's without it."""
    column = rule.columns.get(identity.column)
    if column is None or column.strategy is Strategy.KEYED_HASH:
        return
    if column.strategy is not Strategy.PRESERVE:
        yield Problem(
            "NOT_FINDABLE", at, f"{rule.key}.{identity.column} finds kept rows: keyed_hash lets verification find them"
        )
    elif identity.type is not IdentityType.CUSTOMER_NUMBER:
        yield Problem("IDENTITY_KEPT", at, f"{rule.key}.{identity.column} would go on naming the person")


def _reachable(declared: Declared) -> set[str]:
    reached = {rule.key for rule in declared.tables if rule.identities}
    while True:
        more = {
            rule.key
            for rule in declared.tables
            if rule.key not in reached and any(reference.table in reached for reference in rule.references)
        }
        if not more:
            return reached
        reached |= more
