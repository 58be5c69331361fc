"""Mutations of bulk exports: ask for one, approve or refuse a personal one, stop or destroy one."""

import strawberry
from strawberry.scalars import JSON

from cdp.access.bulk import APPROVE_SCOPE, EXPORT_SCOPE
from cdp.compiler.bulk import BulkCompiler
from cdp.core.db import Role
from cdp.core.errors import InvalidInput
from cdp.operations.bulk import control, kickoff
from cdp.operations.bulk.kickoff import Wanted
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.bulk import BulkExport
from cdp.tables.bulk import BulkCompression, BulkFormat

EXPORT_ID = "Global id of the bulk export."


class VariablesRefused(InvalidInput):
    """Variables of an export are an object."""

    code = "VARIABLES_REFUSED"


@input_type
class BulkExportRunQueryInput(MutationInput):
    """What to export, for what, and how it is written."""

    query: str = strawberry.field(description="A query whose only root is the connection customers, with its nodes.")
    variables: JSON | None = strawberry.field(default=None, description="Variables of the query.")
    operation_name: str | None = strawberry.field(default=None, description="Which operation, if there are several.")
    purpose: str | None = strawberry.field(default=None, description="Code of the purpose; an export has one.")
    format: BulkFormat = strawberry.field(default=BulkFormat.NDJSON, description="What the files are.")
    compression: BulkCompression = strawberry.field(default=BulkCompression.NONE, description="How they are packed.")
    personal: bool = strawberry.field(
        default=False, description="With fields that identify people and real ids; waits for a second person."
    )
    recipient: str | None = strawberry.field(
        default=None, description="Who gets it: the same pseudonyms each time. Default: you."
    )
    since: str | None = strawberry.field(
        default=None, description="Watermark of an earlier manifest: only what changed since, and whom to forget."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Any text of yours: asking again with it answers with the same export."
    )
    notify_url: str | None = strawberry.field(default=None, description="Where to post a signed note when it ends.")


@input_type
class BulkExportCancelInput(MutationInput):
    """The export to stop, or to destroy when it is finished."""

    id: strawberry.ID = strawberry.field(description=EXPORT_ID)


@input_type
class BulkExportApproveInput(MutationInput):
    """The personal export to let run."""

    id: strawberry.ID = strawberry.field(description=EXPORT_ID)


@input_type
class BulkExportRefuseInput(MutationInput):
    """The personal export to refuse."""

    id: strawberry.ID = strawberry.field(description=EXPORT_ID)


@output_type
class BulkExportRunQueryPayload(MutationPayload):
    """The export that was asked for."""

    bulk_export: BulkExport | None = strawberry.field(description="The export.")


@output_type
class BulkExportCancelPayload(MutationPayload):
    """The export after it was stopped."""

    bulk_export: BulkExport | None = strawberry.field(description="The export.")


@output_type
class BulkExportApprovePayload(MutationPayload):
    """The export after it was approved."""

    bulk_export: BulkExport | None = strawberry.field(description="The export.")


@output_type
class BulkExportRefusePayload(MutationPayload):
    """The export after it was refused."""

    bulk_export: BulkExport | None = strawberry.field(description="The export.")


@strawberry.type
class BulkMutations:
    """Mutations of bulk exports."""

    @mutation
    async def bulk_export_run_query(
        self, info: Info, given: Given[BulkExportRunQueryInput]
    ) -> BulkExportRunQueryPayload | None:
        """Export everybody a query selects. What is wrong with the query is said now. Scope bulk:export."""
        context = info.context
        if not isinstance(given.variables, dict | None):
            raise VariablesRefused
        wanted = Wanted(
            query=given.query,
            purpose=given.purpose,
            variables=given.variables,
            operation_name=given.operation_name,
            format=given.format,
            compression=given.compression,
            personal=given.personal,
            recipient=given.recipient,
            since=given.since,
            idempotency_key=given.idempotency_key,
            notify_url=given.notify_url,
        )
        compiler = BulkCompiler(context.reader.graph, context.reader.limits)
        async with context.attempting("bulk_export.requested", scope=EXPORT_SCOPE):
            asked = await kickoff.run_query(context.platform, compiler, context.viewer, wanted)
        return BulkExportRunQueryPayload(
            client_mutation_id=given.client_mutation_id, bulk_export=ref(BulkExport, asked.id)
        )

    @mutation
    async def bulk_export_cancel(
        self, info: Info, given: Given[BulkExportCancelInput]
    ) -> BulkExportCancelPayload | None:
        """Stop an export of yours, or destroy its files when it is finished. Scope bulk:export."""
        context, export_id = info.context, row_id(given.id, BulkExport)
        async with (
            context.attempting("bulk_export.cancelled", scope=EXPORT_SCOPE),
            context.platform.db.transaction(Role.WORKER) as tx,
        ):
            await control.cancel(tx, context.viewer, export_id)
        return BulkExportCancelPayload(
            client_mutation_id=given.client_mutation_id, bulk_export=ref(BulkExport, export_id)
        )

    @mutation
    async def bulk_export_approve(
        self, info: Info, given: Given[BulkExportApproveInput]
    ) -> BulkExportApprovePayload | None:
        """Let a personal export of somebody else run. Needs a fresh sign-in. Scope bulk:approve."""
        context, export_id = info.context, row_id(given.id, BulkExport)
        async with context.attempting("bulk_export.approved", scope=APPROVE_SCOPE):
            await control.approve(context.platform, context.viewer, export_id)
        return BulkExportApprovePayload(
            client_mutation_id=given.client_mutation_id, bulk_export=ref(BulkExport, export_id)
        )

    @mutation
    async def bulk_export_refuse(
        self, info: Info, given: Given[BulkExportRefuseInput]
    ) -> BulkExportRefusePayload | None:
        """Refuse a personal export of somebody else. Needs a fresh sign-in. Scope bulk:approve."""
        context, export_id = info.context, row_id(given.id, BulkExport)
        async with context.attempting("bulk_export.refused", scope=APPROVE_SCOPE):
            await control.refuse(context.platform, context.viewer, export_id)
        return BulkExportRefusePayload(
            client_mutation_id=given.client_mutation_id, bulk_export=ref(BulkExport, export_id)
        )
