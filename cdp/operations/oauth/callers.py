"""Who calls: a token, borne or bound to a key; or the cookie of a page's session, with proof that the page is ours."""

from collections.abc import Mapping

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.operations.accounts import sessions
from cdp.operations.accounts.csrf import check_csrf, check_origin
from cdp.operations.oauth import dpop
from cdp.operations.oauth.dpop import HEADER, SCHEME, DPoPInvalid, Target
from cdp.operations.oauth.proofs import ALGORITHMS
from cdp.operations.oauth.tokens import TokenInvalid, issuer_of, viewer_from_bearer

CSRF_HEADER = "x-csrf-token"


async def viewer_of(
    platform: Platform,
    headers: Mapping[str, str],
    cookies: Mapping[str, str],
    *,
    actor: Actor = Actor.CUSTOMER,
    is_safe: bool = False,
    target: Target | None = None,
    is_known: bool = False,
) -> Viewer:
    """The viewer of a request by its headers (lower-case names); ANONYMOUS when it names nobody.

    A cookie counts only with the CSRF token of its session in ``x-csrf-token``, except for a safe request (GET) that no
    foreign page has made. A token bound to a key needs a proof about ``target``, except when ``is_known``: a request
    that goes on, whose proof was checked when it began. Raises TokenExpired, TokenInvalid, DPoPInvalid, CsrfRefused.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == SCHEME.lower() and token:
            return await _possessor(platform, token.strip(), headers.get(HEADER), target, is_known=is_known)
        if scheme.lower() != "bearer" or not token:
            raise TokenInvalid
        return await viewer_from_bearer(platform, token.strip())
    cookie = cookies.get(sessions.cookie_name(platform.settings, actor))
    found = await sessions.find(platform, cookie, actor=actor) if cookie else None
    if found is None:
        return ANONYMOUS
    check_origin(platform.settings.url, origin=headers.get("origin"), fetch_site=headers.get("sec-fetch-site"))
    if not is_safe:
        check_csrf(platform.pepper, found.csrf_binding, headers.get(CSRF_HEADER))
    return found.viewer


async def _possessor(
    platform: Platform, token: str, proof: str | None, target: Target | None, *, is_known: bool
) -> Viewer:
    found = await issuer_of(platform).check(token)
    if found.bound_to is None:
        raise TokenInvalid
    if not is_known:
        await dpop.check_use(platform, proof, target, token=token, bound_to=found.bound_to)
    return found.viewer


def challenge_in_kind(challenge: str, error: PlatformError, authorization: str | None) -> str:
    """A challenge for bearer tokens in the scheme the caller has used (RFC 9449 section 7.1)."""
    scheme, given = (authorization or "").partition(" ")[0], challenge.partition(" ")[2]
    if scheme.lower() != SCHEME.lower():
        return challenge
    if isinstance(error, DPoPInvalid):
        given = 'error="invalid_dpop_proof"'
    return ", ".join([f"{SCHEME} {given}".strip(), f'algs="{" ".join(ALGORITHMS)}"'])
