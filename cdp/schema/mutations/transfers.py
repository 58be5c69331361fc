"""Mutations about asset transfers: makers move a deal on, others confirm and approve, anybody concerned objects."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from cdp.access.transfers import MANAGE_SCOPE, READ_SCOPE
from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations.delivery import deltas, packages, selection
from cdp.operations.transfers import classifying, deals, freezing, notices, objections, states, views, wire
from cdp.operations.transfers.deals import TransferInvalid
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.transfer import Transfer

Step = Callable[[Tx, Viewer, Platform, UUID], Awaitable[object]]
P = TypeVar("P", bound="TransferPayload")


@input_type
class CreateTransferInput(MutationInput):
    """The terms of a deal."""

    terms: JSON = strawberry.field(
        description="Seller, acquirer and key, brand, cohorts, reviews, notice; see docs/transfers.md."
    )


@input_type
class TransferInput(MutationInput):
    """One transfer."""

    transfer_id: strawberry.ID = strawberry.field(description="Global id of the transfer.")


@input_type
class ClassifyTransferInput(TransferInput):
    """The transfer to classify."""


@input_type
class NotifyTransferInput(TransferInput):
    """The transfer whose customers are told."""


@input_type
class FreezeTransferInput(TransferInput):
    """The transfer to freeze."""


@input_type
class ThawTransferInput(TransferInput):
    """The transfer to thaw."""


@input_type
class ConfirmTransferKeyInput(TransferInput):
    """The fingerprint of the acquirer's key."""

    fingerprint: str = strawberry.field(description="As the acquirer said it, on another way than the key came by.")


@input_type
class ApproveTransferInput(TransferInput):
    """The hash of what is frozen."""

    sha256: str = strawberry.field(description="Hexadecimal, as freezeTransfer answered it.")


@input_type
class CancelTransferInput(TransferInput):
    """The transfer to call off."""

    reason: str = strawberry.field(description="Why; up to 2,000 characters, for colleagues.")


@input_type
class OfferTransferAgainInput(TransferInput):
    """The transfer whose newest package is offered again."""


@input_type
class RetryTransferPartsInput(TransferInput):
    """The transfer whose failed parts are made again."""


@input_type
class RecallTransferInput(TransferInput):
    """The transfer to call back."""

    reason: str = strawberry.field(description="Why; up to 2,000 characters, kept with the transfer.")


@input_type
class PreviewTransferInput(TransferInput):
    """The transfer to look into."""

    each: int = strawberry.field(default=3, description="How many of each cohort and reason, 20 at most.")


@input_type
class RecordTransferObjectionInput(TransferInput):
    """Who objected."""

    customer_id: strawberry.ID = strawberry.field(description="Global id of the customer who called or wrote.")


@input_type
class ObjectToTransferInput(MutationInput):
    """The transfer to stay out of."""

    reference: str = strawberry.field(description="Reference of the transfer, as the notice names it.")


@output_type
class TransferPayload(MutationPayload):
    """The transfer."""

    transfer: Transfer | None = strawberry.field(description="The transfer as it is now.")


@output_type
class CreateTransferPayload(TransferPayload):
    """The transfer, and what a second person compares."""

    fingerprint: str | None = strawberry.field(default=None, description="SHA-256 of the acquirer's key, in groups.")


@output_type
class ConfirmTransferKeyPayload(TransferPayload):
    """The transfer whose key is confirmed."""


@output_type
class ClassifyTransferPayload(TransferPayload):
    """The classified transfer."""


@output_type
class NotifyTransferPayload(TransferPayload):
    """The transfer that is told of."""


@output_type
class FreezeTransferPayload(TransferPayload):
    """The frozen transfer."""


@output_type
class ThawTransferPayload(TransferPayload):
    """The transfer, open again."""


@output_type
class ApproveTransferPayload(TransferPayload):
    """The transfer with its approval."""


@output_type
class CancelTransferPayload(TransferPayload):
    """The transfer that was called off."""


@output_type
class OfferTransferAgainPayload(TransferPayload):
    """The transfer, offered again."""


@output_type
class RetryTransferPartsPayload(TransferPayload):
    """The transfer whose parts are made again."""

    parts: int = strawberry.field(default=0, description="How many parts.")


@output_type
class RecallTransferPayload(TransferPayload):
    """The transfer that is called back."""


