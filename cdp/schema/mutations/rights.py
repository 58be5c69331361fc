"""Mutations of the smaller rights: correct a value, restrict processing, object to a purpose (GDPR art. 16, 18, 21)."""

import strawberry

from cdp.core.ids import parse_global_id
from cdp.operations import values
from cdp.operations.requests import corrections, objections, permission, restrictions
from cdp.operations.requests.corrections import Wanted
from cdp.schema.context import Info, ref
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.request import PrivacyRequest

STATUS_KEY = "Opens the status page together with the reference; given once. Null when you joined an open request."
REASON = "Why, if you like to say; up to 2,000 characters."


@input_type
class CorrectionInput:
    """One value, as it is shown and as it should be."""

    object_id: strawberry.ID = strawberry.field(description="Global id of the object that shows the value.")
    field: str = strawberry.field(description="Name of its field, for example billingName.")
    old_value: str | None = strawberry.field(default=None, description="The value as you saw it; null: none.")
    new_value: str | None = strawberry.field(default=None, description="The value as it should be; null: none.")


@input_type
class CorrectRecordInput(MutationInput):
    """A value that is wrong."""

    correction: CorrectionInput = strawberry.field(description="What is wrong, and how it should be.")
    reason: str | None = strawberry.field(default=None, description=REASON)


@input_type
class RestrictProcessingInput(MutationInput):
    """Keep my data, and use it for nothing."""

    reason: str | None = strawberry.field(default=None, description=REASON)


@input_type
class ObjectToProcessingInput(MutationInput):
    """Stop using my data for these purposes."""

    purposes: list[str] = strawberry.field(description="Codes of the purposes.")
    reason: str | None = strawberry.field(default=None, description=REASON)


@output_type
class CorrectRecordPayload(MutationPayload):
    """The opened request."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")
    status_key: str | None = strawberry.field(description=STATUS_KEY)


@output_type
class RestrictProcessingPayload(MutationPayload):
    """The opened request."""

    request: PrivacyRequest | None = strawberry.field(description="The request; it is in force.")
    status_key: str | None = strawberry.field(description=STATUS_KEY)


@output_type
class ObjectToProcessingPayload(MutationPayload):
    """The opened request."""

    request: PrivacyRequest | None = strawberry.field(description="The request; direct marketing has stopped.")
    status_key: str | None = strawberry.field(description=STATUS_KEY)


@strawberry.type
class RightsMutations:
    """Mutations of the smaller rights."""

    @mutation
    async def correct_record(self, info: Info, given: Given[CorrectRecordInput]) -> CorrectRecordPayload | None:
        """Have a value corrected, here and in every connected system that can.

        What you could change yourself is corrected at once; the rest after an agent has agreed. Needs a fresh sign-in.
        Scope profile:write.
        """
        context = info.context
        wanted = wanted_of(given.correction)
        async with context.writing("request.opened", scope=permission.WRITE_SCOPE) as tx:
            opened = await corrections.correct(
                tx, context.viewer, context.platform, wanted, reason=reason_of(given.reason)
            )
        return CorrectRecordPayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )

    @mutation
    async def restrict_processing(
        self, info: Info, given: Given[RestrictProcessingInput]
    ) -> RestrictProcessingPayload | None:
        """Have your data kept and no longer used. Needs a fresh sign-in. Scope profile:write."""
        context = info.context
        async with context.writing("request.opened", scope=permission.WRITE_SCOPE) as tx:
            opened = await restrictions.restrict(tx, context.viewer, context.platform, reason=reason_of(given.reason))
        return RestrictProcessingPayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )

    @mutation
    async def object_to_processing(
        self, info: Info, given: Given[ObjectToProcessingInput]
    ) -> ObjectToProcessingPayload | None:
        """Object to purposes: direct marketing stops at once, others rest until an agent has decided.

        Needs a fresh sign-in. Scope profile:write.
        """
        context = info.context
        async with context.writing("request.opened", scope=permission.WRITE_SCOPE) as tx:
            opened = await objections.object_to(
                tx, context.viewer, context.platform, given.purposes, reason=reason_of(given.reason)
            )
        return ObjectToProcessingPayload(
            client_mutation_id=given.client_mutation_id,
            request=ref(PrivacyRequest, opened.id),
            status_key=opened.status_key,
        )


def wanted_of(given: CorrectionInput) -> Wanted:
    """A correction as operations take it. Raises InvalidGlobalId."""
    object_type, object_id = parse_global_id(given.object_id)
    return Wanted(object_type, object_id, given.field, given.old_value, given.new_value)


def reason_of(given: str | None) -> str | None:
    """A reason somebody may leave out. Raises InvalidText."""
    return values.optional(lambda text: values.text(text, "reason", longest=2000, lines=True), given)
