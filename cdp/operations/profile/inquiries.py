"""Inquiries and survey answers a customer sends; two of the three collection points of the policy (promise P4)."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput, RateLimited
from cdp.core.ids import new_id
from cdp.operations import audit, values
from cdp.operations.collection import collect, lock
from cdp.tables.inquiry import InquiryKind, InquiryStatus, inquiry, survey_response
from cdp.tables.policy import CollectionPoint

MOST_OPEN = 50
MOST_ANSWERS = 100


class TooManyInquiries(RateLimited):
    """There are too many open inquiries; wait for an answer first."""

    code = "TOO_MANY_INQUIRIES"


class InvalidAnswers(InvalidInput):
    """A survey has one to a hundred answers, each with the name of its question."""

    code = "INVALID_ANSWERS"


async def submit_inquiry(tx: Tx, viewer: Viewer, kind: InquiryKind, *, subject: str, body: str, now: datetime) -> UUID:
    """Ask for a product, a service or information. Raises TooManyInquiries and the refusals of ``values``."""
    columns = {
        "subject": values.text(subject, "subject", longest=300),
        "body": values.text(body, "body", longest=10_000, lines=True),
    }
    customer = await lock(tx, viewer)
    is_open = (inquiry.c.customer_id == customer.customer_id) & (inquiry.c.status == InquiryStatus.OPEN)
    if (await tx.scalar(select(func.count()).select_from(inquiry).where(is_open))) >= MOST_OPEN:
        raise TooManyInquiries(limit=MOST_OPEN)
    origin = await collect(tx, viewer, customer, now=now, point=CollectionPoint.INQUIRY)
    row_id = new_id()
    await tx.execute(insert(inquiry).values(id=row_id, **origin, **columns, kind=kind, received_at=now))
    await audit.record(
        tx,
        viewer,
        "inquiry.submitted",
        subject_ref=customer.audit_ref,
        object_type="Inquiry",
        object_id=row_id,
        details={"kind": kind.value},
    )
    return row_id


async def submit_survey(tx: Tx, viewer: Viewer, survey: str, *, answers: Mapping[str, str], now: datetime) -> UUID:
    """Answer a survey; ``answers`` by the name of the question.

    Raises InvalidAnswers and the refusals of ``values``.
    """
    name = values.text(survey, "survey", longest=100)
    if not 1 <= len(answers) <= MOST_ANSWERS:
        raise InvalidAnswers
    read = {
        values.text(question, "question", longest=300): values.text(answer, "answer", longest=4000, lines=True)
        for question, answer in answers.items()
    }
    customer = await lock(tx, viewer)
    origin = await collect(tx, viewer, customer, now=now, point=CollectionPoint.SURVEY)
    row_id = new_id()
    await tx.execute(insert(survey_response).values(id=row_id, **origin, survey=name, answers=read, submitted_at=now))
    await audit.record(
        tx,
        viewer,
        "survey.submitted",
        subject_ref=customer.audit_ref,
        object_type="SurveyResponse",
        object_id=row_id,
    )
    return row_id
