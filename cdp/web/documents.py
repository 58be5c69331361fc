"""The documents of the pages: they are stored documents by nature."""

from pathlib import Path


def own_documents() -> list[str]:
    """The text of every page's document."""
    return [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.rglob("*.graphql"))]
