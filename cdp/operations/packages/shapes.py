"""The shape of a collection of records, learned while they stream by: its JSON Schema, and how it fits into CSV.

Objects inside a record become columns with dotted names; lists of objects become tables of their own, joined by the
record's number. Memory grows with the kinds of fields, never with the records.
Source: JSON Schema 2020-12, https://json-schema.org/draft/2020-12
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from cdp.connectors.base import Json, Record

SCHEMA = "https://json-schema.org/draft/2020-12/schema"
RECORD = "_record"
PARENT = "_parent"


@dataclass
class Shape:
    """What has been seen at one place: JSON types, members of objects, items of lists."""

    types: set[str] = field(default_factory=set)
    members: dict[str, "Shape"] = field(default_factory=dict)
    items: "Shape | None" = None

    def see(self, value: Json) -> None:
        """Take one value into account."""
        self.types.add(_TYPES[type(value)])
        if isinstance(value, dict):
            for name, inner in value.items():
                self.members.setdefault(name, Shape()).see(inner)
        elif isinstance(value, list):
            for inner in value:
                self.items = self.items or Shape()
                self.items.see(inner)

    @property
    def is_table(self) -> bool:
        """Whether a list of this shape deserves a CSV table of its own."""
        return self.items is not None and bool(self.items.members)

    def schema(self) -> dict[str, Json]:
        """JSON Schema of one value."""
        types: list[Json] = [*sorted(self.types)]
        found: dict[str, Json] = {"type": types[0] if len(types) == 1 else types}
        if self.members:
            found["properties"] = {name: shape.schema() for name, shape in sorted(self.members.items())}
        if self.items is not None:
            found["items"] = self.items.schema()
        return found

    def columns(self, prefix: str = "") -> list[str]:
        """Columns of one CSV table, dotted, in the order first seen."""
        found: list[str] = []
        for name, shape in self.members.items():
            if shape.members:
                found += shape.columns(f"{prefix}{name}.")
            if not shape.is_table and shape.types != {"object"}:
                found.append(f"{prefix}{name}")
        return list(dict.fromkeys(found))

    def tables(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], "Shape"]]:
        """This table and every table inside it, with the path of member names that leads there."""
        yield path, self
        for name, shape in self.members.items():
            if shape.items is not None and shape.is_table:
                yield from shape.items.tables((*path, name))
            elif shape.members:
                inner = shape.tables((*path, name))
                next(inner)  # its own columns are dotted columns of ours
                yield from inner

    def document(self) -> dict[str, Json]:
        """The shape as JSON."""
        types: list[Json] = [*sorted(self.types)]
        return {
            "types": types,
            "members": {name: shape.document() for name, shape in self.members.items()},
            "items": self.items.document() if self.items else None,
        }

    @classmethod
    def read(cls, document: Json) -> "Shape":
        """Read what ``document`` wrote."""
        if not isinstance(document, dict):
            raise TypeError("a shape is an object")
        types, members, items = document["types"], document["members"], document["items"]
        if not isinstance(types, list) or not isinstance(members, dict):
            raise TypeError("a shape has types and members")
        return cls(
            {str(one) for one in types},
            {name: cls.read(shape) for name, shape in members.items()},
            cls.read(items) if items is not None else None,
        )


_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def rows(record: Record, path: tuple[str, ...], number: int) -> Iterator[dict[str, Json]]:
    """The CSV rows one record gives to the table at ``path``; parent and record numbers join the tables."""
    if not path:
        yield {RECORD: number, **_flat(record)}
        return
    yield from _inner(record, path, str(number))


def _inner(value: Json, path: tuple[str, ...], parent: str) -> Iterator[dict[str, Json]]:
    """Walk to the lists at ``path``; a list on the way adds its position to the parent's number: ``12.3``."""
    inside = value.get(path[0]) if isinstance(value, dict) else None
    if isinstance(inside, list):
        for position, item in enumerate(inside, 1):
            if len(path) > 1:
                yield from _inner(item, path[1:], f"{parent}.{position}")
            elif isinstance(item, dict):
                yield {PARENT: parent, RECORD: f"{parent}.{position}", **_flat(item)}
    elif len(path) > 1:
        yield from _inner(inside, path[1:], parent)


def _flat(record: dict[str, Json], prefix: str = "") -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found[f"{prefix}{name}"] = json.dumps(value, ensure_ascii=False) if value else ""
        else:
            found[f"{prefix}{name}"] = value
    return found
