"""The store of GraphQL documents by their SHA-256, as GraphQL over HTTP's appendix on persisted documents names them.

The hash is that of the exact text in UTF-8: another line break is another document.
Source: https://graphql.github.io/graphql-over-http/draft/#sec-Appendix-Persisted-Documents
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import NotFound
from cdp.operations import audit
from cdp.tables.document import graphql_document


class DocumentNotStored(NotFound):
    """There is no stored document with this hash."""

    code = "DOCUMENT_NOT_STORED"


@dataclass(frozen=True)
class Stored:
    """One stored document."""

    sha256: str
    name: str
    text: str
    added_at: datetime


def sha256_of(text: str) -> str:
    """The name of a document: 64 hexadecimal characters in lower case."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def add(tx: Tx, viewer: Viewer, documents: Mapping[str, str]) -> list[str]:
    """Store documents by name; the hashes of those that were new. A known text keeps its first name."""
    if not documents:
        return []
    rows = {sha256_of(text): {"name": name, "text": text} for name, text in documents.items()}
    statement = insert(graphql_document).values([{"sha256": sha256, **row} for sha256, row in rows.items()])
    kept = statement.on_conflict_do_nothing().returning(graphql_document.c.sha256)
    new = sorted(row.sha256 for row in await tx.all(kept))
    for sha256 in new:  # an event each: somebody may ask since when one document was let in
        await audit.record(tx, viewer, "document.added", subject_ref=None, details={"sha256": sha256})
    return new


async def find(tx: Tx, sha256: str) -> str | None:
    """The text of a stored document, or None."""
    found: str | None = await tx.scalar(select(graphql_document.c.text).where(graphql_document.c.sha256 == sha256))
    return found


async def listed(tx: Tx) -> Sequence[Stored]:
    """Every stored document, by name."""
    statement = select(graphql_document).order_by(graphql_document.c.name, graphql_document.c.sha256)
    return [Stored(row.sha256, row.name, row.text, row.added_at) for row in await tx.all(statement)]


async def remove(tx: Tx, viewer: Viewer, sha256: str) -> None:
    """Forget a document. Running processes may know it for a while longer. Raises DocumentNotStored."""
    gone = delete(graphql_document).where(graphql_document.c.sha256 == sha256).returning(graphql_document.c.sha256)
    if await tx.first(gone) is None:
        raise DocumentNotStored
    await audit.record(tx, viewer, "document.removed", subject_ref=None, details={"sha256": sha256})
