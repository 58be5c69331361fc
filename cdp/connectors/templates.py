"""Paths, queries and bodies with placeholders, filled so that a value can not become anything but a value.

``{email}`` stands for the identifier, ``{email:sha256}`` for its hash, ``{record/id}`` for a member of the record that
was found, ``{new}`` for the value that a correction writes. Members are named by JSON pointers, RFC 6901, https://www.rfc-editor.org/rfc/rfc6901
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from cdp.connectors.base import Json, Record
from cdp.tables.customer import IdentityType

POINTER = r"^(/([^~/]|~[01])*)*$"
RECORD = "record/"
NEW = "new"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DOTS = {".", ".."}
# An identifier with one of these could name another person's key: user:{username} and the name "7:orders".
_SEPARATORS = frozenset(":/|{}\0\r\n")


class Unfillable(Exception):
    """A value is missing, is not a text or number, or would change the meaning of the address."""


@dataclass(frozen=True)
class Values:
    """What placeholders stand for in one call."""

    type: str
    identifier: str = field(repr=False)
    record: Record | None = field(default=None, repr=False)
    new: str | None = field(default=None, repr=False)

    def of(self, name: str) -> str | int | float | bool:
        """The value of a placeholder. Raises Unfillable."""
        if name == self.type:
            return self.identifier
        if name == f"{self.type}:sha256":
            return hashlib.sha256(self.identifier.encode()).hexdigest()
        if name == NEW:
            if self.new is None:
                raise Unfillable
            return self.new
        try:
            found = pointed(self.record, "/" + name.removeprefix(RECORD))
        except KeyError as error:
            raise Unfillable from error
        if not isinstance(found, str | int | float) or found == "":
            raise Unfillable
        return found


def pointed(document: Json, pointer: str) -> Json:
    """What a JSON pointer points at. Raises KeyError when there is nothing."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(document):
            document = document[int(name[:9])]
        elif isinstance(document, dict) and name in document:
            document = document[name]
        else:
            raise KeyError(pointer)
    return document


def placeholders(template: object) -> Iterator[str]:
    """Names of all placeholders in a text, or in the texts of a JSON value."""
    match template:
        case str():
            yield from _PLACEHOLDER.findall(template)
        case list():
            for item in template:
                yield from placeholders(item)
        case dict():
            for item in template.values():
                yield from placeholders(item)


def types_in(names: set[str]) -> set[str]:
    """Types of identifiers among placeholders."""
    known = {one.value for one in IdentityType}
    return {name.removesuffix(":sha256") for name in names} & known


def unknown(names: set[str], *, record: bool) -> set[str]:
    """Placeholders that stand for nothing here."""
    known = {one.value for one in IdentityType} | {f"{one.value}:sha256" for one in IdentityType}
    return {name for name in names - known if not (record and re.fullmatch(RECORD + r"([^~]|~[01])+", name))}


def fill_path(template: str, values: Values) -> str:
    """A path; no value can add a segment or leave its own. Raises Unfillable."""
    filled = _PLACEHOLDER.sub(lambda found: quote(_text(values.of(found[1])), safe=""), template)
    if _DOTS & set(filled.split("/")):
        raise Unfillable
    return filled


def fill_text(template: str, values: Values) -> str:
    """A plain text, still to be encoded by whoever writes it somewhere. Raises Unfillable."""
    return _PLACEHOLDER.sub(lambda found: _text(values.of(found[1])), template)


def fill_name(template: str, type_: str, value: str) -> str:
    """The name of a key or file about one identifier, which can not name somebody else's. Raises Unfillable."""
    if type_ in {*placeholders(template)} and (_SEPARATORS & {*value} or value in _DOTS):
        raise Unfillable
    return fill_text(template, Values(type_, value))


def fill_json(template: Json, values: Values) -> Json:
    """A JSON value; a text that is nothing but a placeholder keeps the value's type. Raises Unfillable."""
    match template:
        case str():
            alone = _PLACEHOLDER.fullmatch(template)
            return values.of(alone[1]) if alone else fill_text(template, values)
        case list():
            return [fill_json(item, values) for item in template]
        case dict():
            return {name: fill_json(item, values) for name, item in template.items()}
        case _:
            return template


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
