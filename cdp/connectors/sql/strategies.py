"""What each strategy writes into a column, and how to see that it was written.

Hashed and random values carry a prefix, so that a second run leaves them alone and verification can tell them from
what was there before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, Text, and_, case, cast, false, func, literal, not_, null, or_

from cdp.connectors.sql.database import Functions, TextColumn, hmac_of, keyed
from cdp.connectors.sql.mapping import ColumnRule, Normalise, Strategy, TableRule
from cdp.connectors.sql.schema import TOMBSTONE_MIN_LENGTH, constant, is_text

TOMBSTONE = "erased-"
PREFIXES: Mapping[Strategy, str] = {
    Strategy.KEYED_HASH: TOMBSTONE,
    Strategy.HASH: "hashed-",
    Strategy.RANDOM: "random-",
}
_DIGEST_LENGTH = 32
# What follows a prefix: at least as much of the digest as the shortest column that takes one has room for.
_LEAST_DIGITS = TOMBSTONE_MIN_LENGTH - len(TOMBSTONE)


def column_key(secret: bytes, system: str, table: str, column: str) -> bytes:
    """The key of one column's tombstones: no two columns, systems or requests share one."""
    return keyed(secret, place_of(system, table, column))


def place_of(system: str, table: str, column: str) -> bytes:
    """What makes the keys of two columns differ."""
    return f"{system}\0{table}\0{column}".encode()


def tombstone(column: Column[str], key: bytes, value: str) -> str:
    """The tombstone of a known (normalised) value, as ``new_values`` writes it."""
    return TOMBSTONE + hmac_of(key, value)[: tombstone_room(column)]


def buries(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a column holds a tombstone at all: cheaper to ask than whose."""
    return cast(column, Text).like(f"{TOMBSTONE}%")


def tombstone_room(column: Column[str]) -> int:
    """How many characters of the digest a column has room for."""
    return _room(column, TOMBSTONE)


def normalised(column: ColumnElement[str], rule: Normalise, functions: Functions) -> TextColumn:
    """A stored value in the form identifiers have."""
    match rule:
        case Normalise.LOWER:
            return functions.lower(column)
        case Normalise.TRIMMED:
            return functions.lower(func.trim(column))
        case Normalise.DIGITS if is_text(column):
            assert functions.digits is not None
            return functions.digits(column)
        case Normalise.NONE | Normalise.DIGITS:  # a number has nothing but digits
            return column


def new_values(
    rule: TableRule, table: Table, functions: Functions, keys: Mapping[str, bytes]
) -> dict[str, ColumnElement[Any]]:
    """What every column of a kept row becomes that is not preserved; NULL stays NULL."""
    forms = {identity.column: identity.normalise for identity in rule.identities}
    values: dict[str, ColumnElement[Any]] = {}
    for name, decided in rule.columns.items():
        column = table.columns[name]
        match decided.strategy:
            case Strategy.PRESERVE:
                continue
            case Strategy.NULL:
                values[name] = null()
            case Strategy.CONSTANT:
                values[name] = literal(constant(column, decided), column.type)
            case Strategy.HASH | Strategy.RANDOM | Strategy.KEYED_HASH:
                plain = normalised(column, forms.get(name, Normalise.NONE), functions)
                digest = _digest(decided.strategy, plain, functions, keys.get(name, b""))
                prefix = PREFIXES[decided.strategy]
                fresh = literal(prefix, Text).concat(func.substr(digest, 1, _room(column, prefix)))
                values[name] = case((_unhashed(column, prefix), fresh), else_=column)
    return values


def tombstone_or_noise(
    column: Column[Any], known: Sequence[ColumnElement[Any]], functions: Functions
) -> ColumnElement[Any]:
    """A tombstone that was computed beforehand; a value nobody knows becomes one that nobody finds. NULL stays NULL."""
    assert functions.random is not None
    room = _room(column, TOMBSTONE)
    noise = literal(TOMBSTONE, Text).concat(func.substr(functions.random(), 1, room))
    return case((_unhashed(column, TOMBSTONE), func.coalesce(*known, noise)), else_=column)


def uncut(rule: TableRule, table: Table) -> ColumnElement[bool]:
    """Whether a kept row still holds anything that should have been cut."""
    return or_(
        false(),
        *(still for name, decided in rule.columns.items() if (still := _still(table.c[name], decided)) is not None),
    )


def _still(column: Column[Any], decided: ColumnRule) -> ColumnElement[bool] | None:
    match decided.strategy:
        case Strategy.PRESERVE:
            return None
        case Strategy.NULL:
            return column.is_not(None)
        case Strategy.CONSTANT:
            return column.is_distinct_from(literal(constant(column, decided), column.type))
        case Strategy.HASH | Strategy.RANDOM | Strategy.KEYED_HASH:
            return _unhashed(column, PREFIXES[decided.strategy])


def _unhashed(column: Column[Any], prefix: str) -> ColumnElement[bool]:
    """Whether a value is not one we wrote: random-walker@example.com only begins like one."""
    held = cast(column, Text)
    # A bounded repetition would take a database six times as long, and crowds are asked about.
    is_hex = held.regexp_match(f"^{prefix}[0-9a-f]+$")
    is_as_long = func.length(held).between(len(prefix) + _LEAST_DIGITS, len(prefix) + _DIGEST_LENGTH)
    return and_(column.is_not(None), or_(held.not_like(f"{prefix}%"), not_(is_as_long), not_(is_hex)))


def _digest(strategy: Strategy, plain: TextColumn, functions: Functions, key: bytes) -> TextColumn:
    assert functions.sha256 is not None
    assert functions.hmac is not None
    assert functions.random is not None
    if strategy is Strategy.HASH:
        return functions.sha256(plain)
    return functions.hmac(plain, key) if strategy is Strategy.KEYED_HASH else functions.random()


def _room(column: Column[str], prefix: str) -> int:
    length = getattr(column.type, "length", None)
    return _DIGEST_LENGTH if length is None else min(_DIGEST_LENGTH, length - len(prefix))
