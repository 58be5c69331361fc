"""Documents named by their hash, and which documents may be asked at all.

Two ways to name one: ``documentId`` with ``sha256:`` (GraphQL over HTTP, appendix on persisted documents) and Apollo's
``extensions.persistedQuery``, by which a client may also bring a document once and name it from then on; such a one is
remembered by this process only, and never counts as stored.
Source: https://graphql.github.io/graphql-over-http/draft/#sec-Appendix-Persisted-Documents,
https://www.apollographql.com/docs/apollo-server/performance/apq
"""

import time
from collections.abc import Iterable

from cdp.access.privileges import EXPLORE
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.cache import BoundedCache
from cdp.compiler.document import DocumentRefused
from cdp.core import settings
from cdp.core.db import Role
from cdp.core.errors import Forbidden
from cdp.core.platform import Platform
from cdp.operations.documents import store
from cdp.operations.documents.store import sha256_of
from cdp.schema.request import GraphQLRequest

KEPT_CHARACTERS = 4 * 1024 * 1024
BROUGHT_CHARACTERS = 512 * 1024
KNOWN_S = 60.0
"""How long a stored document is taken as stored without asking again: one that is removed stays for as long."""


class DocumentNotStored(DocumentRefused):
    """There is no stored document with this hash."""

    code = "DOCUMENT_NOT_STORED"


class PersistedQueryNotFound(DocumentRefused):
    """There is no document with this hash here: send it once together with its hash."""

    code = "PERSISTED_QUERY_NOT_FOUND"


class DocumentHashMismatch(DocumentRefused):
    """The hash is not that of the document."""

    code = "DOCUMENT_HASH_MISMATCH"


class DocumentNotAllowed(Forbidden):
    """Only stored documents are answered here: have yours added, then name it by its hash."""

    code = "DOCUMENT_NOT_ALLOWED"


class Documents:
    """Finds the text of requests. One per process; ``own`` are the platform's own documents, which always count."""

    def __init__(self, platform: Platform, own: Iterable[str] = ()) -> None:
        self._db = platform.db
        self._only_stored = platform.settings.graphql_documents is settings.Documents.STORED
        self._own = {sha256_of(text): text for text in own}
        self._stored: BoundedCache[str, tuple[str, float]] = BoundedCache(KEPT_CHARACTERS)
        self._brought: BoundedCache[str, str] = BoundedCache(BROUGHT_CHARACTERS)

    def is_plain(self, request: GraphQLRequest) -> bool:
        """Whether the request's own text is what is asked, and nobody has to be asked about it."""
        return request.sha256 is None and not self._only_stored

    def seen(self, sha256: str | None) -> str:
        """The text behind a hash that has been asked before, or nothing."""
        known = self._stored.get(sha256 or "")
        return self._own.get(sha256 or "") or (known[0] if known else None) or self._brought.get(sha256 or "") or ""

    async def text(self, request: GraphQLRequest, viewer: Viewer) -> str:
        """The document a request names or brings. Raises the refusals of this module."""
        if not request.query:
            return await self._named(request)
        if request.sha256 is not None and sha256_of(request.query) != request.sha256:
            raise DocumentHashMismatch("The hash is not that of the document.")
        if self._only_stored and not (viewer.actor is Actor.SYSTEM or EXPLORE.allows(viewer)):
            if await self._find(sha256_of(request.query)) is None:
                raise DocumentNotAllowed
        elif request.sha256 is not None and request.is_automatic:
            self._brought.put(request.sha256, request.query, weight=len(request.query))
        return request.query

    async def _named(self, request: GraphQLRequest) -> str:
        assert request.sha256 is not None, "a request without a text names a hash"
        found = await self._find(request.sha256)
        if found is None and not self._only_stored:
            found = self._brought.get(request.sha256)
        if found is None:
            if request.is_automatic:
                raise PersistedQueryNotFound("PersistedQueryNotFound")  # some clients look for exactly this message
            raise DocumentNotStored("There is no stored document with this hash.")
        return found

    async def _find(self, sha256: str) -> str | None:
        if sha256 in self._own:
            return self._own[sha256]
        known = self._stored.get(sha256)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        async with self._db.transaction(Role.WORKER) as tx:
            text = await store.find(tx, sha256)
        if text is not None:
            self._stored.put(sha256, (text, time.monotonic() + KNOWN_S), weight=len(text))
        return text
