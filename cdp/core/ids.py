"""Identifiers: UUIDv7 rows (RFC 9562), opaque global ids for the API, references people can read aloud.

A global id is base64url of ``Type:uuid`` (Relay Global Object Identification,
https://relay.dev/graphql/objectidentification.htm); its padding is dropped.
"""

import base64
import binascii
import secrets
from typing import NewType
from uuid import UUID

import uuid_utils.compat as uuid_utils

from cdp.core.errors import InvalidInput

CustomerId = NewType("CustomerId", UUID)
RequestId = NewType("RequestId", UUID)
TaskId = NewType("TaskId", UUID)
SystemId = NewType("SystemId", UUID)
ExportId = NewType("ExportId", UUID)

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


class InvalidGlobalId(InvalidInput):
    """This id is not one of ours."""

    code = "INVALID_ID"


def new_id() -> UUID:
    """Make a UUIDv7: unique and ordered by time, so that new rows land at the end of an index."""
    return uuid_utils.uuid7()


def global_id(type_name: str, row_id: UUID) -> str:
    """Encode ``Type:uuid`` as the opaque id clients see."""
    return base64.urlsafe_b64encode(f"{type_name}:{row_id}".encode()).rstrip(b"=").decode()


def parse_global_id(value: str, *, expected: str | None = None) -> tuple[str, UUID]:
    """Decode an id to ``(type name, uuid)``.

    Raises InvalidGlobalId when it is malformed, not spelled as we spell it or, with ``expected``, of another type.
    """
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True).decode("ascii")
        type_name, _, text = raw.partition(":")
        row_id = UUID(text)
    except (ValueError, binascii.Error) as error:
        raise InvalidGlobalId from error
    if global_id(type_name, row_id) != value or (expected is not None and type_name != expected):
        raise InvalidGlobalId
    return type_name, row_id


def new_reference(prefix: str) -> str:
    """Make a short random reference for people, ``ER-7K2M-9QXD``; no vowels and no look-alikes."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{prefix}-{letters[:4]}-{letters[4:]}"


def new_token() -> str:
    """Make a bearer secret of 256 random bits, base64url."""
    return secrets.token_urlsafe(32)
