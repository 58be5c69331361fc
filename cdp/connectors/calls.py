"""Calls to other systems over HTTP as every kind makes them: addresses, secrets, troubles as outcomes, strict JSON.

Nothing an answer says leaves this layer but its status: bodies and error texts of other systems quote people.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from cdp.connectors.base import Code, ConfigurationInvalid, Json, Outcome, Problem, State, System
from cdp.core.http import MAX_BODY_BYTES, Answer, AnswerTooLarge, CallFailed, TargetForbidden
from cdp.core.platform import Platform
from cdp.core.settings import Environment

MAX_RETRY_AFTER_S = 24 * 3600
T = TypeVar("T")


async def call(
    platform: Platform,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    timeout_s: float,
    max_bytes: int = MAX_BODY_BYTES,
) -> Answer | Outcome:
    """Make one call: the answer, whatever its status, or the outcome that its absence means."""
    try:
        return await platform.outbound.request(
            method,
            url,
            headers=headers,
            content=content,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            may_be_inside=True,
        )
    except TargetForbidden:
        return Outcome(State.FAILED, TargetForbidden.code)
    except AnswerTooLarge:
        return Outcome(State.FAILED, AnswerTooLarge.code)
    except CallFailed as error:
        late = isinstance(error.__cause__, TimeoutError | httpx.TimeoutException)
        return Outcome(State.RETRY, Code.TIMED_OUT if late else Code.UNREACHABLE)


def trouble(answer: Answer) -> Outcome:
    """The outcome of an answer that is not what the step was waiting for; never done."""
    match answer.status:
        case 401:
            return Outcome(State.FAILED, Code.NOT_ALLOWED)
        case 429 | 503:
            return Outcome(State.RETRY, Code.BUSY, retry_after_s=retry_after_s(answer))
        case status if 500 <= status < 600:
            return Outcome(State.RETRY, "SERVER_ERROR", {"status": status}, retry_after_s=retry_after_s(answer))
        case status:
            code = "REDIRECTED" if 300 <= status < 400 else Code.BAD_ANSWER
            return Outcome(State.FAILED, code, {"status": status})


def retry_after_s(answer: Answer) -> float | None:
    """Seconds, or a date measured from the answer's own date (RFC 9110, 10.2.3)."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
    try:
        wait = (_moment(text) - _moment(answer.headers.get("date", ""))).total_seconds()
    except ValueError:
        return None
    return min(max(wait, 0.0), float(MAX_RETRY_AFTER_S))


def _moment(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def strict_json(body: bytes) -> Json:
    """Read a JSON text. Raises ValueError also for NaN, infinity, lone surrogates and bottomless nesting."""
    read: Json = from_json(body, allow_inf_nan=False)
    json.dumps(read, allow_nan=False)  # 1e999 is well-formed, and infinite
    return read


@lru_cache(maxsize=64)
def _adapter(shape: type[object]) -> TypeAdapter[Any]:
    """The reader of a shape, built once: building takes longer than many readings."""
    return TypeAdapter(shape)


def configured(shape: type[T], configuration: object) -> T:
    """The configuration in its shape. Raises ConfigurationInvalid with every place that is wrong."""
    try:
        read: T = _adapter(shape).validate_python(configuration)  # type: ignore[arg-type] # a class can be hashed
    except ValidationError as error:
        raise ConfigurationInvalid(
            tuple(
                Problem("VALUE_INVALID", ".".join(map(str, one["loc"])), one["msg"])
                for one in error.errors(include_url=False, include_input=False, include_context=False)
            )
        ) from None
    return read


def require_url(url: str, at: str, platform: Platform) -> None:
    """Refuse an address that is none, carries a password, or is not https in production."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None  # reading the port checks it
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationInvalid((Problem("VALUE_INVALID", at, "This is not a URL"),)) from error
    schemes = {"https"} if platform.settings.env is Environment.PRODUCTION else {"https", "http"}
    if parts.scheme not in schemes or not host:
        raise ConfigurationInvalid((Problem("VALUE_INVALID", at, "Personal data goes over https"),))
    if parts.username or parts.password:
        raise ConfigurationInvalid((Problem("SECRET_IN_CONFIGURATION", at, "Secrets are sealed, not in a URL"),))


def open_secrets(system: System, platform: Platform) -> Mapping[str, Json]:
    """The system's secrets; none sealed means an empty mapping. Raises Unsealable or ConfigurationInvalid."""
    if system.secrets_sealed is None:
        return {}
    opened = json.loads(platform.sealer.open(system.secrets_sealed, system.seal_context))
    if not isinstance(opened, dict):
        raise ConfigurationInvalid((Problem("VALUE_INVALID", "secrets", "Secrets are named texts"),))
    return opened


def require_secrets(secrets: Mapping[str, Json], names: frozenset[str]) -> dict[str, str]:
    """Exactly these secrets as texts that fit into a header. Raises ConfigurationInvalid."""
    found = [
        Problem("SECRET_MISSING", f"secrets.{name}", "This way of signing in needs it, as printable ASCII")
        for name in sorted(names)
        if not _is_printable(secrets.get(name))
    ]
    found += [
        Problem("FIELD_UNKNOWN", f"secrets.{name}", "Nothing uses this secret") for name in sorted({*secrets} - names)
    ]
    if found:
        raise ConfigurationInvalid(tuple(found))
    return {name: str(secrets[name]) for name in names}


def _is_printable(secret: Json) -> bool:
    return isinstance(secret, str) and bool(secret) and secret.isascii() and secret.isprintable()
