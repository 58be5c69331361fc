"""How rows become JSON text inside Postgres: the same formats as resolved fields.

``json_build_object`` and never ``jsonb``: it is faster and keeps the order of keys. Names written here come from the
schema and the tables (letters, digits, underscore), values of callers only ever arrive as parameters.
"""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import JSON, ColumnElement, Enum, String, Table, Text, cast, func, literal_column, null
from sqlalchemy.sql.selectable import Alias, NamedFromClause
from sqlalchemy.types import TypeEngine

from cdp.compiler.graph import Kind

Json: TypeAlias = ColumnElement[Any]
Pair: TypeAlias = tuple[str, Json]

MOST_PAIRS = 50
UUID_CHARACTERS = 36
BASE64_LINE_BYTES = 57  # Postgres ends the line after 76 characters, even where nothing follows
NULL: Json = null()
EMPTY_LIST: Json = literal_column("'[]'::json", JSON)
_MOMENT = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'""", Text)


class Source:
    """A row under an alias. Remembers which columns are read, for the subquery that provides them.

    ``subject`` is the column that says whose row it is.
    """

    def __init__(self, alias: str, table: Table, subject: str | None = None) -> None:
        self.alias = alias
        self.table = table
        self.subject = subject
        self.used: dict[str, None] = {}

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        kind = column_type(self.table, name)
        self.used[name] = None
        return literal_column(f"{self.alias}.{name}", kind)

    @property
    def clause(self) -> NamedFromClause | Alias:
        """The table under this alias, for FROM."""
        return self.table.alias(self.alias)


def column_type(table: Table, name: str) -> TypeEngine[Any]:
    """Type of a column as statements see it: closed sets are text."""
    kind = table.c[name].type
    return Text() if isinstance(kind, Enum | String) else kind


def quoted(text: str) -> ColumnElement[Any]:
    """A string of ours as a literal."""
    return literal_column("'" + text.replace("'", "''") + "'", Text)


def constant(value: object) -> Json:
    """A value of ours (never a caller's) as JSON."""
    return literal_column("'" + json.dumps(value).replace("'", "''") + "'::json", JSON)


def json_object(pairs: Sequence[Pair]) -> Json:
    """An object with these keys in this order, however many."""
    chunks = [pairs[start : start + MOST_PAIRS] for start in range(0, len(pairs), MOST_PAIRS)] or [[]]
    built = [
        func.json_build_object(*(part for key, value in chunk for part in (quoted(key), value))) for chunk in chunks
    ]
    if len(built) == 1:
        return built[0]
    texts = [cast(chunk, Text) for chunk in built]
    joined: ColumnElement[Any] = func.left(texts[0], literal_column("-1"), type_=Text)
    for text in texts[1:-1]:
        joined = (
            joined + quoted(", ") + func.left(func.substr(text, literal_column("2")), literal_column("-1"), type_=Text)
        )
    return cast(joined + quoted(", ") + func.substr(texts[-1], literal_column("2")), JSON)


def moment(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """``2026-01-31T12:00:00.000000Z``; the session's time zone is UTC."""
    return func.to_char(value, _MOMENT, type_=Text)


def global_id(type_name: str, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Base64url of ``Type:uuid`` without padding. ASCII letters, digits, colon and hyphen never yield + or /."""
    text = func.convert_to(quoted(type_name + ":") + cast(value, Text), quoted("UTF8"))
    encoded = func.encode(text, quoted("base64"), type_=Text)
    size = len(type_name) + 1 + UUID_CHARACTERS
    if size % 3 == 0 and size < BASE64_LINE_BYTES:
        return encoded
    return func.translate(encoded, literal_column(r"e'=\n'"), quoted(""), type_=Text)


def scalar(value: ColumnElement[Any], kind: Kind, id_type: str | None = None) -> Json:
    """A value in its JSON format."""
    match kind:
        case Kind.ID:
            return global_id(id_type or "", value)
        case Kind.DATETIME:
            return moment(value)
        case Kind.DECIMAL | Kind.BIGINT | Kind.DATE:
            return cast(value, Text)
        case Kind.ENUM:
            return func.upper(value)
        case Kind.BYTES:
            return func.encode(value, quoted("hex"))
        case Kind.TEXT | Kind.INT | Kind.FLOAT | Kind.BOOLEAN | Kind.JSON:
            return value


def position(value: ColumnElement[Any], kind: Kind) -> ColumnElement[Any]:
    """A sort key as it stands inside a cursor."""
    return moment(value) if kind is Kind.DATETIME else cast(value, Text)
