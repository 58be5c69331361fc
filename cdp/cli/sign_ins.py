"""Who is signed in at this terminal, at which server: a file of mode 0600 in the user's own state folder.

A verb that talks to a server as a person asks ``authorization`` for the header. Tokens are renewed under a lock, since
a refresh token is good once: two at a time would look like a theft and end the sign-in (RFC 9700 section 4.14).
Source of the place: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cdp.core.clock import Clock, utc_now
from cdp.core.errors import InvalidInput, Unauthenticated, Unavailable

CLIENT_ID = "cdp-cli"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT_S = 15.0
# Renewed a little early, so that it does not expire on the way.
EARLY_S = 30.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class NotSignedIn(Unauthenticated):
    """Sign in first: cdp login --url …."""

    code = "NOT_SIGNED_IN"


class ServerUnreachable(Unavailable):
    """The server does not answer, or not as one of ours."""

    code = "SERVER_UNREACHABLE"


class InsecureServer(InvalidInput):
    """A server is named by https, or by http on this machine."""

    code = "INSECURE_SERVER"


@dataclass(frozen=True)
class SignIn:
    """Tokens for one server; ``expires_at`` is a Unix time."""

    url: str
    access_token: str = field(repr=False)
    expires_at: float
    scope: str
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Server:
    """The endpoints of a server that are used here, as it describes them (RFC 8414)."""

    url: str
    token: str
    device_authorization: str
    revocation: str
    userinfo: str


def folder() -> Path:
    """Where the file lives; ``XDG_STATE_HOME`` moves it."""
    given = os.environ.get("XDG_STATE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state") / "cdp"


def check_url(url: str) -> str:
    """The server's address without a trailing slash. Raises InsecureServer."""
    parts = urlsplit(url)
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        raise InsecureServer
    return url.rstrip("/")


def describe(url: str) -> Server:
    """Ask a server for its endpoints. Raises ServerUnreachable, also for a description of another server."""
    found = ask("GET", f"{url}/.well-known/oauth-authorization-server")
    if found.get("issuer") != url:
        raise ServerUnreachable
    names = ("token_endpoint", "device_authorization_endpoint", "revocation_endpoint", "userinfo_endpoint")
    endpoints = [str(found.get(name, "")) for name in names]
    if any(urlsplit(endpoint).netloc != urlsplit(url).netloc for endpoint in endpoints):
        raise ServerUnreachable
    return Server(url, *endpoints)


def ask(method: str, url: str, *, fields: Mapping[str, str] | None = None, token: str | None = None) -> dict[str, Any]:
    """Make a call and read its JSON object; an OAuth error is an answer too. Raises ServerUnreachable."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.request(method, url, data=fields, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)
        found = answer.json() if answer.content else {}
    except (httpx.HTTPError, ValueError) as error:
        raise ServerUnreachable from error
    if not isinstance(found, dict) or (answer.status_code != 200 and not {"error", "code"} & set(found)):
        raise ServerUnreachable
    return found


def signed_in(url: str, answer: Mapping[str, Any], *, clock: Clock = utc_now) -> SignIn:
    """Read a token response. Raises ServerUnreachable when it is none."""
    try:
        return SignIn(
            url,
            str(answer["access_token"]),
            clock().timestamp() + float(answer["expires_in"]),
            str(answer.get("scope", "")),
            str(answer["refresh_token"]) if answer.get("refresh_token") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ServerUnreachable from error


@contextmanager
def kept() -> Iterator[dict[str, SignIn]]:
    """Every sign-in by address, the newest last, for the time of a lock; changes are written at the end."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / "sign-ins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _read(place / "sign-ins.json")
        before = dict(found)
        yield found
        if found != before or list(found) != list(before):
            _write(place / "sign-ins.json", found)


def authorization(url: str | None = None, *, clock: Clock = utc_now) -> tuple[str, Mapping[str, str]]:
    """Address and Authorization header of the sign-in at ``url``, or of the newest; renews what has expired.

    Raises NotSignedIn, ServerUnreachable.
    """
    with kept() as found:
        wanted = check_url(url) if url else next(reversed(found), None)
        current = found.get(wanted) if wanted else None
        if current is None:
            raise NotSignedIn
        if current.expires_at - EARLY_S <= clock().timestamp():
            current = found[current.url] = _renewed(found, current, clock)
    return current.url, {"authorization": f"Bearer {current.access_token}"}


def _renewed(found: dict[str, SignIn], current: SignIn, clock: Clock) -> SignIn:
    if current.refresh_token is None:
        raise NotSignedIn
    fields = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": current.refresh_token}
    answer = ask("POST", describe(current.url).token, fields=fields)
    if "error" in answer:
        del found[current.url]
        _write(folder() / "sign-ins.json", found)
        raise NotSignedIn
    return signed_in(current.url, answer, clock=clock)


def _read(path: Path) -> dict[str, SignIn]:
    try:
        return {one["url"]: SignIn(**one) for one in json.loads(path.read_text(encoding="utf-8"))}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def _write(path: Path, sign_ins: Mapping[str, SignIn]) -> None:
    """Replace the file as a whole; nobody else may read it, not even for a moment."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump([asdict(one) for one in sign_ins.values()], file)
    fresh.replace(path)
