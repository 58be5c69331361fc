"""Forged requests: a synchronizer token bound to the session, and the browser's own word on where a request came from.

A form of somebody not yet signed in is bound to a random cookie of the browser instead, so that nobody can be signed in
to a foreign account unawares. Source: OWASP Cross-Site Request Forgery Prevention Cheat Sheet,
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import hmac
from urllib.parse import urlsplit

from cdp.core.errors import Forbidden
from cdp.core.seal import Pepper
from cdp.core.sign import encode


class CsrfRefused(Forbidden):
    """This form is out of date; open the page again and resend it."""

    code = "CSRF_REFUSED"


def csrf_token(pepper: Pepper, binding: str) -> str:
    """The token every form and every cookie-authenticated call carries; ``binding`` names session or browser."""
    return encode(pepper.hash("csrf", binding).value)


def check_csrf(pepper: Pepper, binding: str | None, given: str | None) -> None:
    """Raise CsrfRefused unless ``given`` is the token of ``binding``."""
    if not binding or not given:
        raise CsrfRefused
    expected = [encode(known.value) for known in pepper.hashes("csrf", binding)]
    if not any(hmac.compare_digest(token.encode(), given.encode()) for token in expected):
        raise CsrfRefused


def check_origin(base_url: str, *, origin: str | None, fetch_site: str | None) -> None:
    """Raise CsrfRefused when the browser says the request comes from elsewhere (Fetch Metadata, else Origin).

    A request that carries neither header is no proof of anything; the token decides alone.
    """
    if fetch_site is not None:
        if fetch_site not in {"same-origin", "none"}:
            raise CsrfRefused
    elif origin is not None and _origin(origin) != _origin(base_url):
        raise CsrfRefused


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
