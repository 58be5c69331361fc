"""One sign-in at the provider: authorization code with PKCE, state and nonce, begun and finished in one browser.

What was begun travels in a sealed cookie of that browser, so that nobody can be signed in to a foreign account by an
address somebody else made (RFC 9700 section 4.7). Sources: RFC 9700; RFC 9207 (issuer in the answer).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from cdp.access.viewer import Actor
from cdp.core.errors import Unauthenticated
from cdp.core.ids import new_token
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.core.sign import decode, encode
from cdp.operations.federation import id_tokens
from cdp.operations.federation.directory import Directory, ProviderBroken, directory_of
from cdp.operations.federation.id_tokens import Expected, IdTokenInvalid
from cdp.operations.federation.provider import Provider

GOOD_FOR = timedelta(minutes=10)
CALLBACK = {Actor.CUSTOMER: "/account/sign-in/callback", Actor.STAFF: "/console/sign-in/callback"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LONGEST_PARAMETER = 4096


class FlowLost(Unauthenticated):
    """This sign-in was not begun in this browser, or took too long; try again."""

    code = "PROVIDER_FLOW_LOST"


class ProviderRefused(Unauthenticated):
    """The service you sign in with did not let you in."""

    code = "PROVIDER_REFUSED"


@dataclass(frozen=True)
class Begun:
    """A sign-in under way. ``again`` is a fresh one of who is signed in already (RFC 9470)."""

    state: str
    nonce: str
    verifier: str = field(repr=False)
    next: str
    again: bool
    began_at: float


@dataclass(frozen=True)
class Asserted:
    """What the provider said, checked: who, with which claims, signed in when."""

    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    authenticated_at: datetime
    amr: tuple[str, ...]
    id_token: str = field(repr=False)
    next: str
    again: bool


async def depart(platform: Platform, provider: Provider, actor: Actor, path: str, *, again: bool) -> tuple[str, str]:
    """Where to send the browser, and the sealed cookie it keeps. Raises ProviderUnavailable, ProviderBroken."""
    endpoints = await directory_of(platform, provider).endpoints()
    begun = Begun(new_token(), new_token(), new_token(), path, again, platform.clock().timestamp())
    challenge = encode(hashlib.sha256(begun.verifier.encode()).digest())
    wanted = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": f"{platform.settings.url}{CALLBACK[actor]}",
        "scope": provider.scope,
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        # Always: only who asks is told when somebody signed in.
        "max_age": str(_max_age_s(platform, again=again)),
        **({"prompt": "login"} if again else {}),
    }
    mark = "&" if "?" in endpoints.authorization else "?"
    cookie = encode(platform.sealer.seal(json.dumps(asdict(begun)).encode(), _context(actor)))
    return f"{endpoints.authorization}{mark}{urlencode(wanted)}", cookie


async def finish(
    platform: Platform, provider: Provider, actor: Actor, cookie: str | None, answer: Mapping[str, str]
) -> Asserted:
    """Take the provider's answer. Raises FlowLost, ProviderRefused, IdTokenInvalid and ProviderUnavailable, -Broken."""
    begun = _opened(platform, actor, cookie)
    if any(len(value) > LONGEST_PARAMETER for value in answer.values()):
        raise FlowLost
    if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
        raise FlowLost
    directory = directory_of(platform, provider)
    endpoints = await directory.endpoints()
    if answer.get("iss", provider.issuer) != provider.issuer or (endpoints.names_itself and "iss" not in answer):
        raise FlowLost
    if "code" not in answer:
        raise ProviderRefused
    redirect_uri = f"{platform.settings.url}{CALLBACK[actor]}"
    proof = {"code": answer["code"], "verifier": begun.verifier, "redirect_uri": redirect_uri}
    tokens = await _redeem(directory, provider, **proof)
    expected = Expected(begun.nonce, platform.clock(), _max_age_s(platform, again=begun.again))
    claims = await id_tokens.check(directory, provider, tokens.get("id_token"), expected)
    return Asserted(
        issuer=provider.issuer,
        subject=str(claims["sub"]),
        claims=await _with_userinfo(directory, claims, tokens),
        authenticated_at=id_tokens.authenticated_at(claims, platform.clock()),
        amr=_methods(claims, provider),
        id_token=str(tokens["id_token"]),
        next=begun.next,
        again=begun.again,
    )


def _max_age_s(platform: Platform, *, again: bool) -> int:
    return platform.settings.step_up_max_age_s if again else platform.settings.session_ttl_s


def _context(actor: Actor) -> str:
    return f"federation.begun:{actor}"


def _opened(platform: Platform, actor: Actor, cookie: str | None) -> Begun:
    try:
        begun = Begun(**json.loads(platform.sealer.open(decode(cookie or ""), _context(actor))))
    except (Unsealable, ValueError, TypeError) as error:
        raise FlowLost from error
    if platform.clock() - datetime.fromtimestamp(begun.began_at, UTC) > GOOD_FOR:
        raise FlowLost
    return begun


async def _redeem(
    directory: Directory, provider: Provider, *, code: str, verifier: str, redirect_uri: str
) -> Mapping[str, Any]:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    endpoints, headers, secret = await directory.endpoints(), dict(FORM), provider.client_secret
    if secret is not None and "client_secret_basic" in endpoints.auth_methods:
        # RFC 6749 section 2.3.1: both halves are form-encoded first.
        pair = f"{quote(provider.client_id, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        fields |= {"client_id": provider.client_id} | ({"client_secret": secret} if secret is not None else {})
    content = urlencode(fields).encode()
    found = await directory.fetch("POST", endpoints.token, headers=headers, content=content)
    if "error" in found:
        raise ProviderRefused
    return found


async def _with_userinfo(
    directory: Directory, claims: Mapping[str, object], tokens: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The claims with those of the userinfo endpoint, where most providers keep them; both must be of one person."""
    address, token = (await directory.endpoints()).userinfo, tokens.get("access_token")
    if address is None or not isinstance(token, str):
        return claims
    more = await directory.fetch("GET", address, headers={"Authorization": f"Bearer {token}"})
    if "error" in more:
        raise ProviderBroken
    if more.get("sub") != claims["sub"]:
        raise IdTokenInvalid
    return {**more, **claims}


def _methods(claims: Mapping[str, object], provider: Provider) -> tuple[str, ...]:
    """How they proved themselves there (RFC 8176), as far as the provider says."""
    found = claims.get("amr")
    named = [one for one in found if isinstance(one, str) and len(one) <= 20][:10] if isinstance(found, list) else []
    return tuple(dict.fromkeys(["fed", *named, *(["mfa"] if provider.demands_mfa else [])]))
