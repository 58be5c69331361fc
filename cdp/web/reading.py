"""What a page reads: one document of its own, beside it, compiled to one statement as the visitor."""

from functools import cache
from pathlib import Path
from typing import Any

from cdp.compiler.reader import Reader
from cdp.web.visit import Visit

HERE = Path(__file__).parent


@cache
def document(name: str) -> str:
    """The text of ``<name>.graphql``; the path is relative to ``web``."""
    return (HERE / f"{name}.graphql").read_text(encoding="utf-8")


async def read(visit: Visit, name: str, **variables: object) -> dict[str, Any]:
    """Ask the page's document as the visitor. Raises PlatformError where any part of it is refused."""
    reader: Reader = visit.request.app.state.reader
    return await reader.one(document(name), visit.viewer, **variables)
