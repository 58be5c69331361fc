"""Register an account. The answer is the same for a new address and for one that has an account already."""

from collections.abc import Mapping

from starlette.responses import Response

from cdp.core.errors import InvalidInput
from cdp.operations.accounts.accounts import Registration, UsernameTaken, register
from cdp.operations.accounts.brake import TooManyTries
from cdp.operations.policies import policy_in_force
from cdp.web.visit import Problem, Visit

TITLE = "Create your account"
DONE = "/account/sign-in?registered=1"
FIELDS = ("given_name", "family_name", "email", "country")
MESSAGES: Mapping[str, str] = {
    "INVALID_EMAIL": "Enter an e-mail address, like name@example.com.",
    "INVALID_COUNTRY": "Enter a country as two letters, like DE or FR, or leave it empty.",
    "INVALID_TEXT": "Enter a shorter name, without line breaks.",
}


async def show(visit: Visit) -> Response:
    """The form."""
    if visit.session is not None:
        return visit.redirect("/account")
    return await _form(visit, [])


async def submit(visit: Visit) -> Response:
    """Create the account, then let the person sign in with it."""
    registration = Registration(
        email=visit.field("email"),
        password=visit.secret("password"),
        accepts_policy=visit.field("policy") == "yes",
        given_name=visit.field("given_name"),
        family_name=visit.field("family_name"),
        country=visit.field("country"),
        address=visit.client.address,
    )
    try:
        await register(visit.platform, registration)
    except UsernameTaken:
        return visit.redirect(DONE)
    except TooManyTries as error:
        response = await _form(visit, [Problem("email", error.message)], status=error.status)
        response.headers["Retry-After"] = str(error.extensions["retryAfterS"])
        return response
    except InvalidInput as error:
        message = MESSAGES.get(error.code, error.message)
        return await _form(visit, [Problem(str(error.extensions.get("field", "")), message)])
    return visit.redirect(DONE)


async def _form(visit: Visit, problems: list[Problem], *, status: int | None = None) -> Response:
    values = {name: visit.field(name) for name in FIELDS}
    policy = await policy_in_force(visit.platform)
    return visit.page(
        "account/register.html", title=TITLE, problems=problems, status=status, values=values, policy=policy
    )
