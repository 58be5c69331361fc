"""Light, dark, or as the device says: a choice kept in a cookie, so that it works without scripts and an account."""

from starlette.responses import Response

from cdp.web.render import THEME_COOKIE, THEMES
from cdp.web.visit import Visit

YEAR_S = 365 * 86400


async def submit(visit: Visit) -> Response:
    """Remember the choice and go back."""
    chosen = visit.field("theme")
    response = visit.redirect(visit.next)
    if chosen in THEMES:
        secure = visit.platform.settings.is_secure
        response.set_cookie(THEME_COOKIE, chosen, max_age=YEAR_S, secure=secure, httponly=True, samesite="lax")
    else:
        response.delete_cookie(THEME_COOKIE)
    return response
