"""Mutations about steps that people carry out: report what came of one, confirm or send back. Scope requests:work."""

import strawberry

from cdp.operations.attachments import attachments
from cdp.operations.manual import work
from cdp.operations.manual.work import Report
from cdp.operations.requests.permission import WORK_SCOPE
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.documents import DocumentInput, document_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.manual import ManualTask
from cdp.tables.manual import ManualOutcome, manual_task

TASK = "Global id of the task."


@input_type
class TaskEvidenceInput:
    """What shows it."""

    records: int | None = strawberry.field(default=None, description="How many records it was; needed for DONE.")
    code: str | None = strawberry.field(default=None, description="A code, capital letters and digits.")
    document: DocumentInput | None = strawberry.field(default=None, description="A document, kept sealed.")


@input_type
class CompleteManualTaskInput(MutationInput):
    """What came of a task."""

    task_id: strawberry.ID = strawberry.field(description=TASK)
    outcome: ManualOutcome = strawberry.field(description="What came of it.")
    evidence: TaskEvidenceInput | None = strawberry.field(default=None, description="What shows it.")
    note: str | None = strawberry.field(default=None, description="Words for colleagues; up to 2,000 characters.")


@input_type
class ConfirmManualTaskInput(MutationInput):
    """The task to confirm."""

    task_id: strawberry.ID = strawberry.field(description=TASK)


@input_type
class SendBackManualTaskInput(MutationInput):
    """The task to do again."""

    task_id: strawberry.ID = strawberry.field(description=TASK)
    note: str = strawberry.field(description="What is missing, for colleagues; up to 2,000 characters.")


@output_type
class CompleteManualTaskPayload(MutationPayload):
    """The reported task."""

    task: ManualTask | None = strawberry.field(description="The task; a second person confirms it.")


@output_type
class ConfirmManualTaskPayload(MutationPayload):
    """The confirmed task."""

    task: ManualTask | None = strawberry.field(description="The task; its request goes on.")


@output_type
class SendBackManualTaskPayload(MutationPayload):
    """The task that is open again."""

    task: ManualTask | None = strawberry.field(description="The task.")


@strawberry.type
class ManualMutations:
    """Mutations about tasks for people."""

    @mutation
    async def complete_manual_task(
        self, info: Info, given: Given[CompleteManualTaskInput]
    ) -> CompleteManualTaskPayload | None:
        """Say what came of a task; a second person confirms it (confirmManualTask). Scope requests:work."""
        context, task_id = info.context, row_id(given.task_id, ManualTask)
        shown = given.evidence or TaskEvidenceInput()
        report = Report(given.outcome, shown.records, shown.code, given.note)
        async with (
            context.attempting("manual_task.reported", scope=WORK_SCOPE),
            attachments.stored(
                context.platform, document_of(shown.document), replaces=(manual_task, task_id)
            ) as document,
            context.working() as tx,
        ):
            await work.report(tx, context.viewer, task_id, report, document=document)
        return CompleteManualTaskPayload(client_mutation_id=given.client_mutation_id, task=ref(ManualTask, task_id))

    @mutation
    async def confirm_manual_task(
        self, info: Info, given: Given[ConfirmManualTaskInput]
    ) -> ConfirmManualTaskPayload | None:
        """Confirm what a colleague reported, never oneself; its request goes on. Scope requests:work."""
        context, task_id = info.context, row_id(given.task_id, ManualTask)
        async with context.attempting("manual_task.confirmed", scope=WORK_SCOPE), context.working() as tx:
            await work.confirm(tx, context.viewer, context.platform, task_id)
        return ConfirmManualTaskPayload(client_mutation_id=given.client_mutation_id, task=ref(ManualTask, task_id))

    @mutation
    async def send_back_manual_task(
        self, info: Info, given: Given[SendBackManualTaskInput]
    ) -> SendBackManualTaskPayload | None:
        """Send a colleague's report back. Scope requests:work."""
        context, task_id = info.context, row_id(given.task_id, ManualTask)
        async with context.attempting("manual_task.sent_back", scope=WORK_SCOPE), context.working() as tx:
            await work.send_back(tx, context.viewer, context.platform, task_id, note=given.note)
        return SendBackManualTaskPayload(client_mutation_id=given.client_mutation_id, task=ref(ManualTask, task_id))
