"""``cdp login``, ``cdp logout``, ``cdp whoami``: be somebody at a server, by a code typed into a browser (RFC 8628)."""

import json
import time
from typing import Annotated, Any

import typer

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.cli import sign_ins
from cdp.cli.sign_ins import CLIENT_ID, DEVICE_CODE, NotSignedIn, Server, ServerUnreachable, SignIn
from cdp.core.errors import Forbidden, Unauthenticated

app = typer.Typer()
Url = Annotated[str, typer.Option("--url", help="Address of the server.")]
MaybeUrl = Annotated[str | None, typer.Option("--url", help="Address of the server. Default: the newest sign-in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class SignInDenied(Forbidden):
    """The sign-in was denied in the browser."""

    code = "SIGN_IN_DENIED"


class SignInRefused(Forbidden):
    """The server does not let this program ask for that."""

    code = "SIGN_IN_REFUSED"


class SignInTimedOut(Unauthenticated):
    """Nobody typed the code in time; start again."""

    code = "SIGN_IN_TIMED_OUT"


@app.command()
def login(
    *,
    url: Url = "http://localhost:8000",
    staff: Annotated[bool, typer.Option("--staff", help="Sign in as a member of staff.")] = False,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="One scope; repeatable. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign in at a server: type the code that is shown into a browser, anywhere."""
    server = sign_ins.describe(sign_ins.check_url(url))
    wanted = [name for given in scope or () for name in given.split()] or sorted(
        STAFF_SCOPES if staff else CUSTOMER_SCOPES
    )
    begun = sign_ins.ask(
        "POST", server.device_authorization, fields={"client_id": CLIENT_ID, "scope": " ".join(wanted)}
    )
    if "device_code" not in begun:
        raise SignInRefused
    names = ("verification_uri", "user_code", "verification_uri_complete")
    if as_json:
        print(json.dumps({name: begun.get(name) for name in names}), flush=True)
    else:
        print(f"Open {begun.get(names[0])} and type: {begun.get(names[1])}", flush=True)
    fresh = _wait(server, begun)
    with sign_ins.kept() as found:
        found.pop(server.url, None)
        found[server.url] = fresh
    _say(as_json, {"url": server.url, "scope": fresh.scope}, f"Signed in at {server.url}.")


def _wait(server: Server, begun: dict[str, Any]) -> SignIn:
    """Ask as often as the server lets us until somebody has decided. Raises SignInDenied, SignInTimedOut."""
    fields = {"grant_type": DEVICE_CODE, "client_id": CLIENT_ID, "device_code": str(begun["device_code"])}
    interval_s = float(begun.get("interval", 5))
    while True:
        time.sleep(interval_s)
        answer = sign_ins.ask("POST", server.token, fields=fields)
        match answer.get("error"):
            case None:
                return sign_ins.signed_in(server.url, answer)
            case "authorization_pending":
                continue
            case "slow_down":
                interval_s += 5
            case "access_denied":
                raise SignInDenied
            case _:
                raise SignInTimedOut


@app.command()
def logout(*, url: MaybeUrl = None, as_json: AsJson = False) -> None:
    """Sign out: end the sign-in at the server and forget its tokens, reachable or not."""
    with sign_ins.kept() as found:
        wanted = sign_ins.check_url(url) if url else next(reversed(found), "")
        current = found.pop(wanted, None)
    if current is None:
        raise NotSignedIn
    fields = {"client_id": CLIENT_ID, "token": current.refresh_token or current.access_token}
    try:
        sign_ins.ask("POST", sign_ins.describe(current.url).revocation, fields=fields)
    except ServerUnreachable:
        message = "The tokens are forgotten here, but the server did not answer: end the sign-in on your account page."
        raise ServerUnreachable(message) from None
    _say(as_json, {"url": current.url}, f"Signed out at {current.url}.")


@app.command()
def whoami(*, url: MaybeUrl = None, as_json: AsJson = False) -> None:
    """Say who is signed in, and where."""
    at, headers = sign_ins.authorization(url)
    found = sign_ins.ask("GET", sign_ins.describe(at).userinfo, token=headers["authorization"].partition(" ")[2])
    if "sub" not in found:
        raise NotSignedIn
    name = found.get("email") or found.get("name") or found["sub"]
    _say(as_json, {"url": at, **found}, f"{name} at {at}")


def _say(as_json: bool, shown: dict[str, Any], sentence: str) -> None:
    print(json.dumps(shown) if as_json else sentence)