@output_type
class TransferSample:
    """Somebody of a cohort or left out for a reason, masked."""

    group: str = strawberry.field(description="The cohort's name, or the reason why they do not go.")
    goes: bool = strawberry.field(description="Whether they would go.")
    name: str | None = strawberry.field(description="Family name or organisation, masked.")
    email: str | None = strawberry.field(description="Primary e-mail address, masked.")


@output_type
class PreviewTransferPayload(TransferPayload):
    """A few people of each cohort and of each reason."""

    samples: list[TransferSample] = strawberry.field(description="Who goes first, then who does not.")


@output_type
class RecordTransferObjectionPayload(TransferPayload):
    """The transfer somebody stays out of."""


@output_type
class ObjectToTransferPayload(TransferPayload):
    """The transfer you stay out of."""


async def _move(info: Info, given: TransferInput, action: str, step: Step, answer: type[P]) -> P:
    context, transfer_id = info.context, row_id(given.transfer_id, Transfer)
    about = (states.OBJECT, transfer_id)
    async with context.attempting(action, scope=MANAGE_SCOPE, about=about), context.working() as tx:
        await step(tx, context.viewer, context.platform, transfer_id)
    return answer(client_mutation_id=given.client_mutation_id, transfer=ref(Transfer, transfer_id))


