"""For a processor who was asked by mail: whom it is about, behind the code of their mail, and their answer."""

import re

from starlette.responses import Response

from cdp.core.errors import InvalidInput
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.manual import work
from cdp.operations.manual.work import Asked, IdentifiersGone, Report, ReportInvalid, TaskNotOpen
from cdp.tables.manual import ManualOutcome, ManualStatus
from cdp.tables.request import TaskStep
from cdp.web.visit import Problem, Visit

CODE = re.compile(r"[\w-]{43}", re.ASCII)
CHOICES = (
    (ManualOutcome.DONE, "Deleted"),
    (ManualOutcome.NOTHING_FOUND, "We hold nothing about them"),
    (ManualOutcome.REFUSED, "We do not delete it"),
)


async def show(visit: Visit) -> Response:
    """The button behind the mailed link: opening the link changes nothing and shows nobody."""
    return visit.page("public/processor.html", title="A request about somebody’s data", asked=None)


async def submit(visit: Visit) -> Response:
    """Show whom it is about, or take the answer."""
    code = visit.field("code")
    code = code if CODE.fullmatch(code) else ""
    try:
        if visit.field("outcome"):
            await work.answer_by_link(visit.platform, code, _report(visit))
            return visit.page("public/processor_done.html", title="Thank you")
        return _form(visit, await work.opened_by_link(visit.platform, code), [])
    except (LinkRefused, IdentifiersGone, TaskNotOpen) as refusal:
        problems = [Problem("code", refusal.message)]
        return visit.page(
            "public/processor.html", title="A request about somebody’s data", asked=None, problems=problems
        )
    except InvalidInput as error:
        asked = await work.opened_by_link(visit.platform, code)
        return _form(visit, asked, [Problem("records", error.message)])


def _report(visit: Visit) -> Report:
    count, outcome = visit.field("records"), visit.field("outcome")
    if outcome not in {choice.value for choice, _ in CHOICES} or (count and not count.isdecimal()):
        raise ReportInvalid
    return Report(ManualOutcome(outcome), int(count) if count else None, note=visit.field("note") or None)


def _form(visit: Visit, asked: Asked, problems: list[Problem]) -> Response:
    return visit.page(
        "public/processor.html",
        title="A request about somebody’s data",
        problems=problems,
        asked=asked,
        is_settled=asked.status is ManualStatus.SETTLED,
        is_second=asked.step is TaskStep.VERIFY,
        choices=[(choice.value, words) for choice, words in CHOICES],
        code_given=visit.field("code"),
        typed={name: visit.field(name) for name in ("outcome", "records", "note")},
    )
