"""The query roots; every one of them is compiled."""

import strawberry

from cdp.schema.fields import connection, embedded, many, node_field, one
from cdp.schema.types.audit import AUDIT_ORDERINGS, AuditEvent, AuditEventFilter, AuditEventOrder
from cdp.schema.types.bulk import BULK_ORDERINGS, BulkExport, BulkExportFilter, BulkExportOrder
from cdp.schema.types.canary import CanaryRun
from cdp.schema.types.customer import CUSTOMER_ORDERINGS, Customer, CustomerFilter, CustomerOrder
from cdp.schema.types.hold import HOLD_ORDERINGS, LegalHold, LegalHoldFilter
from cdp.schema.types.manual import MANUAL_ORDERINGS, ManualTask, ManualTaskFilter
from cdp.schema.types.paper import PAPER_ORDERINGS, PaperRecord, PaperRecordFilter
from cdp.schema.types.partner import (
    DISCLOSURE_ORDERINGS,
    ORDER_ORDERINGS,
    Disclosure,
    DisclosureFilter,
    LegalOrder,
    LegalOrderFilter,
    Partner,
    PartnerOffer,
)
from cdp.schema.types.policy import Brand, PolicyVersion, Purpose
from cdp.schema.types.relay import Connection, Node
from cdp.schema.types.request import REQUEST_ORDERINGS, PrivacyRequest, PrivacyRequestFilter, PrivacyRequestOrder
from cdp.schema.types.system import System
from cdp.schema.types.transfer import TRANSFER_ORDERINGS, Transfer, TransferFilter
from cdp.schema.types.viewer import Viewer


@strawberry.type(description="Everything that can be read.")
class Query:
    """Query roots."""

    viewer: Viewer | None = embedded(description="Who asks, and from there everything of their own.")
    node: Node | None = node_field(several=False, description="Any object by its global id.")
    nodes: list[Node | None] | None = node_field(
        several=True, description="Objects by their global ids, in that order."
    )
    customer: Customer | None = one(by_id=True, description="A customer by id.")
    customers: Connection[Customer] | None = connection(
        orderings=CUSTOMER_ORDERINGS,
        default="CREATED_AT",
        order_by=CustomerOrder,
        filter_by=CustomerFilter,
        description="Customers, for staff.",
    )
    privacy_request: PrivacyRequest | None = one(by_id=True, description="A privacy request by id.")
    privacy_requests: Connection[PrivacyRequest] | None = connection(
        orderings=REQUEST_ORDERINGS,
        default="-REQUESTED_AT",
        order_by=PrivacyRequestOrder,
        filter_by=PrivacyRequestFilter,
        description="Privacy requests: your own, or everybody's for staff.",
    )
    manual_tasks: Connection[ManualTask] | None = connection(
        orderings=MANUAL_ORDERINGS,
        default="DUE_AT",
        filter_by=ManualTaskFilter,
        description="Steps of requests that people carry out, the next one due first, for staff.",
    )
    paper_records: Connection[PaperRecord] | None = connection(
        orderings=PAPER_ORDERINGS,
        default="-FILED_AT",
        filter_by=PaperRecordFilter,
        description="Papers in our offices, newest first, for staff.",
    )
    legal_holds: Connection[LegalHold] | None = connection(
        orderings=HOLD_ORDERINGS,
        default="-PLACED_AT",
        filter_by=LegalHoldFilter,
        description="Legal holds, newest first, for staff.",
    )
    audit_events: Connection[AuditEvent] | None = connection(
        orderings=AUDIT_ORDERINGS,
        default="-OCCURRED_AT",
        order_by=AuditEventOrder,
        filter_by=AuditEventFilter,
        description="The audit log, newest first, for privacy officers and administrators.",
    )
    systems: list[System] | None = many(
        order=("position", "name"), description="Connected systems, in order of deletion."
    )
    canary_runs: list[CanaryRun] | None = many(
        order=("-started_at", "id"), description="Erasures of a person who never was, newest first, for administrators."
    )
    policies: list[PolicyVersion] | None = many(order=("-effective_from", "id"), description="Policies, newest first.")
    purposes: list[Purpose] | None = many(order=("code",), description="Purposes for which personal data is used.")
    brands: list[Brand] | None = many(order=("code",), description="Brands.")
    partners: list[Partner] | None = many(order=("code",), description="Partners, for staff.")
    disclosures: Connection[Disclosure] | None = connection(
        orderings=DISCLOSURE_ORDERINGS,
        default="-DISCLOSED_AT",
        filter_by=DisclosureFilter,
        description="What was disclosed to whom, newest first: to you, for partners; all of it, for staff.",
    )
    legal_orders: Connection[LegalOrder] | None = connection(
        orderings=ORDER_ORDERINGS,
        default="-PROPOSED_AT",
        filter_by=LegalOrderFilter,
        description="Legal orders to disclose, newest first, for staff.",
    )
    partner_offers: list[PartnerOffer] | None = many(
        order=("-created_at", "id"), description="Offers of partners, newest first, for staff."
    )
    transfer: Transfer | None = one(by_id=True, description="An asset transfer by id.")
    transfers: Connection[Transfer] | None = connection(
        orderings=TRANSFER_ORDERINGS,
        default="-CREATED_AT",
        filter_by=TransferFilter,
        description="Asset transfers, newest first, for staff.",
    )
    bulk_export: BulkExport | None = one(by_id=True, description="A bulk export by id.")
    bulk_exports: Connection[BulkExport] | None = connection(
        orderings=BULK_ORDERINGS,
        default="-CREATED_AT",
        order_by=BulkExportOrder,
        filter_by=BulkExportFilter,
        description="Bulk exports, newest first.",
    )
