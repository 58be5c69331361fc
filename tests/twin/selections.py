"""Random valid documents over the schema: aliases, fragments, directives, variables, pages, filters, orders."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
)
from hypothesis import strategies as st

from cdp.core.clock import iso
from tests.twin.rows import START, TEXTS

DEPTH = 9
MOST_FIELDS = 60


@dataclass
class Enum:
    """A bare name in a literal."""

    name: str


@dataclass
class Written:
    """A document and its variables."""

    text: str
    variables: dict[str, Any]


@dataclass
class Writer:
    """Writes one document."""

    draw: Any
    schema: GraphQLSchema
    ids: Sequence[str]
    declared: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    fragments: list[str] = field(default_factory=list)
    serial: int = 0
    fields: int = 0

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent

    def pick(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def fresh(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.serial}"

    def document(self, roots: Sequence[str]) -> Written:
        query = self.schema.query_type
        chosen = [
            self.field(query, name, DEPTH)
            for name in self.draw(st.lists(st.sampled_from(roots), min_size=1, max_size=3))
        ]
        body = " ".join(chosen)
        if self.chance(20):
            body = f"... on Query {{ {body} }}"
        head = ", ".join(f"${name}: {kind}" for name, kind in self.declared.items())
        text = f"query Q{f'({head})' if head else ''} {{ __typename {body} }}\n" + "\n".join(self.fragments)
        return Written(text, self.values)

    def selection(self, kind: GraphQLNamedType, depth: int) -> str:
        if isinstance(kind, GraphQLInterfaceType):
            inner = [t for t in self.schema.get_possible_types(kind) if self.chance(30)]
            return "__typename id " + " ".join(f"... on {t.name} {{ {self.selection(t, depth - 1)} }}" for t in inner)
        assert isinstance(kind, GraphQLObjectType)
        names = [n for n, f in kind.fields.items() if depth > 1 or is_leaf_type(get_named_type(f.type))]
        if not names or self.fields > MOST_FIELDS:
            return "__typename"
        chosen = self.draw(st.lists(st.sampled_from(names), min_size=1, max_size=5))
        parts = [self.field(kind, name, depth) for name in chosen]
        if self.chance(15):
            parts.append("__typename" if self.chance(50) else f"{self.fresh('t')}: __typename")
        return " ".join(self.wrapped(kind, part) for part in parts)

    def wrapped(self, kind: GraphQLObjectType, part: str) -> str:
        way = self.draw(st.integers(0, 19))
        if way == 0:
            return f"... on {kind.name}{self.directive()} {{ {part} }}"
        if way == 1:
            return f"...{self.directive()} {{ {part} }}"
        if way == 2:
            name = self.fresh("f")
            self.fragments.append(f"fragment {name} on {kind.name} {{ {part} }}")
            return f"...{name}{self.directive()} ...{name}"
        if way == 3 and any(one.name == "Node" for one in kind.interfaces):
            return f"... on Node {{ id }} {part}"
        return part

    def directive(self) -> str:
        if not self.chance(30):
            return ""
        name, value = self.pick(["include", "skip"]), self.chance(50)
        if self.chance(50):
            return f" @{name}(if: {json.dumps(value)})"
        variable = self.fresh("b")
        self.declared[variable] = "Boolean!"
        self.values[variable] = value
        return f" @{name}(if: ${variable})"

    def field(self, kind: GraphQLObjectType, name: str, depth: int) -> str:
        self.fields += 1
        definition = kind.fields[name]
        target = get_named_type(definition.type)
        alias = f"{self.fresh('a')}: " if definition.args or self.chance(10) else ""
        arguments = self.arguments(definition)
        inner = "" if is_leaf_type(target) else f" {{ {self.selection(target, depth - 1)} }}"
        return f"{alias}{name}{arguments}{self.directive()}{inner}"

    def arguments(self, definition: GraphQLField) -> str:
        given: dict[str, Any] = {}
        for name, argument in definition.args.items():
            if name in {"after", "before", "last"}:
                continue
            if name == "first":
                if self.chance(60):
                    given[self.pick(["first", "first", "last"])] = self.draw(st.integers(0, 4))
            elif name == "id":
                given["id"] = self.pick(self.ids)
            elif name == "ids":
                given["ids"] = self.draw(st.lists(st.sampled_from(list(self.ids)), max_size=3))
            elif self.chance(40):
                given[name] = self.value(argument.type)
        parts = [f"{name}: {self.given(definition, name, value)}" for name, value in given.items()]
        return f"({', '.join(parts)})" if parts else ""

    def given(self, definition: GraphQLField, name: str, value: Any) -> str:
        if self.chance(50):
            return literal(value)
        variable = self.fresh("v")
        self.declared[variable] = str(definition.args[name].type)
        self.values[variable] = plain(value)
        return f"${variable}"

    def value(self, kind: GraphQLInputType) -> Any:
        target = get_nullable_type(kind)
        if is_list_type(target):
            return [self.value(target.of_type) for _ in range(self.draw(st.integers(0, 3)))]
        if isinstance(target, GraphQLInputObjectType):
            required = [n for n, f in target.fields.items() if str(f.type).endswith("!")]
            others = [n for n in target.fields if n not in required]
            chosen = required + self.draw(
                st.lists(st.sampled_from(others), max_size=2, unique=True) if others else st.just([])
            )
            return {name: self.value(target.fields[name].type) for name in chosen}
        if isinstance(target, GraphQLEnumType):
            return Enum(self.pick(list(target.values)))
        return self.scalar(target.name)

    def scalar(self, name: str) -> Any:
        match name:
            case "DateTime":
                return iso(START + timedelta(hours=self.draw(st.integers(-1, 6))))
            case "Decimal":
                return self.pick(["0", "1.00", "19.99", "10000000000000.01"])
            case "Boolean":
                return self.chance(50)
            case "ID":
                return self.pick(self.ids)
            case _:
                return self.pick([*TEXTS, "page", "DE", "+49301", "O", "a"])


def literal(value: Any) -> str:
    """A value as GraphQL writes it."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def plain(value: Any) -> Any:
    """A value as JSON writes it."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@st.composite
def documents(draw: Any, schema: GraphQLSchema, ids: Sequence[str], roots: Sequence[str]) -> Written:
    """A random document over these root fields, using these global ids."""
    return Writer(draw, schema, ids).document(roots)
