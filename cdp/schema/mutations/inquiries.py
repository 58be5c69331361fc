"""Mutations of inquiries and surveys: what customers ask and answer."""

import strawberry

from cdp.operations.profile import inquiries
from cdp.operations.profile.inquiries import InvalidAnswers
from cdp.schema.context import Info, ref
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.inquiry import Inquiry, SurveyResponse
from cdp.tables.inquiry import InquiryKind

SCOPE = "profile:write"


@input_type
class SubmitInquiryInput(MutationInput):
    """What is asked."""

    kind: InquiryKind = strawberry.field(description="What it is about.")
    subject: str = strawberry.field(description="One line, up to 300 characters.")
    body: str = strawberry.field(description="The question, up to 10,000 characters.")


@output_type
class SubmitInquiryPayload(MutationPayload):
    """The submitted inquiry."""

    inquiry: Inquiry | None = strawberry.field(description="The inquiry.")


@input_type
class AnswerInput:
    """One answer."""

    question: str = strawberry.field(description="Name of the question.")
    answer: str = strawberry.field(description="The answer, up to 4,000 characters.")


@input_type
class SubmitSurveyInput(MutationInput):
    """Answers to a survey."""

    survey: str = strawberry.field(description="Name of the survey.")
    answers: list[AnswerInput] = strawberry.field(description="One to a hundred answers, each question once.")


@output_type
class SubmitSurveyPayload(MutationPayload):
    """The submitted answers."""

    survey_response: SurveyResponse | None = strawberry.field(description="The answers as recorded.")


@strawberry.type
class InquiryMutations:
    """Mutations of inquiries and surveys."""

    @mutation
    async def submit_inquiry(self, info: Info, given: Given[SubmitInquiryInput]) -> SubmitInquiryPayload | None:
        """Ask for a product, a service or information. Scope profile:write."""
        context = info.context
        async with context.writing("inquiry.submitted", scope=SCOPE) as tx:
            row_id = await inquiries.submit_inquiry(
                tx, context.viewer, given.kind, subject=given.subject, body=given.body, now=context.now
            )
        return SubmitInquiryPayload(client_mutation_id=given.client_mutation_id, inquiry=ref(Inquiry, row_id))

    @mutation
    async def submit_survey(self, info: Info, given: Given[SubmitSurveyInput]) -> SubmitSurveyPayload | None:
        """Answer a survey. Scope profile:write."""
        context = info.context
        answers = {one.question: one.answer for one in given.answers}
        if len(answers) != len(given.answers):
            raise InvalidAnswers
        async with context.writing("survey.submitted", scope=SCOPE) as tx:
            row_id = await inquiries.submit_survey(tx, context.viewer, given.survey, answers=answers, now=context.now)
        return SubmitSurveyPayload(
            client_mutation_id=given.client_mutation_id, survey_response=ref(SurveyResponse, row_id)
        )
