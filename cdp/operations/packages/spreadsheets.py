"""Records as CSV (RFC 4180) that a spreadsheet opens as text and never as a formula.

Source: OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence

from cdp.connectors.base import Json, Record
from cdp.operations.packages.shapes import PARENT, RECORD, rows

FLUSH_CHARACTERS = 64 * 1024
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Json) -> str:
    """One cell; a text that could start a formula gets an apostrophe in front, a plain number does not."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text.lstrip(" ").startswith(_DANGEROUS) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


async def table(records: AsyncIterator[Record], path: tuple[str, ...], columns: Sequence[str]) -> AsyncIterator[bytes]:
    """Stream the CSV table at ``path`` of a collection, header first, UTF-8 with the mark spreadsheets look for."""
    names = [*([PARENT] if path else []), RECORD, *columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write("\ufeff")
    writer.writerow([cell(name) for name in names])
    number = 0
    async for record in records:
        number += 1
        for row in rows(record, path, number):
            writer.writerow([cell(row.get(name)) for name in names])
        if buffer.tell() > FLUSH_CHARACTERS:
            yield _drain(buffer)
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
