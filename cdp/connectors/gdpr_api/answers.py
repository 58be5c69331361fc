"""What a service may answer: a tree of nodes, nothing, or errors of one exact form. Messages are never kept.

Source: gdpr-api-openapi.yaml 1.1.0 of https://github.com/City-of-Helsinki/open-city-profile
"""

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cdp.connectors.base import Code, Json, Outcome, Record, State, Subject
from cdp.connectors.calls import strict_json, trouble
from cdp.core.http import Answer

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")
_NAME = re.compile(r"[a-z0-9_]{1,60}")


class NotANode(ValueError):
    """The answer is not a tree of nodes."""


class NodeFailed(Exception):
    """A node says that its value could not be had: the answer is not the whole."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class _Error:
    code: Annotated[str, Field(min_length=1)]
    message: Annotated[Mapping[str, str], Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class _Errors:
    errors: Annotated[list[_Error], Field(min_length=1)]


class Held(NamedTuple):
    """What a service holds about one person."""

    collection: str
    records: list[Record]


def held(answer: Answer) -> Held | Outcome | None:
    """The data of a query, None when there is none: 204 alone says so."""
    if answer.status == 204:
        return None
    if answer.status != 200:
        return _otherwise(answer)
    try:
        root = strict_json(answer.body)
        value = _value(root)
    except ValueError:
        return Outcome(State.FAILED, Code.BAD_ANSWER, {"status": answer.status})
    except NodeFailed:
        return Outcome(State.FAILED, "INCOMPLETE_ANSWER")
    key = str(root["key"]).lower() if isinstance(root, dict) else ""
    return Held(key if _NAME.fullmatch(key) else "records", _records(value))


def refusal(answer: Answer, subject: Subject) -> Outcome:
    """The outcome of a deletion that was not answered with 204."""
    codes = _codes(answer, subject)
    if answer.status == 403 and codes:
        return Outcome(State.REFUSED, codes[0], {"codes": list(codes)})
    outcome = _otherwise(answer)
    if answer.status == 500 and codes:
        return Outcome(outcome.state, outcome.code, {**outcome.evidence, "codes": list(codes)})
    return outcome


def _otherwise(answer: Answer) -> Outcome:
    return Outcome(State.FAILED, Code.NOT_ALLOWED) if answer.status == 403 else trouble(answer)


def _codes(answer: Answer, subject: Subject) -> list[str]:
    """Codes in our form; one that is none, or names the person, becomes ``REFUSED``."""
    try:
        said = TypeAdapter(_Errors).validate_json(answer.body)
    except ValidationError:
        return []
    folded = [
        "REFUSED" if subject.names(one.code) else re.sub(r"[^A-Z0-9]", "_", one.code.upper()) for one in said.errors
    ]
    return [code if _CODE.fullmatch(code) else "REFUSED" for code in folded]


def _value(node: Json) -> Json:
    """A node as plain JSON: children with different keys are an object, others a list of one-member objects."""
    if not isinstance(node, dict) or not isinstance(node.get("key"), str):
        raise NotANode
    if node.get("error") is not None:
        raise NodeFailed
    if not node.keys() <= {"key", "value", "children", "error", "label"} or ("value" in node) == ("children" in node):
        raise NotANode
    if "value" in node:
        return node["value"]  # texts by the specification; services send numbers and null too
    children = node["children"]
    if not isinstance(children, list):
        raise NotANode
    values = [(str(child["key"]), _value(child)) for child in children if isinstance(child, dict) and "key" in child]
    if len(values) != len(children):
        raise NotANode
    if len({key for key, _ in values}) == len(values):
        return dict(values)
    return [{key: value} for key, value in values]


def _records(value: Json) -> list[Record]:
    if isinstance(value, list):
        return [one for one in value if isinstance(one, dict)]
    return [value] if isinstance(value, dict) else [{"value": value}]
