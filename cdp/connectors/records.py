"""Rows of a database as records: JSON values in the formats the platform uses everywhere."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum

from cdp.connectors.base import Json, Record
from cdp.core.clock import iso


def record(row: Mapping[str, object]) -> Record:
    """One row as a record."""
    return {name: json_value(value) for name, value in row.items()}


def json_value(value: object) -> Json:
    """Moments as RFC 3339, bytes as base64, decimals and ids as strings; what is JSON already stays."""
    if isinstance(value, Enum):
        value = value.value
    match value:
        case None | bool() | int() | float() | str():
            return value
        case date() | time():
            return iso(value) if isinstance(value, datetime) and value.tzinfo else value.isoformat()
        case bytes() | bytearray() | memoryview():
            return b64encode(bytes(value)).decode()
        case list() | tuple() | set() | frozenset():
            return [json_value(item) for item in value]
        case dict():
            return {str(name): json_value(item) for name, item in value.items()}
    return str(value)