@strawberry.type
class TransferMutations:
    """Mutations about asset transfers."""

    @mutation
    async def create_transfer(self, info: Info, given: Given[CreateTransferInput]) -> CreateTransferPayload | None:
        """Record a deal; privacy officers and administrators. Scope transfers:manage."""
        context, terms = info.context, given.terms
        graph = context.reader.graph
        async with context.attempting("transfer.created", scope=MANAGE_SCOPE), context.working() as tx:
            states.require_maker(context.viewer, context.platform)
            if not isinstance(terms, dict):
                raise TransferInvalid(field="terms")
            made = await deals.create(
                tx,
                context.viewer,
                context.platform,
                wire.read(terms),
                check_fields=lambda paths: selection.document(graph, paths),
            )
        return CreateTransferPayload(
            client_mutation_id=given.client_mutation_id, transfer=ref(Transfer, made.id), fingerprint=made.fingerprint
        )

    @mutation
    async def confirm_transfer_key(
        self, info: Info, given: Given[ConfirmTransferKeyInput]
    ) -> ConfirmTransferKeyPayload | None:
        """Confirm the acquirer's key as a second person, by its fingerprint. Scope transfers:manage."""

        async def step(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> Any:  # noqa: ANN401  # as Step
            return await deals.confirm_key(tx, viewer, platform, transfer_id, given=given.fingerprint)

        return await _move(info, given, "transfer.key_confirmed", step, ConfirmTransferKeyPayload)

    @mutation
    async def classify_transfer(
        self, info: Info, given: Given[ClassifyTransferInput]
    ) -> ClassifyTransferPayload | None:
        """Put everybody in scope into a cohort, or exclude them for one reason. Scope transfers:manage."""
        return await _move(info, given, "transfer.classified", classifying.classify, ClassifyTransferPayload)

    @mutation
    async def notify_transfer(self, info: Info, given: Given[NotifyTransferInput]) -> NotifyTransferPayload | None:
        """Write to everybody who would go; their days to object start as it reaches them. Scope transfers:manage."""
        return await _move(info, given, "transfer.notifying", notices.notify, NotifyTransferPayload)

    @mutation
    async def freeze_transfer(self, info: Info, given: Given[FreezeTransferInput]) -> FreezeTransferPayload | None:
        """Fix who goes, as a hash that two others approve. Scope transfers:manage."""
        return await _move(info, given, "transfer.frozen", freezing.freeze, FreezeTransferPayload)

    @mutation
    async def thaw_transfer(self, info: Info, given: Given[ThawTransferInput]) -> ThawTransferPayload | None:
        """Give up what is frozen, before it is packed. Scope transfers:manage."""
        return await _move(info, given, "transfer.window", freezing.thaw, ThawTransferPayload)

    @mutation
    async def approve_transfer(self, info: Info, given: Given[ApproveTransferInput]) -> ApproveTransferPayload | None:
        """Approve what is frozen, by its hash; the second approval lets it be packed. Scope transfers:manage."""

        async def step(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> Any:  # noqa: ANN401  # as Step
            return await freezing.approve(tx, viewer, platform, transfer_id, sha256=given.sha256)

        return await _move(info, given, "transfer.approval_given", step, ApproveTransferPayload)

    @mutation
    async def cancel_transfer(self, info: Info, given: Given[CancelTransferInput]) -> CancelTransferPayload | None:
        """Call a deal off before anything was delivered. Scope transfers:manage."""

        async def step(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> Any:  # noqa: ANN401  # as Step
            return await deals.cancel(tx, viewer, platform, transfer_id, reason=given.reason)

        return await _move(info, given, "transfer.cancelled", step, CancelTransferPayload)

    @mutation
    async def offer_transfer_again(
        self, info: Info, given: Given[OfferTransferAgainInput]
    ) -> OfferTransferAgainPayload | None:
        """Offer the newest package for one more pull. Scope transfers:manage."""
        return await _move(info, given, "transfer.offered", packages.offer_again, OfferTransferAgainPayload)

    @mutation
    async def retry_transfer_parts(
        self, info: Info, given: Given[RetryTransferPartsInput]
    ) -> RetryTransferPartsPayload | None:
        """Let parts of the package that have failed be made again. Scope transfers:manage."""
        context, transfer_id = info.context, row_id(given.transfer_id, Transfer)
        async with context.attempting("transfer.parts_retried", scope=MANAGE_SCOPE), context.working() as tx:
            parts = await packages.retry(tx, context.viewer, context.platform, transfer_id)
        return RetryTransferPartsPayload(
            client_mutation_id=given.client_mutation_id, transfer=ref(Transfer, transfer_id), parts=parts
        )

    @mutation
    async def recall_transfer(self, info: Info, given: Given[RecallTransferInput]) -> RecallTransferPayload | None:
        """Call everything back because the deal broke: the acquirer destroys it and says so. Scope transfers:manage."""

        async def step(tx: Tx, viewer: Viewer, platform: Platform, transfer_id: UUID) -> Any:  # noqa: ANN401  # as Step
            return await deltas.recall(tx, viewer, platform, transfer_id, reason=given.reason)

        return await _move(info, given, "transfer.recalled", step, RecallTransferPayload)

    @mutation
    async def preview_transfer(self, info: Info, given: Given[PreviewTransferInput]) -> PreviewTransferPayload | None:
        """Look at a few people of each cohort and reason, masked; that you looked is recorded. Scope transfers:read."""
        context, transfer_id = info.context, row_id(given.transfer_id, Transfer)
        async with context.attempting("transfer.previewed", scope=READ_SCOPE), context.working() as tx:
            found = await views.preview(tx, context.viewer, transfer_id, each=given.each)
        return PreviewTransferPayload(
            client_mutation_id=given.client_mutation_id,
            transfer=ref(Transfer, transfer_id),
            samples=[TransferSample(group=o.group, goes=o.goes, name=o.name, email=o.email) for o in found],
        )

    @mutation
    async def record_transfer_objection(
        self, info: Info, given: Given[RecordTransferObjectionInput]
    ) -> RecordTransferObjectionPayload | None:
        """Record the objection of somebody who called or wrote; agents. Scope transfers:read."""
        context = info.context
        async with context.attempting("transfer.objected", scope=READ_SCOPE), context.working() as tx:
            transfer_id = row_id(given.transfer_id, Transfer)
            customer_id = CustomerId(row_id(given.customer_id, Customer))
            await objections.record(tx, context.viewer, transfer_id, customer_id)
        return RecordTransferObjectionPayload(
            client_mutation_id=given.client_mutation_id, transfer=ref(Transfer, transfer_id)
        )

    @mutation
    async def object_to_transfer(
        self, info: Info, given: Given[ObjectToTransferInput]
    ) -> ObjectToTransferPayload | None:
        """Keep your own data out of a transfer; doing it again changes nothing. Scope consent:write."""
        context = info.context
        async with context.writing("transfer.objected", scope=objections.SCOPE) as tx:
            transfer_id = await objections.object_to(tx, context.viewer, given.reference)
        return ObjectToTransferPayload(client_mutation_id=given.client_mutation_id, transfer=ref(Transfer, transfer_id))
