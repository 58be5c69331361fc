"""Whose sign-in something belongs to: a customer's or a member of staff's."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Table, or_, select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.customer import customer


@dataclass(frozen=True)
class Owner:
    """Exactly one of the two."""

    customer_id: CustomerId | None = None
    staff_id: UUID | None = None

    @classmethod
    def of(cls, viewer: Viewer) -> "Owner":
        """Who is signed in."""
        return cls(staff_id=viewer.staff_id) if viewer.actor is Actor.STAFF else cls(viewer.subject)

    @property
    def actor(self) -> Actor:
        """The realm."""
        return Actor.STAFF if self.staff_id is not None else Actor.CUSTOMER

    @property
    def id(self) -> UUID:
        """The one there is."""
        found = self.staff_id or self.customer_id
        assert found is not None, "an owner is somebody"
        return found

    @property
    def columns(self) -> dict[str, UUID | None]:
        """Values for a row of theirs."""
        return {"customer_id": self.customer_id, "staff_id": self.staff_id}

    @property
    def viewer(self) -> Viewer:
        """As who they are recorded."""
        return Viewer(self.actor, customer_id=self.customer_id, staff_id=self.staff_id)

    def holds(self, table: Table) -> ColumnElement[bool]:
        """The condition that a row is theirs."""
        whose: list[ColumnElement[bool]] = []
        if self.customer_id is not None:
            whose.append(table.c.customer_id == self.customer_id)
        if self.staff_id is not None:
            whose.append(table.c.staff_id == self.staff_id)
        return or_(False, *whose)

    async def audit_ref(self, tx: Tx) -> UUID | None:
        """How the audit log names a customer; nothing for staff."""
        if self.customer_id is None:
            return None
        found: UUID | None = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == self.customer_id))
        return found
