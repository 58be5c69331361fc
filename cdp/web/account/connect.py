"""Allow an app of somebody else to use the account: what it may do, yes or no; both have the same weight."""

from starlette.responses import Response

from cdp.operations.oauth.app_consent import Question, answered, question_of
from cdp.operations.oauth.pushed import form_target
from cdp.web.visit import Visit


async def show(visit: Visit) -> Response:
    """The question."""
    question = await question_of(visit.platform, visit.next)
    target = await form_target(visit.platform, visit.next)
    visit.request.scope["state"]["form_targets"] = (target,) if target else ()
    title = f"Allow {question.client_name} to use your account?"
    return visit.page("account/connect.html", title=title, question=question, next=visit.next)


async def submit(visit: Visit) -> Response:
    """Carry the answer to the authorization endpoint."""
    question: Question = await question_of(visit.platform, visit.next)
    assert visit.session is not None, "the guard lets nobody in without one"
    path = answered(
        visit.platform.sealer,
        visit.next,
        question,
        session_id=visit.session.id,
        allowed=visit.field("answer") == "yes",
        now=visit.now,
    )
    return visit.redirect(path)
