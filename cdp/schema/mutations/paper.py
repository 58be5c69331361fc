"""Mutations about paper records: register one, say that it was destroyed, witness it. Scope requests:work."""

from datetime import date

import strawberry

from cdp.core.ids import CustomerId
from cdp.operations.attachments import attachments
from cdp.operations.paper import records
from cdp.operations.paper.records import Filed
from cdp.operations.requests.permission import WORK_SCOPE
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.documents import DocumentInput, document_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.paper import PaperRecord
from cdp.tables.base import Category
from cdp.tables.paper import paper_record

PAPER = "Global id of the paper record."


@input_type
class RegisterPaperRecordInput(MutationInput):
    """A paper about a customer."""

    customer_id: strawberry.ID = strawberry.field(description="Global id of the customer.")
    category: Category = strawberry.field(description="What kind of data it holds.")
    office: str = strawberry.field(description="The office it is kept in.")
    location: str = strawberry.field(description="Room, cabinet, folder.")
    description: str = strawberry.field(description="What kind of document it is; the customer reads it.")
    retain_until: date = strawberry.field(description="Until when it is kept.")


@input_type
class ReportDestructionInput(MutationInput):
    """A paper that was destroyed."""

    paper_record_id: strawberry.ID = strawberry.field(description=PAPER)
    method: str = strawberry.field(description="How, for example: shredded, DIN 66399 P-4.")
    document: DocumentInput | None = strawberry.field(default=None, description="Its proof, kept sealed.")


@input_type
class WitnessDestructionInput(MutationInput):
    """A paper whose destruction was seen."""

    paper_record_id: strawberry.ID = strawberry.field(description=PAPER)
    is_destroyed: bool = strawberry.field(
        default=True, description="False: it is still there, and has to be destroyed again."
    )


@output_type
class RegisterPaperRecordPayload(MutationPayload):
    """The paper record."""

    paper_record: PaperRecord | None = strawberry.field(description="The paper record.")


@output_type
class ReportDestructionPayload(MutationPayload):
    """The paper record."""

    paper_record: PaperRecord | None = strawberry.field(description="The paper record; a witness confirms it.")


@output_type
class WitnessDestructionPayload(MutationPayload):
    """The paper record."""

    paper_record: PaperRecord | None = strawberry.field(description="The paper record.")


@strawberry.type
class PaperMutations:
    """Mutations about paper records."""

    @mutation
    async def register_paper_record(
        self, info: Info, given: Given[RegisterPaperRecordInput]
    ) -> RegisterPaperRecordPayload | None:
        """Register a paper about a customer; deletions reach it from then on. Scope requests:work."""
        context, customer_id = info.context, CustomerId(row_id(given.customer_id, Customer))
        filed = Filed(given.category, given.office, given.location, given.description, given.retain_until)
        async with context.attempting("paper.registered", scope=WORK_SCOPE), context.working() as tx:
            paper_id = await records.register(tx, context.viewer, customer_id, filed)
        return RegisterPaperRecordPayload(
            client_mutation_id=given.client_mutation_id, paper_record=ref(PaperRecord, paper_id)
        )

    @mutation
    async def report_destruction(
        self, info: Info, given: Given[ReportDestructionInput]
    ) -> ReportDestructionPayload | None:
        """Say that a paper was destroyed; a witness confirms it (witnessDestruction). Scope requests:work."""
        context, paper_id = info.context, row_id(given.paper_record_id, PaperRecord)
        async with (
            context.attempting("paper.reported", scope=WORK_SCOPE),
            attachments.stored(
                context.platform, document_of(given.document), replaces=(paper_record, paper_id)
            ) as document,
            context.working() as tx,
        ):
            await records.report(tx, context.viewer, paper_id, method=given.method, document=document)
        return ReportDestructionPayload(
            client_mutation_id=given.client_mutation_id, paper_record=ref(PaperRecord, paper_id)
        )

    @mutation
    async def witness_destruction(
        self, info: Info, given: Given[WitnessDestructionInput]
    ) -> WitnessDestructionPayload | None:
        """Confirm as a second person that a paper was destroyed, or say that it was not. Scope requests:work."""
        context, paper_id = info.context, row_id(given.paper_record_id, PaperRecord)
        async with context.attempting("paper.destroyed", scope=WORK_SCOPE), context.working() as tx:
            step = records.witness if given.is_destroyed else records.contradict
            await step(tx, context.viewer, context.platform, paper_id)
        return WitnessDestructionPayload(
            client_mutation_id=given.client_mutation_id, paper_record=ref(PaperRecord, paper_id)
        )
