"""Random input for every mutation, made from the schema: refused by code or done, and never an accident."""

import json
import random
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
)

from cdp.core.db import Database
from cdp.core.ids import global_id, new_id
from cdp.schema.execution import Execution
from tests.population import Person, make_person, picture
from tests.schema.conftest import Ask
from tests.schema.test_mutations import fresh

TRIES = 25
TEXTS = [
    "",
    " ",
    "x",
    "DELETE",
    "promotions",
    "de-AT",
    "AT",
    "ada@example.com",
    "+49 30 901820",
    "\u202eevil",
    "\ufeff",
    "\uffff",
    "😀" * 50,
    "é" * 200,
    "x" * 5_000,
    "two\nlines",
    "tab\there",
    "\x01\x02",
    "' OR 1=1 --",
    "%s %(a)s {0} ${x}",
    "\\u0041",
    "<script>",
    "9" * 400,
]
# What is right for a field of this name, so that some inputs get through.
FITTING = {
    "country": "AT",
    "locale": "de-AT",
    "purpose": "promotions",
    "address": "ada@example.com",
    "number": "+49 30 901820",
    "confirmation": "DELETE",
    "key": "theme",
}
NUMBERS = [0, 1, -1, 2, 2**31 - 1, -(2**31), 2**31, 2**63, 10**50]
VALUES: list[Any] = [None, True, 0, 1.5, 1e308, "x", [], {}, [[[]]], {"a": {"b": [1, None]}}, "x" * 5_000, {"": ""}]


def value(chance: random.Random, kind: GraphQLInputType, person: Person, name: str = "") -> Any:
    """A value that mostly fits its type."""
    if not is_non_null_type(kind) and chance.random() < 0.2:
        return None
    if chance.random() < 0.03:
        return chance.choice(VALUES)
    inner = get_nullable_type(kind)
    if is_list_type(inner):
        return [value(chance, inner.of_type, person, name) for _ in range(chance.choice([0, 1, 1, 2, 5]))]
    if isinstance(inner, GraphQLInputObjectType):
        members = list(inner.fields)
        chosen = [chance.choice(members)] if inner.is_one_of else [m for m in members if chance.random() < 0.8]
        return {one: value(chance, inner.fields[one].type, person, one) for one in chosen}
    if isinstance(inner, GraphQLEnumType):
        return chance.choice([*inner.values, "NOTHING"])
    match inner.name:
        case "ID":
            mine = [("EmailAddress", person.email_id), ("PhoneNumber", person.phone_id), ("Order", person.order_id)]
            return chance.choice([global_id(*one) for one in [*mine, ("PrivacyRequest", new_id())]] + TEXTS)
        case "Int":
            return chance.choice(NUMBERS)
        case "Boolean":
            return chance.choice([True, False])
        case "JSON":
            return chance.choice(VALUES)
        case _:
            return FITTING[name] if name in FITTING and chance.random() < 0.7 else chance.choice(TEXTS)


def mutations(execution: Execution) -> dict[str, GraphQLInputType]:
    fields = execution.reader.graph.schema.mutation_type.fields
    return {name: field.args["input"].type for name, field in fields.items()}


@pytest.mark.parametrize("seed", range(4))
async def test_no_input_is_an_accident(db: Database, execution: Execution, ask: Ask, seed: int):
    chance = random.Random(seed)
    bystander = await make_person(db)
    before = await picture(db, bystander)
    done: set[str] = set()
    for name, kind in mutations(execution).items():
        person = await make_person(db)
        for _ in range(TRIES):
            given = value(chance, kind, person)
            document = f"mutation($input: {kind}) {{ {name}(input: $input) {{ clientMutationId }} }}"
            answer = await ask(fresh(person), document, input=given)
            found = {error["extensions"]["code"] for error in answer.get("errors", [])}
            assert "INTERNAL" not in found, (name, json.dumps(given))
            done |= set() if found else {name}
    assert len(done) > 8, "mostly refusals prove little"
    assert await picture(db, bystander) == before
