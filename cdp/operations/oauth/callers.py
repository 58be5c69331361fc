"""Who calls: a bearer token, or the cookie of a page's session together with proof that the page is ours."""

from collections.abc import Mapping

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.platform import Platform
from cdp.operations.accounts import sessions
from cdp.operations.accounts.csrf import check_csrf, check_origin
from cdp.operations.oauth.tokens import TokenInvalid, viewer_from_bearer

CSRF_HEADER = "x-csrf-token"


async def viewer_of(
    platform: Platform,
    headers: Mapping[str, str],
    cookies: Mapping[str, str],
    *,
    actor: Actor = Actor.CUSTOMER,
    is_safe: bool = False,
) -> Viewer:
    """The viewer of a request by its headers (lower-case names); ANONYMOUS when it names nobody.

    A cookie counts only with the CSRF token of its session in ``x-csrf-token``, except for a safe request (GET) that no
    foreign page has made. Raises TokenExpired, TokenInvalid, CsrfRefused.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
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
