"""The nonce of a page: scripts that carry it may run, all others may not (CSP level 3)."""

import secrets

from starlette.requests import Request


def nonce_of(request: Request) -> str:
    """The nonce of this answer; made when first asked for."""
    state = request.scope.setdefault("state", {})
    nonce: str = state.setdefault("nonce", secrets.token_urlsafe(16))
    return nonce
