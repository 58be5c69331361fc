"""Who comes from the provider: somebody linked goes in, somebody new waits until an account is made or linked.

Only issuer and subject decide who somebody is. An e-mail address never does, proven or not: whoever has an account here
under it signs in once in the old way and links it (OpenID Connect Core section 5.7).
"""

from urllib.parse import urlencode

from sqlalchemy import select

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import PlatformError, Unauthenticated
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations.accounts import entrance
from cdp.operations.accounts.entrance import SignedIn, Visitor
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.sessions import BrowserSession, Person
from cdp.operations.federation import colleagues, customers, identities
from cdp.operations.federation.arrival import Arrival
from cdp.operations.federation.colleagues import NoRole
from cdp.operations.federation.directory import ProviderBroken, ProviderUnavailable, directory_of
from cdp.operations.federation.provider import provider_for
from cdp.tables.account import session


class SomebodyElse(Unauthenticated):
    """You signed in as somebody else; sign in again as who you are here, or sign out first."""

    code = "SOMEBODY_ELSE"


async def arrive(
    platform: Platform, actor: Actor, arrival: Arrival, visitor: Visitor, *, again: bool
) -> SignedIn | None:
    """Let somebody linked in; None for somebody new, who has to be welcomed. Refusals are audited.

    ``again`` demands the person who is signed in already. Raises NoRole, SomebodyElse.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        found = await identities.find(tx, actor, arrival)
        person = None
        if found is not None and actor is Actor.STAFF:
            person = await colleagues.person_of(tx, platform, found, arrival)
        elif found is not None:
            person = await customers.person_of(tx, found.customer_id)
        is_refused = person is None and actor is Actor.STAFF and (found is not None or not arrival.roles)
        is_other = again and not _is(person, visitor.current)
        if found is not None and person is not None and not is_other:
            await identities.note_sign_in(tx, platform, found.id)
            return await identities.admit(tx, platform, person, visitor, arrival)
    if is_refused or is_other:
        refusal = NoRole() if is_refused else SomebodyElse()
        await entrance.record_refusal(platform, person.audit_ref if person else None, refusal.code)
        raise refusal
    return None


def _is(person: Person | None, current: BrowserSession | None) -> bool:
    """Whether this is who is signed in."""
    if person is None or current is None:
        return False
    mine = current.viewer.staff_id if person.actor is Actor.STAFF else current.viewer.customer_id
    return mine == (person.account_id if person.actor is Actor.STAFF else person.customer_id)


async def must_link(platform: Platform, actor: Actor, arrival: Arrival) -> bool:
    """Whether somebody here has the newcomer's address, so that no second account is made of it."""
    async with platform.db.transaction(Role.WORKER) as tx:
        owns = colleagues.owns_address if actor is Actor.STAFF else customers.owns_address
        return await owns(tx, arrival)


async def welcome(
    platform: Platform, actor: Actor, arrival: Arrival, visitor: Visitor, *, accepts_policy: bool = False
) -> SignedIn:
    """Make an account for somebody new and let them in; a colleague agrees to nothing.

    Raises PolicyNotAccepted, NoRole, and IdentityTaken when another tab was faster or the address has to be linked.
    """
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            person = await _created(tx, platform, actor, arrival, accepts_policy=accepts_policy)
            return await identities.admit(tx, platform, person, visitor, arrival)
    except NoRole as refusal:
        await entrance.record_refusal(platform, None, refusal.code)
        raise


async def _created(tx: Tx, platform: Platform, actor: Actor, arrival: Arrival, *, accepts_policy: bool) -> Person:
    owns = colleagues.owns_address if actor is Actor.STAFF else customers.owns_address
    if await owns(tx, arrival):
        raise identities.IdentityTaken
    if actor is Actor.STAFF:
        return await colleagues.hire(tx, platform, arrival)
    return await customers.register(tx, platform, arrival, accepts_policy=accepts_policy)


async def link(platform: Platform, viewer: Viewer, arrival: Arrival) -> None:
    """Link the provider's identity to who is signed in here in the old way, freshly.

    Raises StepUpRequired, IdentityTaken, NoRole.
    """
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    owner = Owner.of(viewer)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            await identities.link(tx, platform, owner, arrival)
            if owner.staff_id is not None:
                await colleagues.take_roles(tx, owner.staff_id, arrival)
            else:
                await customers.forget_password(tx, viewer.subject)
    except PlatformError as refusal:
        await entrance.record_refusal(platform, None, refusal.code)
        raise


async def farewell(platform: Platform, current: BrowserSession, *, back: str) -> str | None:
    """Where the provider's own session is ended, to come back to ``back`` here; None when it has no such place.

    Source: OpenID Connect RP-Initiated Logout 1.0 section 2.
    """
    provider = provider_for(platform.settings, current.viewer.actor)
    if provider is None:
        return None
    async with platform.db.transaction(Role.WORKER) as tx:
        sealed = await tx.scalar(select(session.c.id_token_sealed).where(session.c.id == current.id))
    try:
        endpoints = await directory_of(platform, provider).endpoints()
        hint = platform.sealer.open(sealed, identities.PROOF).decode() if sealed else ""
    except (ProviderUnavailable, ProviderBroken, Unsealable):
        return None
    if endpoints.end_session is None or sealed is None:
        return None
    wanted = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": f"{platform.settings.url}{back}",
        "id_token_hint": hint,
    }
    mark = "&" if "?" in endpoints.end_session else "?"
    return f"{endpoints.end_session}{mark}{urlencode(wanted)}"
