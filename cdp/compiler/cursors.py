"""Sealed cursors: a page position that only the viewer it was made for can hand back, and only where it was made.

SQL writes the position between two copies of a random mark of the call; ``seal`` replaces what stands between marks.
AES-SIV is deterministic, so the same row has the same cursor, and needs no nonce that could repeat.
Source: RFC 5297 (AES-SIV), https://relay.dev/graphql/connections.htm#sec-Cursor
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cdp.access.viewer import Viewer
from cdp.compiler.graph import Kind
from cdp.core.errors import InvalidInput


class InvalidCursor(InvalidInput):
    """This cursor was not made for this list."""

    code = "INVALID_CURSOR"


class CursorSeal:
    """Seals and opens cursors under one key."""

    def __init__(self, key: bytes) -> None:
        derived = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"cdp cursor v1").derive(key)
        self._cipher = AESSIV(derived)

    def seal(self, text: bytes, mark: bytes, scopes: tuple[bytes, ...], viewer: Viewer) -> bytes:
        """Replace every marked position of a response by its sealed form. ``scopes`` say where each was made."""
        parts = text.split(mark)
        who = _identity(viewer)
        for position in range(1, len(parts), 2):
            number, _, payload = parts[position].partition(b":")
            sealed = self._cipher.encrypt(payload, [scopes[int(number)], who])
            parts[position] = base64.urlsafe_b64encode(sealed).rstrip(b"=")
        return b"".join(parts)

    def open(self, cursor: object, scope: bytes, viewer: Viewer, kinds: tuple[Kind, ...]) -> list[object]:
        """Read the position out of a cursor. Raises InvalidCursor for a foreign, tampered or malformed one."""
        try:
            if not isinstance(cursor, str):
                raise InvalidCursor
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            payload = self._cipher.decrypt(raw, [scope, _identity(viewer)])
            values = json.loads(json.loads(b'"' + payload + b'"'))
            return [_PARSERS.get(kind, str)(value) for value, kind in zip(values, kinds, strict=True)]
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise InvalidCursor from error


def _identity(viewer: Viewer) -> bytes:
    return f"{viewer.actor.value}:{viewer.customer_id}:{viewer.staff_id}:{viewer.client_id}".encode()


_PARSERS: Mapping[Kind, Callable[[str], object]] = {
    Kind.ID: UUID,
    Kind.DATETIME: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
    Kind.DECIMAL: Decimal,
    Kind.INT: int,
    Kind.BIGINT: int,
    Kind.FLOAT: float,
}
