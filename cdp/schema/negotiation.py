"""Content negotiation of the GraphQL door: which of its media types an Accept header prefers.

Source: RFC 9110 section 12.5.1, https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1, and GraphQL over HTTP,
https://graphql.github.io/graphql-over-http/draft/#sec-Legacy-Watershed
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cdp.core.errors import InvalidInput


class Media(StrEnum):
    """What a response may be."""

    RESPONSE = "application/graphql-response+json"
    JSON = "application/json"
    STREAM = "text/event-stream"


class NotAcceptable(InvalidInput):
    """None of the media types you accept is available here."""

    code = "NOT_ACCEPTABLE"
    status = 406


class UnsupportedMediaType(InvalidInput):
    """Send the request as application/json in UTF-8."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


@dataclass(frozen=True)
class Accepted:
    """What a client accepts: the best media type for one response, and whether a subscription may stream."""

    media: Media
    streams: bool


@lru_cache(maxsize=256)
def accepted(header: str | None) -> Accepted:
    """Read an Accept header; none means JSON. Raises NotAcceptable.

    A client that accepts streams among others gets one only for a subscription.
    """
    quality: dict[Media, float] = {}
    for name, weight in map(_range, header.split(",") if header is not None else ["*/*"]):
        for media in _matching(name):
            quality[media] = max(weight, quality.get(media, 0.0))
    streams = quality.pop(Media.STREAM, 0.0) > 0
    best = max(quality.items(), key=lambda item: (item[1], item[0] is Media.RESPONSE), default=(Media.STREAM, 0.0))
    if best[1] > 0:
        return Accepted(best[0], streams)
    if streams:
        return Accepted(Media.STREAM, streams)
    raise NotAcceptable


def _range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
        elif key.strip() == "charset" and value.strip('" ') not in {"utf-8", "utf8"}:
            quality = 0.0
    return name, quality


def _matching(name: str) -> list[Media]:
    if name in {"*/*", "application/*"}:
        return [Media.JSON]
    return [Media(name)] if name in set(Media) else []


@lru_cache(maxsize=64)
def check_content_type(header: str | None) -> None:
    """Refuse a body that is not JSON: a form of a foreign page can not send any. Raises UnsupportedMediaType."""
    name, *parameters = (part.strip().lower() for part in (header or "").split(";"))
    charset = next((value for value in parameters if value.startswith("charset=")), "charset=utf-8")
    if name != Media.JSON or charset.removeprefix("charset=").strip('"') not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType
