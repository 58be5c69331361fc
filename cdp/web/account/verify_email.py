"""Confirm an e-mail address with the code of a mailed link; opening the link changes nothing, the button does.

Somebody not signed in does that first: a cookie keeps the code meanwhile, so that it never stands in an address.
"""

import re

from starlette.responses import Response

from cdp.operations.accounts import email_proofs
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.collection import CustomerFrozen
from cdp.web.visit import Problem, Visit, sign_in_address

HERE = email_proofs.PAGE
COOKIE = "cdp_proof"
KEPT_FOR_S = 900
CODE = re.compile(r"[\w-]{43}", re.ASCII)


async def show(visit: Visit) -> Response:
    """The button; afterwards, that it worked."""
    if "done" in visit.request.query_params:
        return visit.page("account/verify_email.html", title="Your e-mail address is confirmed", done=True, kept=False)
    return _form(visit, [], kept=visit.session is not None and bool(visit.cookie(COOKIE)))


async def submit(visit: Visit) -> Response:
    """Use the code; without a session keep it and ask for a sign-in first."""
    code = visit.field("code") or visit.cookie(COOKIE) or ""
    if not CODE.fullmatch(code):
        return _form(visit, [Problem("code", LinkRefused().message)], kept=False)
    if visit.session is None:
        visit.set_cookie(COOKIE, code, max_age_s=KEPT_FOR_S)
        return visit.redirect(sign_in_address(visit.actor, HERE))
    if visit.cookie(COOKIE):
        visit.set_cookie(COOKIE, "")
    try:
        await email_proofs.prove(visit.platform, visit.viewer, code)
    except (LinkRefused, CustomerFrozen) as refusal:
        return _form(visit, [Problem("code", refusal.message)], kept=False)
    return visit.redirect(f"{HERE}?done=1")


def _form(visit: Visit, problems: list[Problem], *, kept: bool) -> Response:
    return visit.page(
        "account/verify_email.html", title="Confirm your e-mail address", problems=problems, done=False, kept=kept
    )
