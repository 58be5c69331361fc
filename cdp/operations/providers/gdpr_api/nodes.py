"""One person's data as the tree of nodes the GDPR API speaks: keys in UPPER_SNAKE, values texts, nothing empty.

It is read from the document every data copy of ours is read from, so what they show can not differ.
"""

import re
from collections.abc import AsyncIterator
from typing import TypeAlias

from cdp.connectors.base import Json, Page

Node: TypeAlias = dict[str, "str | list[Node]"]

ROOT = "CUSTOMER_DATA"
# Collections of one record: its values stand directly below the collection's name.
ALONE = frozenset({"profile", "account"})
# What one record of a collection is called, where dropping the plural does not say it.
_ONE = {"activity": "EVENT", "log": "ENTRY"}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


async def tree(pages: AsyncIterator[Page]) -> Node:
    """The whole tree of what pages hold; a collection's pages follow each other."""
    collections: dict[str, list[Node]] = {}
    async for page in pages:
        nodes = collections.setdefault(page.collection, [])
        for record in page.records:
            below = _children(record)
            if page.collection in ALONE:
                nodes += below
            elif below:
                nodes.append({"key": one_of(page.collection), "children": below})
    return {
        "key": ROOT,
        "children": [{"key": key(name), "children": nodes} for name, nodes in collections.items() if nodes],
    }


def key(name: str) -> str:
    """A name of ours in UPPER_SNAKE."""
    return re.sub(r"[^A-Z0-9]+", "_", _HUMP.sub("_", name).upper()).strip("_") or "VALUE"


def one_of(collection: str) -> str:
    """What one of a collection is called."""
    if collection in _ONE:
        return _ONE[collection]
    name = key(collection)
    for plural, singular in (("IES", "Y"), ("SSES", "SS"), ("S", "")):
        if name.endswith(plural):
            return name.removesuffix(plural) + singular
    return f"{name}_RECORD"


def _children(record: dict[str, Json]) -> list[Node]:
    return [node for name, value in record.items() if (node := _node(name, value)) is not None]


def _node(name: str, value: Json) -> Node | None:
    """A member as a node; what is not there is left out, an empty list and object too."""
    match value:
        case None:
            return None
        case bool():
            return {"key": key(name), "value": "true" if value else "false"}
        case dict():
            below = _children(value)
        case list():
            below = [node for item in value if (node := _node(one_of(name), item)) is not None]
        case _:
            return {"key": key(name), "value": str(value)}
    return {"key": key(name), "children": below} if below else None
