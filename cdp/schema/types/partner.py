"""Partners, their grants, and every disclosure of a customer's data to anybody outside."""

from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, func, or_
from sqlalchemy import cast as sql_cast

from cdp.compiler.graph import Kind, Row
from cdp.compiler.render import global_id
from cdp.schema.fields import OrderingSource, column, filtered, many, mapped, one
from cdp.schema.types.comparison import Choice, DateTimeFilter, ExactFilter
from cdp.schema.types.relay import Node
from cdp.tables import partner, sharing
from cdp.tables.partner import GrantStatus, PartnerFunction
from cdp.tables.policy import LegalBasis
from cdp.tables.sharing import OfferStatus, OrderStatus, RecallReason, RecallStatus

strawberry.enum(PartnerFunction, description="What a partner does for us.")
strawberry.enum(GrantStatus, description="Where a partner's grant stands.")
strawberry.enum(RecallReason, description="Why a partner has to destroy what it holds.")
strawberry.enum(RecallStatus, description="Whether a partner has answered a recall.")
strawberry.enum(OfferStatus, description="Where a partner's offer stands.")
strawberry.enum(OrderStatus, name="LegalOrderStatus", description="Where a legal order stands.")


def is_told(row: Row) -> ColumnElement[bool]:
    """Whether the customer may know of a disclosure: at once, or when the silence an order demanded is over."""
    return or_(row["hidden_until"].is_(None), row["hidden_until"] <= func.statement_timestamp())


def _text(name: str) -> Any:  # noqa: ANN401  # an expression, as column takes it
    def read(row: Row) -> ColumnElement[Any]:
        return sql_cast(row[name], Text)

    return read


def _customer_id(row: Row) -> ColumnElement[Any]:
    return global_id("Customer", row["customer_id"])


def _is_live(row: Row) -> ColumnElement[bool]:
    return row["revoked_at"].is_(None) & (row["expires_at"] > func.statement_timestamp())


def _is_overdue(row: Row) -> ColumnElement[bool]:
    return row["acknowledged_at"].is_(None) & (row["due_at"] < func.statement_timestamp())


@mapped(partner.partner_grant, description="What a partner may see and do, agreed to by three people.")
class PartnerGrant(Node):
    """A grant."""

    function: PartnerFunction | None = column(description="What the partner does for us.")
    purposes: list[str] | None = column(description="Codes of the purposes it may name.")
    fields: list[str] | None = column(description="What it may read, as Type.field; everything else is denied.")
    actions: list[str] | None = column(description="What it may do: read, offer.")
    legal_basis: LegalBasis | None = column(description="Why it is lawful.")
    countries: list[str] | None = column(description="It covers customers in these countries; empty: in all.")
    retention_days: int | None = column(description="How long the partner may keep what it read, days.")
    contract_reference: str | None = column(description="The contract behind it.")
    status: GrantStatus | None = column(description="Where it stands.")
    valid_from: datetime | None = column(description="From when it is in force.")
    valid_until: datetime | None = column(description="Until when it is in force.")
    proposed_at: datetime | None = column(description="When it was proposed.")
    endorsed_at: datetime | None = column(description="When a second person agreed.")
    approved_at: datetime | None = column(description="When a third person agreed.")
    ended_at: datetime | None = column(description="When it ended.")
    end_reason: str | None = column(description="Why it was refused or revoked.")
    proposed_by_id: str | None = column(_text("proposed_by_id"), description="Who proposed it.")
    endorsed_by_id: str | None = column(_text("endorsed_by_id"), description="Who agreed second.")
    approved_by_id: str | None = column(_text("approved_by_id"), description="Who agreed third.")


@mapped(sharing.partner_recall, description="A demand that a partner destroys what it holds.")
class PartnerRecall(Node):
    """A recall."""

    reason: RecallReason | None = column(description="Why.")
    status: RecallStatus | None = column(description="Whether the partner has answered.")
    is_overdue: bool | None = column(_is_overdue, description="Whether it should have answered by now.")
    created_at: datetime | None = column(description="When it was made.")
    due_at: datetime | None = column(description="By when the partner has to answer.")
    acknowledged_at: datetime | None = column(description="When it answered.")
    note: str | None = column(description="What it answered.")


