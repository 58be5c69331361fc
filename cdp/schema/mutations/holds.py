"""Mutations of privacy officers: keep records under a legal hold, and let them go. Scope holds:manage."""

from datetime import datetime

import strawberry

from cdp.core.ids import CustomerId
from cdp.operations.attachments import attachments
from cdp.operations.holds import holds
from cdp.operations.holds.holds import Wanted
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.documents import DocumentInput, document_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.hold import LegalHold
from cdp.tables.base import Category

HOLD = "Global id of the hold."


@input_type
class PlaceHoldInput(MutationInput):
    """A hold on one category of a customer's records."""

    customer_id: strawberry.ID = strawberry.field(description="Global id of the customer.")
    category: Category = strawberry.field(description="What has to stay.")
    reason: str = strawberry.field(
        description="Why; up to 2,000 characters. The customer reads it unless it is secret."
    )
    is_secret: bool = strawberry.field(default=False, description="Whether the customer may not read why.")
    case_ref: str | None = strawberry.field(default=None, description="The case it belongs to.")
    until: datetime | None = strawberry.field(default=None, description="When it ends by itself.")
    review_at: datetime | None = strawberry.field(
        default=None, description="When to look again whether it is needed; half a year from now if not given."
    )
    document: DocumentInput | None = strawberry.field(default=None, description="The order or letter behind it.")


@input_type
class HoldInput(MutationInput):
    """One hold."""

    hold_id: strawberry.ID = strawberry.field(description=HOLD)


@input_type
class ApproveHoldInput(HoldInput):
    """The hold to agree to, or the release."""


@input_type
class RefuseHoldInput(HoldInput):
    """The hold, or the release, to refuse."""

    reason: str = strawberry.field(description="Why not; up to 2,000 characters, for colleagues.")


@input_type
class ReleaseHoldInput(HoldInput):
    """The hold to end."""

    reason: str = strawberry.field(description="Why it can end; up to 2,000 characters, for colleagues.")


@output_type
class PlaceHoldPayload(MutationPayload):
    """The hold."""

    hold: LegalHold | None = strawberry.field(description="The hold; it keeps its records from now on.")


@output_type
class ApproveHoldPayload(MutationPayload):
    """The hold."""

    hold: LegalHold | None = strawberry.field(description="The hold, or the released one.")


@output_type
class RefuseHoldPayload(MutationPayload):
    """The hold."""

    hold: LegalHold | None = strawberry.field(description="The refused hold, or the one that stays.")


@output_type
class ReleaseHoldPayload(MutationPayload):
    """The hold."""

    hold: LegalHold | None = strawberry.field(description="The hold; it ends once a second person agrees.")


@strawberry.type
class HoldMutations:
    """Mutations about legal holds."""

    @mutation
    async def place_hold(self, info: Info, given: Given[PlaceHoldInput]) -> PlaceHoldPayload | None:
        """Keep a category of a customer's records from being erased; privacy officers. Scope holds:manage.

        It takes effect at once, and a second person agrees or refuses.
        """
        context = info.context
        customer_id = CustomerId(row_id(given.customer_id, Customer))
        wanted = Wanted(given.category, given.reason, given.is_secret, given.case_ref, given.until, given.review_at)
        async with (
            context.attempting("hold.placed", scope=holds.SCOPE),
            attachments.stored(context.platform, document_of(given.document)) as document,
            context.working() as tx,
        ):
            hold_id = await holds.place(tx, context.viewer, context.platform, customer_id, wanted, document=document)
        return PlaceHoldPayload(client_mutation_id=given.client_mutation_id, hold=ref(LegalHold, hold_id))

    @mutation
    async def approve_hold(self, info: Info, given: Given[ApproveHoldInput]) -> ApproveHoldPayload | None:
        """Agree as the second person to a hold, or to its release: then what it kept is erased. Scope holds:manage."""
        context, hold_id = info.context, row_id(given.hold_id, LegalHold)
        async with context.attempting("hold.approved", scope=holds.SCOPE), context.working() as tx:
            await holds.agree(tx, context.viewer, context.platform, hold_id)
        return ApproveHoldPayload(client_mutation_id=given.client_mutation_id, hold=ref(LegalHold, hold_id))

    @mutation
    async def refuse_hold(self, info: Info, given: Given[RefuseHoldInput]) -> RefuseHoldPayload | None:
        """Refuse as the second person a hold, or its release. Scope holds:manage."""
        context, hold_id = info.context, row_id(given.hold_id, LegalHold)
        async with context.attempting("hold.refused", scope=holds.SCOPE), context.working() as tx:
            await holds.refuse(tx, context.viewer, context.platform, hold_id, reason=given.reason)
        return RefuseHoldPayload(client_mutation_id=given.client_mutation_id, hold=ref(LegalHold, hold_id))

    @mutation
    async def release_hold(self, info: Info, given: Given[ReleaseHoldInput]) -> ReleaseHoldPayload | None:
        """Ask to end a hold; a second person agrees (approveHold). Privacy officers. Scope holds:manage."""
        context, hold_id = info.context, row_id(given.hold_id, LegalHold)
        async with context.attempting("hold.release_asked", scope=holds.SCOPE), context.working() as tx:
            await holds.ask_release(tx, context.viewer, context.platform, hold_id, reason=given.reason)
        return ReleaseHoldPayload(client_mutation_id=given.client_mutation_id, hold=ref(LegalHold, hold_id))
