"""Mutations of privacy requests: take your data, delete it, undo, revoke a package."""

import strawberry
from sqlalchemy import select

from cdp.core.errors import InvalidInput, NotFound
from cdp.operations import exports, requests, values
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.request import Export, PrivacyRequest
from cdp.tables.export import export
from cdp.tables.request import privacy_request

CONFIRMATION = "DELETE"
STATUS_KEY = (
    "Opens the status page together with the reference, also after signing out; given once. "
    "Null when you joined a request that was open already."
)


class ConfirmationMissing(InvalidInput):
    """Type DELETE to confirm."""

    code = "CONFIRMATION_MISSING"


@input_type
class RequestExportInput(MutationInput):
    """A copy of everything; whoever has one under way joins it."""

    reason: str | None = strawberry.field(default=None, description="Why, if you like to say; up to 2,000 characters.")


@input_type
class RequestErasureInput(MutationInput):
    """Deletion everywhere, confirmed."""

    confirmation: str = strawberry.field(description="The word DELETE, typed by the person.")
    reason: str | None = strawberry.field(default=None, description="Why, if you like to say; up to 2,000 characters.")


@input_type
class CancelRequestInput(MutationInput):
    """The request to call off."""

    id: strawberry.ID = strawberry.field(description="Global id of the request.")


@input_type
class RevokeExportInput(MutationInput):
    """The package to destroy."""

    id: strawberry.ID = strawberry.field(description="Global id of the export.")


@output_type
class RequestExportPayload(MutationPayload):
    """The opened request."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")
    status_key: str | None = strawberry.field(description=STATUS_KEY)


@output_type
class RequestErasurePayload(MutationPayload):
    """The opened request."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")
    status_key: str | None = strawberry.field(description=STATUS_KEY)


@output_type
class CancelRequestPayload(MutationPayload):
    """The request after it was called off."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")


@output_type
class RevokeExportPayload(MutationPayload):
    """The package after it was revoked."""

    export: Export | None = strawberry.field(description="The package; its key is destroyed.")


@strawberry.type
class RequestMutations:
    """Mutations of privacy requests."""

    @mutation
    async def request_export(self, info: Info, given: Given[RequestExportInput]) -> RequestExportPayload | None:
        """Ask for a copy of everything held about you. Needs a fresh sign-in. Scope privacy:export."""
        context = info.context
        async with context.writing("request.opened", scope=requests.EXPORT_SCOPE) as tx:
            opened = await requests.open_export(tx, context.viewer, context.platform, reason=_reason(given.reason))
        return RequestExportPayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )

    @mutation
    async def request_erasure(self, info: Info, given: Given[RequestErasureInput]) -> RequestErasurePayload | None:
        """Have yourself deleted everywhere, after a time to undo. Needs a fresh sign-in. Scope privacy:erase.

        The account is frozen and signed out everywhere at once.
        """
        context = info.context
        if given.confirmation != CONFIRMATION:
            raise ConfirmationMissing
        async with context.writing("request.opened", scope=requests.ERASE_SCOPE) as tx:
            opened = await requests.open_erasure(tx, context.viewer, context.platform, reason=_reason(given.reason))
        return RequestErasurePayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )

    @mutation
    async def cancel_request(self, info: Info, given: Given[CancelRequestInput]) -> CancelRequestPayload | None:
        """Undo a deletion while it cools off, or stop an export. Scope privacy:erase or privacy:export."""
        context = info.context
        request_id = row_id(given.id, PrivacyRequest)
        async with context.writing("request.cancelled", scope="privacy:read") as tx:
            reference = await tx.scalar(
                select(privacy_request.c.reference).where(
                    privacy_request.c.id == request_id, privacy_request.c.customer_id == context.viewer.subject
                )
            )
            if reference is None:
                raise NotFound
            await requests.cancel(tx, context.viewer, reference)
        return CancelRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def revoke_export(self, info: Info, given: Given[RevokeExportInput]) -> RevokeExportPayload | None:
        """Destroy a package of your data before its time. Scope privacy:export."""
        context = info.context
        export_id = row_id(given.id, Export)
        async with context.writing("export.revoked", scope=requests.EXPORT_SCOPE) as tx:
            reference = await tx.scalar(
                select(export.c.reference).where(
                    export.c.id == export_id, export.c.customer_id == context.viewer.subject
                )
            )
            if reference is None:
                raise NotFound
            await exports.revoke(tx, context.viewer, reference)
        return RevokeExportPayload(client_mutation_id=given.client_mutation_id, export=ref(Export, export_id))


def _reason(given: str | None) -> str | None:
    return values.optional(lambda text: values.text(text, "reason", longest=2000, lines=True), given)
