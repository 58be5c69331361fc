"""Mutations of privacy requests: take your data, delete it, undo, revoke a package."""

from datetime import date

import strawberry

from cdp.connectors.base import State
from cdp.operations import references
from cdp.operations.packages.choices import Choices, ExportCategory, ExportFormat
from cdp.operations.requests import erasure, exports, permission, requests
from cdp.operations.requests.erasure import SystemPreview
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.rights import reason_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.scalars import BigInt
from cdp.schema.types.request import Export, PrivacyRequest
from cdp.tables.request import RequestType

STATUS_KEY = (
    "Opens the status page together with the reference, also after signing out; given once. "
    "Null when you joined a request that was open already."
)


strawberry.enum(ExportCategory, description="Data of one kind, as a copy can hold it.")
strawberry.enum(ExportFormat, description="A form in which a copy holds data.")
strawberry.enum(State, name="OutcomeState", description="How a connected system answered.")
RECORDS = "How many records."
COLLECTION = "Kind of records, as the system calls it."


@input_type
class RequestExportInput(MutationInput):
    """A copy of everything; whoever has one under way joins it."""

    portability: bool = strawberry.field(
        default=False, description="To take it elsewhere (GDPR art. 20) instead of to look at it (art. 15)."
    )
    reason: str | None = strawberry.field(default=None, description="Why, if you like to say; up to 2,000 characters.")
    categories: list[ExportCategory] | None = strawberry.field(
        default=None, description="Which data; default: everything, also that of connected systems."
    )
    formats: list[ExportFormat] | None = strawberry.field(
        default=None, description="In which forms; default: every one."
    )
    part_bytes: BigInt | None = strawberry.field(
        default=None, description="Largest part, if the file is to be fetched in parts; 1 MB to 1 TB."
    )
    passphrase: str | None = strawberry.field(
        default=None,
        description="Locks the file in the age format; 12 to 200 characters. We forget it once it is made.",
    )
    age_key: str | None = strawberry.field(default=None, description="Locks the file for this age key (age1…) instead.")


@input_type
class PreviewErasureInput(MutationInput):
    """A deletion that is only thought through."""


@output_type
class ErasedRecords:
    """Records of one kind that a deletion would remove, or cut."""

    collection: str = strawberry.field(description=COLLECTION)
    records: int = strawberry.field(description=RECORDS)


@output_type
class RetainedRecords:
    """Records of one kind that would stay, without the person."""

    collection: str = strawberry.field(description=COLLECTION)
    records: int = strawberry.field(description=RECORDS)
    basis: str = strawberry.field(description="The law that demands it.")
    until: date | None = strawberry.field(description="Until when; null: as long as the basis says.")


@output_type
class ErasurePreview:
    """What a deletion would do in one connected system."""

    name: str = strawberry.field(description="Name of the system.")
    title: str = strawberry.field(description="Its name for people.")
    state: State = strawberry.field(description="DONE: it answered; anything else: it could not say.")
    code: str = strawberry.field(description="Machine code of its answer.")
    will_erase: int = strawberry.field(description="Records that would go.")
    will_keep: int = strawberry.field(description="Records that would stay under a law, without the person.")
    erased: list[ErasedRecords] = strawberry.field(description="What would go, by kind.")
    cut: list[ErasedRecords] = strawberry.field(description="What of the retained would lose the person, by kind.")
    retained: list[RetainedRecords] = strawberry.field(description="What would stay and why, by kind.")


@output_type
class PreviewErasurePayload(MutationPayload):
    """What a deletion would do, system by system; nothing was changed."""

    systems: list[ErasurePreview] = strawberry.field(description="Every connected system, our own tables first.")


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


def _chosen(given: RequestExportInput) -> Choices:
    """An empty list is a choice of nothing, which is refused; no list is everything."""
    return Choices(
        frozenset(ExportCategory if given.categories is None else given.categories),
        frozenset(ExportFormat if given.formats is None else given.formats),
        given.part_bytes,
        given.age_key,
        given.passphrase,
    )


@strawberry.type
class RequestMutations:
    """Mutations of privacy requests."""

    @mutation
    async def request_export(self, info: Info, given: Given[RequestExportInput]) -> RequestExportPayload | None:
        """Ask for a copy of everything held about you. Needs a fresh sign-in. Scope privacy:export."""
        context = info.context
        async with context.writing("request.opened", scope=permission.EXPORT_SCOPE) as tx:
            kind = RequestType.PORTABILITY if given.portability else RequestType.ACCESS
            opened = await requests.open_export(
                tx,
                context.viewer,
                context.platform,
                reason=reason_of(given.reason),
                kind=kind,
                chosen=_chosen(given),
            )
        return RequestExportPayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )

    @mutation
    async def preview_erasure(self, info: Info, given: Given[PreviewErasureInput]) -> PreviewErasurePayload | None:
        """Ask every connected system what your deletion would remove and keep, and why. Scope privacy:erase."""
        context = info.context
        async with context.attempting("erasure.previewed", scope=permission.ERASE_SCOPE):
            found = await erasure.preview(context.platform, context.viewer)
        return PreviewErasurePayload(
            client_mutation_id=given.client_mutation_id, systems=[_preview(one) for one in found]
        )

    @mutation
    async def request_erasure(self, info: Info, given: Given[RequestErasureInput]) -> RequestErasurePayload | None:
        """Have yourself deleted everywhere, after a time to undo. Needs a fresh sign-in. Scope privacy:erase.

        The account is frozen and signed out everywhere at once.
        """
        context = info.context
        erasure.check_confirmation(given.confirmation)
        async with context.writing("request.opened", scope=permission.ERASE_SCOPE) as tx:
            opened = await requests.open_erasure(tx, context.viewer, context.platform, reason=reason_of(given.reason))
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
            reference = await references.of_request(tx, context.viewer, request_id)
            await requests.cancel(tx, context.viewer, reference)
        return CancelRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def revoke_export(self, info: Info, given: Given[RevokeExportInput]) -> RevokeExportPayload | None:
        """Destroy a package of your data before its time. Scope privacy:export."""
        context = info.context
        export_id = row_id(given.id, Export)
        async with context.writing("export.revoked", scope=permission.EXPORT_SCOPE) as tx:
            reference = await references.of_export(tx, context.viewer, export_id)
            await exports.revoke(tx, context.viewer, reference)
        return RevokeExportPayload(client_mutation_id=given.client_mutation_id, export=ref(Export, export_id))


def _preview(found: SystemPreview) -> ErasurePreview:
    outcome = found.outcome
    return ErasurePreview(
        name=found.name,
        title=found.title,
        state=outcome.state,
        code=outcome.code,
        will_erase=found.will_erase,
        will_keep=found.will_keep,
        erased=[ErasedRecords(collection=name, records=count) for name, count in outcome.records.items()],
        cut=[ErasedRecords(collection=name, records=count) for name, count in found.cut.items()],
        retained=[
            RetainedRecords(collection=kept.collection, records=kept.records, basis=kept.basis, until=kept.until)
            for kept in outcome.retained
        ],
    )
