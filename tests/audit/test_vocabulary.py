"""One vocabulary: what an event is about is a type of the API, or one of the few others, in the same spelling."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cdp.tables.audit import OTHER_OBJECTS
from tests.twin.reading import GRAPH

ROOT = Path(__file__).parents[2]
CALLS = {"record", "record_refusal", "_record"}
ACTION = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")


def written() -> Iterator[tuple[str, str, str]]:
    """Place, action and type of every literal that is handed to the log."""
    for path in sorted((ROOT / "cdp").rglob("*.py")):
        if "audit.record" not in path.read_text(encoding="utf-8"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in CALLS:
                continue
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            named = [one.value for one in node.keywords if one.arg == "object_type"]
            texts += [one.value for one in named if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            action = next((text for text in texts if ACTION.fullmatch(text)), "")
            for text in texts:
                if text != action:
                    yield place, action, text


def test_every_event_names_its_object_in_one_spelling() -> None:
    known = set(GRAPH.types) | set(OTHER_OBJECTS)
    found = list(written())
    assert len(found) > 20, "the linter reads nothing"
    assert not [one for one in found if one[2] not in known]


def test_the_others_are_no_types_of_the_api() -> None:
    assert not set(OTHER_OBJECTS) & set(GRAPH.types)
