"""What a resolver is handed: the platform, the viewer, and the way a write is made.

A resolver answers with a ``Ref`` where its payload has an object that the compiler can read; execution compiles that
object's selection after the commit, so that mutations and queries can not disagree about what a field means.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast
from uuid import UUID

import strawberry
from sqlalchemy import func, select
from strawberry.types import Info as StrawberryInfo

from cdp.access.viewer import Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Role, Tx
from cdp.core.ids import parse_global_id
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.requests.watch import RequestWatch

T = TypeVar("T")
LOCK_TIMEOUT_S = 3


@dataclass(frozen=True)
class Ref:
    """An object of the graph by type and row: the compiler reads the rest."""

    type_name: str
    row_id: UUID


def ref(kind: type[T], row_id: UUID) -> T:
    """A Ref where Strawberry's types ask for the object itself."""
    definition = kind.__strawberry_definition__  # type: ignore[attr-defined]  # every Strawberry type has one
    return cast("T", Ref(definition.name, row_id))


def row_id(value: strawberry.ID, kind: type[object]) -> UUID:
    """The row a global id of this type names. Raises InvalidGlobalId."""
    return parse_global_id(value, expected=kind.__strawberry_definition__.name)[1]  # type: ignore[attr-defined]  # see ref


@dataclass(frozen=True)
class Context:
    """One request: who asks, and with what."""

    platform: Platform
    viewer: Viewer
    watch: RequestWatch
    reader: Reader

    @property
    def now(self) -> datetime:
        """The platform's time."""
        return self.platform.clock()

    @property
    def max_age_s(self) -> int:
        """How old a fresh sign-in may be, seconds."""
        return self.platform.settings.step_up_max_age_s

    @asynccontextmanager
    async def attempting(
        self, action: str, *, scope: str, about: tuple[str, UUID] | None = None
    ) -> AsyncIterator[None]:
        """Require ``scope``, and record every refusal of what is done within, in a transaction of its own.

        ``action`` names the attempt in the audit log, ``about`` its object by type and id. Raises MissingScope.
        """
        async with audit.refusing(self.platform.db, self.viewer, action, about=about):
            self.viewer.require_scope(scope)
            yield

    @asynccontextmanager
    async def writing(self, action: str, *, scope: str) -> AsyncIterator[Tx]:
        """``attempting`` with a transaction as the viewer, committed at the end."""
        async with self.attempting(action, scope=scope), self._transaction(self.viewer.role) as tx:
            yield tx

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Tx]:
        """A transaction as the worker, for what needs what no session may read; ``attempting`` goes around it."""
        async with self._transaction(Role.WORKER) as tx:
            yield tx

    @asynccontextmanager
    async def _transaction(self, role: Role) -> AsyncIterator[Tx]:
        async with self.platform.db.transaction(role, subject=self.viewer.customer_id) as tx:
            limit_ms = int(self.platform.settings.statement_timeout_s * 1000)
            await tx.execute(
                select(
                    func.set_config("lock_timeout", f"{LOCK_TIMEOUT_S}s", True),
                    func.set_config("statement_timeout", str(limit_ms), True),
                )
            )
            yield tx


Info = StrawberryInfo[Context, None]
