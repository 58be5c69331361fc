"""Mutations of agents: open a request for somebody, decide, extend, pause, take over. Scope requests:work."""

import base64
import binascii
from uuid import UUID

import strawberry

from cdp.core.ids import CustomerId
from cdp.operations.requests import cases, evidence, permission, requests
from cdp.operations.requests.cases import Details
from cdp.operations.requests.evidence import File, MediaTypeRefused
from cdp.operations.requests.evidence import Given as GivenEvidence
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.rights import CorrectionInput, wanted_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.request import Evidence, PrivacyRequest
from cdp.tables.request import EvidenceKind, RequestType

REQUEST = "Global id of the request."
REASON = "The reason, as the person will read it; up to 2,000 characters."


@input_type
class EvidenceFileInput:
    """A document of at most 5 MB (as much as one request to the API can carry)."""

    name: str = strawberry.field(description="Its file name.")
    media_type: str = strawberry.field(description="PDF, JPEG, PNG, plain text or an e-mail (message/rfc822).")
    content: str = strawberry.field(description="Its bytes, base64.")


@input_type
class EvidenceInput:
    """What the agent relies on."""

    kind: EvidenceKind = strawberry.field(description="What it shows.")
    note: str = strawberry.field(description="What was shown or said, and how it was checked; up to 2,000 characters.")
    representative_name: str | None = strawberry.field(
        default=None, description="Who acts for the person; only for REPRESENTATIVE, and needed there."
    )
    representative_basis: str | None = strawberry.field(
        default=None, description="Why they may: parent, guardian, power of attorney …; needed for REPRESENTATIVE."
    )
    file: EvidenceFileInput | None = strawberry.field(default=None, description="The document, kept sealed.")


@input_type
class OpenRequestForInput(MutationInput):
    """A request that somebody made by phone, letter, or through a representative."""

    customer_id: strawberry.ID = strawberry.field(description="Global id of the customer.")
    type: RequestType = strawberry.field(description="What they ask for.")
    reason: str = strawberry.field(description=REASON)
    evidence: EvidenceInput = strawberry.field(description="How we know that it is theirs to ask.")
    corrections: list[CorrectionInput] | None = strawberry.field(
        default=None, description="What is wrong; only for RECTIFICATION, and needed there."
    )
    purposes: list[str] | None = strawberry.field(
        default=None, description="Codes of the purposes; only for OBJECTION, and needed there."
    )


@input_type
class AddEvidenceInput(MutationInput):
    """More evidence for a request."""

    request_id: strawberry.ID = strawberry.field(description=REQUEST)
    evidence: EvidenceInput = strawberry.field(description="What the agent relies on.")


@input_type
class CaseInput(MutationInput):
    """One request."""

    request_id: strawberry.ID = strawberry.field(description=REQUEST)


@input_type
class ApproveRequestInput(CaseInput):
    """The request to approve."""


@input_type
class RefuseRequestInput(CaseInput):
    """The request to refuse."""

    reason: str = strawberry.field(description=REASON)


@input_type
class ExtendRequestInput(CaseInput):
    """The request that takes longer."""

    reason: str = strawberry.field(description=REASON)


@input_type
class LiftRestrictionInput(CaseInput):
    """The restriction to end."""

    reason: str = strawberry.field(description=REASON)


@input_type
class GiveUpRequestInput(CaseInput):
    """The request that can not be finished."""

    reason: str = strawberry.field(description=REASON)


@input_type
class PauseRequestInput(CaseInput):
    """The request to pause."""

    reason: str = strawberry.field(description=REASON)


@input_type
class ResumeRequestInput(CaseInput):
    """The request to go on with."""


@input_type
class RetryRequestInput(CaseInput):
    """The request to work on again."""


@input_type
class AssignRequestInput(CaseInput):
    """Who works on a request."""

    staff_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the agent; null: nobody.")


@output_type
class OpenRequestForPayload(MutationPayload):
    """The opened request, or the one of this type that was open already."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")
    joined: bool = strawberry.field(description="Whether it was open already.")


@output_type
class AddEvidencePayload(MutationPayload):
    """The evidence."""

    evidence: Evidence | None = strawberry.field(description="The evidence.")
    request: PrivacyRequest | None = strawberry.field(description="The request.")


@output_type
class ApproveRequestPayload(MutationPayload):
    """The approved request."""

    request: PrivacyRequest | None = strawberry.field(description="The request; its work has begun.")


@output_type
class RefuseRequestPayload(MutationPayload):
    """The refused request."""

    request: PrivacyRequest | None = strawberry.field(description="The request; the person was told.")


@output_type
class ExtendRequestPayload(MutationPayload):
    """The extended request."""

    request: PrivacyRequest | None = strawberry.field(description="The request; the person was told.")


@output_type
class LiftRestrictionPayload(MutationPayload):
    """The restriction that ends."""

    request: PrivacyRequest | None = strawberry.field(description="The request; coolingOffUntil says when it ends.")


@output_type
class GiveUpRequestPayload(MutationPayload):
    """The request that was given up."""

    request: PrivacyRequest | None = strawberry.field(description="The request; the person was told.")


@output_type
class PauseRequestPayload(MutationPayload):
    """The paused request."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")


@output_type
class ResumeRequestPayload(MutationPayload):
    """The request that goes on."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")


@output_type
class RetryRequestPayload(MutationPayload):
    """The request that is worked on again."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")


