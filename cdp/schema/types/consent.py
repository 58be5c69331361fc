"""Consents per purpose and channel: an append-only ledger whose newest row decides."""

from datetime import datetime

import strawberry
from sqlalchemy import ColumnElement, and_, exists, literal_column, tuple_

from cdp.compiler.graph import Row
from cdp.schema.fields import column, filtered, mapped, one
from cdp.schema.types.comparison import Choice, ExactFilter
from cdp.schema.types.policy import COLLECTED, Collection, Purpose
from cdp.schema.types.relay import Node
from cdp.tables import consent
from cdp.tables.consent import Channel, ConsentAction

strawberry.enum(Channel, description="How somebody is contacted; ANY where a purpose has no channel.")
strawberry.enum(ConsentAction, description="Given or withdrawn.")


@mapped(consent.consent, subject="customer_id", description="One decision about one purpose and channel.")
class Consent(Node):
    """A row of the consent ledger."""

    purpose_code: str = column("purpose", description="Code of the purpose.")
    purpose: Purpose | None = one({"purpose": "code"}, description="What it was decided about.")
    channel: Channel = column(description="By which channel.")
    action: ConsentAction = column(description="Given or withdrawn.")
    wording: str = column(description="The words the customer saw.")
    recorded_at: datetime = column(description="When.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@strawberry.input(description="Which decisions to list.")
class ConsentFilter:
    """Conditions on consents."""

    purpose: ExactFilter | None = filtered(description="Code of the purpose.")
    channel: Choice[Channel] | None = filtered(description="Channel.")


def is_newest(row: Row) -> ColumnElement[bool]:
    """Whether no later decision about the same purpose and channel exists."""
    later = consent.consent.alias("later")
    same = and_(*(later.c[name] == row[name] for name in ("customer_id", "purpose", "channel")))
    after = tuple_(later.c.recorded_at, later.c.id) > tuple_(row["recorded_at"], row["id"])
    return ~exists(literal_column("1")).select_from(later).where(same, after)