@mapped(sharing.partner_offer, description="An offer of a partner, sent by us to customers it never learns.")
class PartnerOffer(Node):
    """An offer."""

    purpose: str | None = column(description="Code of the purpose it is sent for.")
    subject: str | None = column(description="Its subject.")
    body: str | None = column(description="Its text.")
    status: OfferStatus | None = column(description="Where it stands.")
    sent_count: int | None = column(description="To how many customers it was sent.")
    withheld_count: int | None = column(description="How many customers it was withheld from.")
    created_at: datetime | None = column(description="When it was proposed.")
    decided_at: datetime | None = column(description="When it was approved or refused.")
    completed_at: datetime | None = column(description="When everybody was written to.")


@mapped(partner.partner, description="Somebody outside who works for us as far as grants let them.")
class Partner(Node):
    """A partner."""

    code: str | None = column(description="Short name.")
    name: str | None = column(description="Name shown to people.")
    contact: str | None = column(description="Where recalls are sent.")
    created_at: datetime | None = column(description="When it was added.")
    grants: list[PartnerGrant] | None = many(
        {"id": "partner_id"}, order=("-proposed_at", "id"), description="Its grants, newest first."
    )
    recalls: list[PartnerRecall] | None = many(
        {"id": "partner_id"}, order=("-created_at", "id"), description="Recalls, newest first."
    )


@mapped(partner.disclosure, subject="customer_id", description="One disclosure of a customer's data to somebody.")
class Disclosure(Node):
    """A disclosure."""

    recipient: str | None = column(description="To whom.")
    purpose: str | None = column(description="For what.")
    legal_basis: str | None = column(description="Why it was lawful.")
    fields: list[str] | None = column(description="Which fields, as Type.field.")
    disclosed_at: datetime | None = column(description="When.")
    customer_id: str | None = column(_customer_id, kind=Kind.TEXT, description="Whose data it was, by global id.")


@strawberry.input(description="Which disclosures to list.")
class DisclosureFilter:
    """Conditions on disclosures."""

    recipient: ExactFilter | None = filtered(description="To whom.")
    purpose: ExactFilter | None = filtered(description="For what.")
    disclosed_at: DateTimeFilter | None = filtered(description="When.")


@mapped(sharing.shared_link, subject="customer_id", description="A link by which a customer lets somebody read.")
class SharedLink(Node):
    """A link; what opens it is shown once and kept nowhere."""

    recipient: str | None = column(description="For whom it is.")
    purpose: str | None = column(description="For what.")
    areas: list[str] | None = column(description="Which parts of the profile it shows.")
    is_live: bool | None = column(_is_live, description="Whether it still opens.")
    use_count: int | None = column(description="How often it was opened.")
    created_at: datetime | None = column(description="When it was made.")
    expires_at: datetime | None = column(description="Until when it opens.")
    last_used_at: datetime | None = column(description="When it was last opened.")
    revoked_at: datetime | None = column(description="When it was taken back.")


@mapped(sharing.legal_order, subject="customer_id", description="An order of a court or authority to disclose.")
class LegalOrder(Node):
    """A legal order."""

    authority: str | None = column(description="Who ordered it.")
    case_ref: str | None = column(description="Their reference.")
    law: str | None = column(description="On which law it rests.")
    fields: list[str] | None = column(description="What is to be disclosed, as Type.field.")
    status: OrderStatus | None = column(description="Where it stands.")
    silent_until: datetime | None = column(description="Until when the customer may not be told.")
    reason: str | None = column(description="Why it was refused.")
    file_name: str | None = column(description="Name of the document behind it, which is kept sealed.")
    proposed_at: datetime | None = column(description="When it was recorded.")
    approved_at: datetime | None = column(description="When two others had agreed.")
    disclosed_at: datetime | None = column(description="When it was followed.")
    told_at: datetime | None = column(description="When the customer was told.")
    proposed_by_id: str | None = column(_text("proposed_by_id"), description="Who recorded it.")
    customer: Annotated["Customer", strawberry.lazy("cdp.schema.types.customer")] | None = one(  # type: ignore[name-defined]  # noqa: F821  # a lazy name
        {"customer_id": "id"}, description="Whom it is about."
    )


@strawberry.input(description="Which legal orders to list.")
class LegalOrderFilter:
    """Conditions on legal orders."""

    status: Choice[OrderStatus] | None = filtered(description="Where they stand.")


DISCLOSURE_ORDERINGS = {"DISCLOSED_AT": OrderingSource()}
ORDER_ORDERINGS = {"PROPOSED_AT": OrderingSource()}
