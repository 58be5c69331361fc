"""The body of a request as controllers send it, read strictly: what is not understood is refused, never guessed.

Source: OpenDSR 2.0, https://github.com/opengdpr/OpenDSR; OpenGDPR 1.0 for the older names.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cdp.core.errors import InvalidInput
from cdp.operations import values
from cdp.tables.customer import IdentityType
from cdp.tables.provider import AskedType

API_VERSION = "2.0"
FORMATS = ("raw", "sha256", "sha1", "md5")
TYPES = {"email": IdentityType.EMAIL, "controller_customer_id": IdentityType.CUSTOMER_NUMBER}
_OPEN = ConfigDict(extra="ignore")  # later minor versions may add members


class RequestUnreadable(InvalidInput):
    """The body is not a request of OpenDSR 2.0."""

    code = "REQUEST_UNREADABLE"


class CallbackNotAllowed(InvalidInput):
    """A callback goes to https on a domain that was agreed."""

    code = "CALLBACK_NOT_ALLOWED"


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Identity:
    """One way the controller knows somebody."""

    identity_type: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,60}$")]
    identity_value: Annotated[str, Field(min_length=1, max_length=320, repr=False)]
    identity_format: Literal["raw", "sha256", "sha1", "md5"]

    @property
    def type(self) -> IdentityType | None:
        """Our kind of identifier, None for one nobody is found by here."""
        return TYPES.get(self.identity_type)

    @property
    def sought(self) -> str:
        """The value as it is compared: normalised when raw, lower-case hexadecimal digits when hashed."""
        if self.identity_format != "raw":
            return self.identity_value.lower()
        if self.type is IdentityType.EMAIL:
            try:
                return values.email(self.identity_value).normalized
            except values.InvalidEmail:
                return ""
        return self.identity_value.strip()

    def fits(self, value: str) -> bool:
        """Whether a normalised value of ours is meant."""
        if self.identity_format == "raw":
            return value == self.sought
        return hashlib.new(self.identity_format, value.encode(), usedforsecurity=False).hexdigest() == self.sought


@dataclass(frozen=True, config=_OPEN, kw_only=True)
class Asked:
    """One request."""

    regulation: Literal["gdpr", "ccpa"]
    subject_request_id: Annotated[
        str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
    ]
    subject_request_type: AskedType
    submitted_time: AwareDatetime
    subject_identities: Annotated[tuple[Identity, ...], Field(min_length=1, max_length=50)]
    api_version: Annotated[str, Field(pattern=r"^[012](\.\d{1,3}){0,2}$")] = API_VERSION
    status_callback_urls: Annotated[tuple[Annotated[str, Field(max_length=2000)], ...], Field(max_length=10)] = ()
    extensions: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def id(self) -> UUID:
        """The controller's id of it."""
        return UUID(self.subject_request_id)

    @property
    def at(self) -> datetime:
        """When the person asked the controller."""
        return self.submitted_time


def read(body: bytes, *, is_older: bool) -> Asked:
    """Read a request; one by the older name is about the GDPR unless it says otherwise. Raises RequestUnreadable."""
    try:
        found = TypeAdapter(dict[str, JsonValue]).validate_json(body)
        if is_older:
            found = {"regulation": "gdpr", **found}
        return TypeAdapter(Asked).validate_python(found)
    except ValidationError as error:
        places = [
            {"at": ".".join(map(str, one["loc"])), "reason": one["type"]}
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise RequestUnreadable(problems=places[:20]) from None


def require_callbacks(urls: tuple[str, ...], domains: tuple[str, ...], *, schemes: frozenset[str]) -> None:
    """Refuse an address outside the domains that were agreed. Raises CallbackNotAllowed."""
    for url in urls:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError as error:
            raise CallbackNotAllowed from error
        is_theirs = any(host == domain or host.endswith(f".{domain}") for domain in domains)
        has_more = parts.username is not None or parts.password is not None or bool(parts.fragment)
        if parts.scheme not in schemes or not is_theirs or has_more or not url.isascii() or not url.isprintable():
            raise CallbackNotAllowed
