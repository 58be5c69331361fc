"""Signing in through an external provider: go there, come back, and be welcomed the first time.

Somebody new makes an account, or signs in once in the old way and links it: the provider's word about an e-mail address
never opens an account.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from cdp.access.viewer import Actor
from cdp.core.errors import NotFound, PlatformError
from cdp.operations.accounts import entrance
from cdp.operations.accounts.accounts import PolicyNotAccepted
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.federation import arrival as arrived
from cdp.operations.federation import arrivals, flow
from cdp.operations.federation.arrival import Arrival
from cdp.operations.federation.colleagues import NoRole
from cdp.operations.federation.directory import ProviderBroken, ProviderUnavailable
from cdp.operations.federation.flow import FlowLost, ProviderRefused
from cdp.operations.federation.id_tokens import IdTokenInvalid
from cdp.operations.federation.identities import IdentityTaken
from cdp.operations.federation.provider import Provider, provider_for
from cdp.operations.policies import policy_in_force
from cdp.web.visit import HOME, SIGN_IN, Problem, Visit, local_path

FLOW = {Actor.CUSTOMER: "cdp_provider", Actor.STAFF: "cdp_console_provider"}
ARRIVAL = {Actor.CUSTOMER: "cdp_arrival", Actor.STAFF: "cdp_console_arrival"}
REFUSALS = (FlowLost, ProviderRefused, IdTokenInvalid, ProviderUnavailable, ProviderBroken)
FLOW_MAX_AGE_S = int(flow.GOOD_FOR.total_seconds())
ARRIVAL_MAX_AGE_S = int(arrived.GOOD_FOR.total_seconds())


def provider(visit: Visit) -> Provider:
    """The provider of this realm. Raises NotFound where people sign in with us."""
    found = provider_for(visit.platform.settings, visit.actor)
    if found is None:
        raise NotFound
    return found


def waiting(visit: Visit) -> Arrival | None:
    """Who has come from the provider and is not known here yet."""
    return arrived.unseal(visit.platform, visit.actor, visit.cookie(ARRIVAL[visit.actor]))


async def go(visit: Visit) -> Response:
    """Send the browser to the provider; ``reauth`` asks for a fresh sign-in there."""
    again = visit.session is not None and visit.request.query_params.get("reauth") == "1"
    try:
        address, cookie = await flow.depart(visit.platform, provider(visit), visit.actor, visit.next, again=again)
    except (ProviderUnavailable, ProviderBroken) as refusal:
        return _failed(visit, refusal)
    visit.set_cookie(FLOW[visit.actor], cookie, max_age_s=FLOW_MAX_AGE_S)
    return visit.redirect(address)


async def come_back(visit: Visit) -> Response:
    """Take the provider's answer; a page address that holds a code answers only by a redirect or an error."""
    asked, given = provider(visit), dict(visit.request.query_params)
    try:
        asserted = await flow.finish(visit.platform, asked, visit.actor, visit.cookie(FLOW[visit.actor]), given)
    except REFUSALS as refusal:
        await entrance.record_refusal(visit.platform, None, refusal.code)
        return _failed(visit, refusal)
    visit.set_cookie(FLOW[visit.actor], "")
    found = arrived.read(asked, asserted)
    try:
        done = await arrivals.arrive(visit.platform, visit.actor, found, _visitor(visit), again=asserted.again)
    except (NoRole, arrivals.SomebodyElse) as refusal:
        return _failed(visit, refusal)
    if done is not None:
        return _enter(visit, done, found.next)
    visit.set_cookie(
        ARRIVAL[visit.actor], arrived.seal(visit.platform, visit.actor, found), max_age_s=ARRIVAL_MAX_AGE_S
    )
    return visit.redirect(f"{SIGN_IN[visit.actor]}/welcome")


async def show_welcome(visit: Visit) -> Response:
    """What somebody new can do: make an account, or link the one they have."""
    return await _welcome(visit, [])


async def submit_welcome(visit: Visit) -> Response:
    """Make the account."""
    found = waiting(visit)
    if found is None:
        return visit.redirect(SIGN_IN[visit.actor])
    accepts = visit.field("policy") == "yes"
    try:
        done = await arrivals.welcome(visit.platform, visit.actor, found, _visitor(visit), accepts_policy=accepts)
    except PolicyNotAccepted as refusal:
        return await _welcome(visit, [Problem("policy", refusal.message)])
    except (NoRole, IdentityTaken) as refusal:
        return _failed(visit, refusal)
    visit.set_cookie(ARRIVAL[visit.actor], "")
    return _enter(visit, done, found.next)


async def show_link(visit: Visit) -> Response:
    """Ask once whether the two belong together."""
    found = waiting(visit)
    if found is None:
        return visit.redirect(HOME[visit.actor])
    title = f"Sign in with {provider(visit).name} from now on?"
    return visit.page("account/external_link.html", title=title, name=provider(visit).name, home=HOME[visit.actor])


async def submit_link(visit: Visit) -> Response:
    """Link them."""
    found = waiting(visit)
    if found is None:
        return visit.redirect(HOME[visit.actor])
    try:
        await arrivals.link(visit.platform, visit.viewer, found)
    except (IdentityTaken, NoRole) as refusal:
        return _failed(visit, refusal)
    visit.set_cookie(ARRIVAL[visit.actor], "")
    return visit.redirect(local_path(found.next) or HOME[visit.actor])


def button(visit: Visit, *, again: bool) -> Mapping[str, Any] | None:
    """The provider as the sign-in page shows it; None where people sign in with us, or do so once to link."""
    found = provider_for(visit.platform.settings, visit.actor)
    if found is None or waiting(visit) is not None:
        return None
    wanted = {"next": visit.next} | ({"reauth": "1"} if again else {})
    return {"name": found.name, "address": f"{SIGN_IN[visit.actor]}/provider?{urlencode(wanted)}"}


def _visitor(visit: Visit) -> Visitor:
    return Visitor(visit.client, current=visit.session)


def _enter(visit: Visit, done: SignedIn, path: str) -> Response:
    visit.set_cookie(COOKIES[visit.actor], done.session_token)
    return visit.redirect(local_path(path) or HOME[visit.actor])


async def _welcome(visit: Visit, problems: list[Problem]) -> Response:
    found = waiting(visit)
    if found is None:
        return visit.redirect(SIGN_IN[visit.actor])
    accepted = None if visit.actor is Actor.STAFF else await policy_in_force(visit.platform)
    old = urlencode({"next": f"{SIGN_IN[visit.actor]}/link"})
    return visit.page(
        "account/external_welcome.html",
        title="Welcome",
        problems=problems,
        name=provider(visit).name,
        must_link=await arrivals.must_link(visit.platform, visit.actor, found),
        is_staff=visit.actor is Actor.STAFF,
        old=f"{SIGN_IN[visit.actor]}?{old}",
        email=found.email,
        policy=accepted,
    )


def _failed(visit: Visit, refusal: PlatformError) -> Response:
    visit.set_cookie(FLOW[visit.actor], "")
    return visit.page(
        "account/external_failed.html",
        title="Signing in did not work",
        status=refusal.status,
        message=refusal.message,
        code=refusal.code,
        address=SIGN_IN[visit.actor],
    )
