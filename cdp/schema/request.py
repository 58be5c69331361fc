"""A GraphQL request as it comes over HTTP: strict JSON in, a plain record out, everything else a coded refusal.

Nothing here trusts its size or shape: the body is limited before it is read, a key may stand once, a batch is refused,
and text that Postgres or JSON can not carry (NUL, lone surrogates) is refused before it could break a statement.
Source: GraphQL over HTTP, https://graphql.github.io/graphql-over-http/draft/
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl

from cdp.core.errors import InvalidInput, TooLarge

MAX_BODY_BYTES = 1024 * 1024
MOST_VALUES = 100_000
"""Brackets, braces and commas of a body: each value takes memory and time, whatever it is."""
MEMBERS = frozenset({"query", "documentId", "variables", "operationName", "extensions"})
JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
WANTS = ("access", "cost")
"""What a client may ask to be told beside the answer: ``{"extensions": {"cost": true}}``."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
# An escape in a string literal of the document that names what can not be stored.
_UNSTORABLE_ESCAPE = re.compile(r"\\u(?:0000|\{0+\})")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class InvalidRequest(InvalidInput):
    """This is not a GraphQL request: send a JSON object with a query."""

    code = "BAD_REQUEST"


class BodyTooLarge(TooLarge):
    """The body of the request is too large."""

    code = "BODY_TOO_LARGE"


class BodyTooComplex(TooLarge):
    """The body of the request holds too many values."""

    code = "BODY_TOO_COMPLEX"


class BatchRefused(InvalidInput):
    """Batches are not accepted: send one operation a request."""

    code = "BATCH_REFUSED"


class DocumentIdInvalid(InvalidInput):
    """A document is named by sha256: and 64 hexadecimal characters in lower case."""

    code = "DOCUMENT_ID_INVALID"


class UnstorableText(InvalidInput):
    """The request holds characters that can not be stored: NUL or half of a surrogate pair."""

    code = "UNSTORABLE_TEXT"


@dataclass(frozen=True)
class GraphQLRequest:
    """One operation to run. Without a ``query`` it names one by ``sha256``; ``is_automatic`` in Apollo's way."""

    query: str
    variables: Mapping[str, JsonValue] | None = None
    operation_name: str | None = None
    sha256: str | None = None
    is_automatic: bool = False
    wants: frozenset[str] = frozenset()


def read_body(body: bytes) -> GraphQLRequest:
    """Read a POST body. Raises InvalidRequest, BodyTooComplex, BatchRefused, UnstorableText."""
    if len(body) > MOST_VALUES and body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise BodyTooComplex(most=MOST_VALUES)
    given = _json(body)
    if isinstance(given, list):
        raise BatchRefused
    if not isinstance(given, dict):
        raise InvalidRequest
    request = _request(given)
    # Only an escape can bring such a character into valid UTF-8 JSON.
    if b"\\u" in body:
        _refuse_unstorable(given)
    return request


def read_query_string(query_string: bytes) -> GraphQLRequest:
    """Read the parameters of a GET. Raises InvalidRequest, UnstorableText."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise InvalidRequest("The address of this request can not be read.") from None
    names = [name for name, _ in pairs if name in MEMBERS]
    if len(names) != len(set(names)):
        raise InvalidRequest("A parameter stands twice.")
    given: dict[str, JsonValue] = dict(pairs)
    for name in ("variables", "extensions"):
        text = given.get(name)
        if isinstance(text, str):
            given[name] = _json(text.encode()) if text else None
    request = _request(given)
    _refuse_unstorable(given)
    return request


def _request(given: Mapping[str, JsonValue]) -> GraphQLRequest:
    query, variables = given.get("query"), given.get("variables")
    name, extensions = given.get("operationName"), given.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise InvalidRequest("The member extensions is an object or null.", member="extensions")
    sha256, is_automatic = _named(given.get("documentId"), extensions)
    if not isinstance(query, str | None) or (not query and sha256 is None):
        raise InvalidRequest("The member query is missing: a text with a GraphQL document.", member="query")
    if variables is not None and not isinstance(variables, dict):
        raise InvalidRequest("The member variables is an object or null.", member="variables")
    if name is not None and not isinstance(name, str):
        raise InvalidRequest("The member operationName is a text or null.", member="operationName")
    wants = frozenset(one for one in WANTS if extensions.get(one) is True) if extensions else frozenset()
    return GraphQLRequest(query or "", variables, name or None, sha256, is_automatic, wants)


def _named(document_id: JsonValue, extensions: Mapping[str, JsonValue] | None) -> tuple[str | None, bool]:
    """The hash a request names its document by, and whether in Apollo's way. Raises DocumentIdInvalid."""
    persisted = extensions.get("persistedQuery") if extensions else None
    if document_id is None and persisted is None:
        return None, False
    if document_id is not None:
        named = document_id.removeprefix("sha256:") if isinstance(document_id, str) else ""
        is_known_kind = isinstance(document_id, str) and document_id.startswith("sha256:")
    else:
        given = persisted if isinstance(persisted, dict) else {}
        named = str(given.get("sha256Hash"))
        is_known_kind = given.get("version") == 1
    if not is_known_kind or not _SHA256.fullmatch(named):
        raise DocumentIdInvalid
    return named, document_id is None


def _json(text: bytes) -> JsonValue:
    """Parse strict JSON: UTF-8, every key once, no NaN. Nesting and length of numbers are bounded by the parser."""
    try:
        value: JsonValue = _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        raise InvalidRequest("This is not JSON.") from None
    return value


def _object(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidRequest("A key stands twice in one object.")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


# One for all requests: json.loads would build a decoder for each.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _refuse_unstorable(given: Mapping[str, JsonValue]) -> None:
    query = given.get("query")
    if isinstance(query, str) and _UNSTORABLE_ESCAPE.search(query):
        raise UnstorableText
    waiting: list[JsonValue] = [given.get(name) for name in MEMBERS]
    for value in waiting:
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                raise UnstorableText
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
