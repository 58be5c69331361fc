"""Responses as bytes: data joined from pieces of JSON, errors in specification form.

Source: https://spec.graphql.org/draft/#sec-Response-Format
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdp.compiler.document import DocumentRefused, error_entry
from cdp.compiler.plan import Call, Denied
from cdp.core.errors import PlatformError

MOST_ERRORS = 100


@dataclass(frozen=True)
class FieldError:
    """A field that is null because of an error."""

    path: tuple[str | int, ...]
    error: PlatformError


def join_response(fields: Mapping[str, bytes], errors: Sequence[Mapping[str, Any]] | None = None) -> bytes:
    """A whole response. Keys are response names, which need no escaping."""
    data = b",".join(b'"' + key.encode() + b'":' + value for key, value in fields.items())
    if not errors:
        return b'{"data":{' + data + b"}}"
    return b'{"errors":' + encode(errors) + b',"data":{' + data + b"}}"


def refusal(error: PlatformError) -> bytes:
    """The response to a request that can not be run at all: errors and no data."""
    entries = error.errors if isinstance(error, DocumentRefused) else [error_entry(error)]
    return b'{"errors":' + encode(entries) + b"}"


def encode(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def denials(denied: Sequence[Denied], fields: Mapping[str, bytes], call: Call) -> tuple[FieldError, ...]:
    """Errors of fields that are null by plan, at every place where their object is there; at most 100."""
    decoded: dict[str, Any] = {}
    found: list[FieldError] = []
    for one in denied:
        key = one.path[0]
        if key not in decoded:
            decoded[key] = json.loads(fields[key])
        for path in _places(decoded[key], one.path[1:], (key,)):
            if len(found) == MOST_ERRORS:
                return tuple(found)
            if one.members is not None and not one.members(call, int(path[1])):
                continue
            found.append(FieldError(path, one.error))
    return tuple(found)


def _places(value: object, rest: tuple[str, ...], path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, list):
        for number, member in enumerate(value):
            yield from _places(member, rest, (*path, number))
    elif not rest:
        yield path
    elif isinstance(value, dict):
        yield from _places(value.get(rest[0]), rest[1:], (*path, rest[0]))
