"""People who place and release holds, in a test's hands."""

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Row, select

from cdp.access.viewer import Viewer
from cdp.core.db import Role
from cdp.operations.attachments import attachments
from cdp.operations.attachments.attachments import Document
from cdp.operations.holds import holds
from cdp.operations.holds.holds import Wanted
from cdp.tables.base import Category
from cdp.tables.hold import legal_hold
from tests.engine import Engine
from tests.population import Person
from tests.requests.test_casework import hire

WRIT = Document("writ.pdf", "application/pdf", b"%PDF-1.7 a court's order")


@dataclass(frozen=True)
class Desk:
    """A privacy officer and a second person."""

    engine: Engine
    officer: Viewer
    second: Viewer

    async def place(
        self, person: Person, category: Category, *, document: Document | None = None, **changes: object
    ) -> UUID:
        platform = self.engine.platform
        wanted = replace(Wanted(category, "Court case 12 O 34/26."), **changes)  # type: ignore[arg-type]  # its fields
        async with attachments.stored(platform, document) as one, platform.db.transaction(Role.WORKER) as tx:
            return await holds.place(tx, self.officer, platform, person.customer_id, wanted, document=one)

    async def agree(self, hold_id: UUID, viewer: Viewer | None = None) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await holds.agree(tx, viewer or self.second, self.engine.platform, hold_id)

    async def refuse(self, hold_id: UUID, viewer: Viewer | None = None) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await holds.refuse(tx, viewer or self.second, self.engine.platform, hold_id, reason="No case.")

    async def ask_release(self, hold_id: UUID, viewer: Viewer | None = None) -> None:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            await holds.ask_release(tx, viewer or self.officer, self.engine.platform, hold_id, reason="Case closed.")

    async def hold(self, person: Person, category: Category, **changes: object) -> UUID:
        hold_id = await self.place(person, category, **changes)
        await self.agree(hold_id)
        return hold_id

    async def release(self, hold_id: UUID) -> None:
        await self.ask_release(hold_id)
        await self.agree(hold_id)

    async def row(self, hold_id: UUID) -> Row[tuple[object, ...]]:
        async with self.engine.platform.db.transaction(Role.WORKER) as tx:
            found = await tx.first(select(legal_hold).where(legal_hold.c.id == hold_id))
        assert found is not None
        return found


async def staffed(engine: Engine) -> Desk:
    officer, second = await hire(engine, "privacy_officer"), await hire(engine, "supervisor")
    now = engine.platform.clock()
    return Desk(engine, replace(officer, authenticated_at=now), replace(second, authenticated_at=now))