@output_type
class AssignRequestPayload(MutationPayload):
    """The assigned request."""

    request: PrivacyRequest | None = strawberry.field(description="The request.")


@strawberry.type
class CaseworkMutations:
    """Mutations of agents."""

    @mutation
    async def open_request_for(self, info: Info, given: Given[OpenRequestForInput]) -> OpenRequestForPayload | None:
        """Open a request for a customer, on evidence; a second person decides about it. Scope requests:work."""
        context = info.context
        customer_id = CustomerId(row_id(given.customer_id, Customer))
        details = Details(tuple(wanted_of(one) for one in given.corrections or ()), tuple(given.purposes or ()))
        async with (
            context.attempting("request.opened", scope=permission.WORK_SCOPE),
            evidence.stored(context.platform, _evidence(given.evidence)) as proof,
            context.working() as tx,
        ):
            opened = await cases.open_for(
                tx,
                context.viewer,
                context.platform,
                customer_id,
                given.type,
                reason=given.reason,
                proof=proof,
                details=details,
            )
        return OpenRequestForPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, opened.id), joined=opened.joined
        )

    @mutation
    async def add_evidence(self, info: Info, given: Given[AddEvidenceInput]) -> AddEvidencePayload | None:
        """Add evidence to an open request. Scope requests:work."""
        context = info.context
        request_id = row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("evidence.recorded", scope=permission.WORK_SCOPE),
            evidence.stored(context.platform, _evidence(given.evidence)) as proof,
            context.working() as tx,
        ):
            await cases.add_evidence(tx, context.viewer, request_id, proof)
        return AddEvidencePayload(
            client_mutation_id=given.client_mutation_id,
            evidence=ref(Evidence, proof.id),
            request=ref(PrivacyRequest, request_id),
        )

    @mutation
    async def approve_request(self, info: Info, given: Given[ApproveRequestInput]) -> ApproveRequestPayload | None:
        """Approve a request that waits for a decision; supervisors and privacy officers. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.approved", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.approve(tx, context.viewer, context.platform, request_id)
        return ApproveRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def refuse_request(self, info: Info, given: Given[RefuseRequestInput]) -> RefuseRequestPayload | None:
        """Refuse a request before anything was erased; supervisors and privacy officers. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.refused", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.refuse(tx, context.viewer, context.platform, request_id, reason=given.reason)
        return RefuseRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def extend_request(self, info: Info, given: Given[ExtendRequestInput]) -> ExtendRequestPayload | None:
        """Extend the deadline of a request by two months, once (GDPR art. 12(3)). Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.extended", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.extend(tx, context.viewer, context.platform, request_id, reason=given.reason)
        return ExtendRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def lift_restriction(self, info: Info, given: Given[LiftRestrictionInput]) -> LiftRestrictionPayload | None:
        """Announce the end of a restriction (GDPR art. 18(3)); supervisors, privacy officers. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.lifting", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.lift(tx, context.viewer, context.platform, request_id, reason=given.reason)
        return LiftRestrictionPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def give_up_request(self, info: Info, given: Given[GiveUpRequestInput]) -> GiveUpRequestPayload | None:
        """End a request that can not be finished, with its reason; supervisors and privacy officers.

        What was done stays done, and the person is told. Scope requests:work.
        """
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.failed", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.give_up(tx, context.viewer, context.platform, request_id, reason=given.reason)
        return GiveUpRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def pause_request(self, info: Info, given: Given[PauseRequestInput]) -> PauseRequestPayload | None:
        """Stop the work on a request; the deadline runs on. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.paused", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.pause(tx, context.viewer, request_id, reason=given.reason)
        return PauseRequestPayload(client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id))

    @mutation
    async def resume_request(self, info: Info, given: Given[ResumeRequestInput]) -> ResumeRequestPayload | None:
        """Go on with a paused request where it stood. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.resumed", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.resume(tx, context.viewer, request_id)
        return ResumeRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )

    @mutation
    async def retry_request(self, info: Info, given: Given[RetryRequestInput]) -> RetryRequestPayload | None:
        """Work again on a request that needs attention, from the step that failed. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        async with (
            context.attempting("request.retried", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await requests.retry_row(tx, context.viewer, request_id)
        return RetryRequestPayload(client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id))

    @mutation
    async def assign_request(self, info: Info, given: Given[AssignRequestInput]) -> AssignRequestPayload | None:
        """Say who works on a request. Scope requests:work."""
        context, request_id = info.context, row_id(given.request_id, PrivacyRequest)
        agent_id = _staff_id(given.staff_id)
        async with (
            context.attempting("request.assigned", scope=permission.WORK_SCOPE),
            context.working() as tx,
        ):
            await cases.assign(tx, context.viewer, request_id, agent_id=agent_id)
        return AssignRequestPayload(
            client_mutation_id=given.client_mutation_id, request=ref(PrivacyRequest, request_id)
        )


def _staff_id(given: strawberry.ID | None) -> UUID | None:
    if given is None:
        return None
    try:
        return UUID(given)
    except ValueError as error:
        raise cases.UnknownAgent from error


def _evidence(given: EvidenceInput) -> GivenEvidence:
    return GivenEvidence(
        given.kind,
        given.note,
        given.representative_name,
        given.representative_basis,
        _file(given.file) if given.file else None,
    )


def _file(given: EvidenceFileInput) -> File:
    try:
        content = base64.b64decode(given.content, validate=True)
    except (ValueError, binascii.Error) as error:
        raise MediaTypeRefused from error
    return File(given.name, given.media_type, content)
