"""States in plain words, with the tone in which they are shown; never colour alone."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Tone = tuple[str, str]

REQUEST_TYPE: Mapping[str, str] = {
    "ACCESS": "Copy of your data",
    "PORTABILITY": "Copy of your data",
    "ERASURE": "Deletion",
    "RECTIFICATION": "Correction",
    "RESTRICTION": "Restriction",
    "OBJECTION": "Objection",
}
REQUEST_STATUS: Mapping[str, Tone] = {
    "RECEIVED": ("Received", ""),
    "CHECKING": ("Asking every system", ""),
    "COOLING_OFF": ("Waiting period", "warn"),
    "ERASING": ("Deleting", ""),
    "VERIFYING": ("Making sure", ""),
    "COLLECTING": ("Collecting", ""),
    "PACKING": ("Packing", ""),
    "NEEDS_ATTENTION": ("Somebody is looking at it", "warn"),
    "COMPLETED": ("Done", "good"),
    "CANCELLED": ("Called off", ""),
    "REFUSED": ("Refused", "bad"),
    "FAILED": ("Failed", "bad"),
}
TASK_STATUS: Mapping[str, Tone] = {
    "PENDING": ("Not started", ""),
    "RUNNING": ("Under way", ""),
    "RETRYING": ("Trying again", "warn"),
    "WAITING": ("Waiting for the system", "warn"),
    "DONE": ("Done", "good"),
    "REFUSED": ("Refused", "bad"),
    "HELD": ("Held by law", "warn"),
    "UNSUPPORTED": ("Holds nothing we can ask for", ""),
    "FAILED": ("Failed", "bad"),
    "NEEDS_ATTENTION": ("Waiting for a person", "warn"),
}
STEP: Mapping[str, str] = {
    "READ": "Collect",
    "CHECK": "Check",
    "ERASE": "Delete",
    "VERIFY": "Make sure",
    "PACK": "Pack",
}


def parsed_times(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the API with every ``…At`` and ``…Until`` as a datetime, for templates."""
    return [{name: _parsed(name, value) for name, value in row.items()} for row in rows]


def _parsed(name: str, value: object) -> object:
    if isinstance(value, str) and name.endswith(("At", "Until")):
        return datetime.fromisoformat(value)
    return value
