"""Paper records out of a CSV file: the register an office kept by itself until now.

Columns: ``customer`` (an e-mail address, or with ``issuer`` a customer number), ``category``, ``office``,
``location``, ``description``, ``retain_until`` (2031-12-31). A line that can not be registered is told by its number
and a code, never by what it says; the others are registered. The same file again registers nothing twice.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from sqlalchemy import exists, select

from cdp.access.viewer import Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput, PlatformError
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations.paper import records
from cdp.operations.paper.records import Filed
from cdp.operations.requests import guests
from cdp.operations.requests.permission import require_worker
from cdp.tables.base import Category
from cdp.tables.customer import IdentityType, identity
from cdp.tables.paper import PaperStatus, paper_record

COLUMNS = ("customer", "category", "office", "location", "description", "retain_until")
ISSUER = "issuer"
LONGEST = 4_096


class FileUnreadable(InvalidInput):
    """This is no CSV file in UTF-8 with the columns customer, category, office, location, description, retain_until."""

    code = "PAPER_FILE_UNREADABLE"


class CustomerUnknown(InvalidInput):
    """Nobody, or not one customer alone, is proven to have this address or number."""

    code = "CUSTOMER_UNKNOWN"


@dataclass
class Register:
    """What came of a file; ``refused`` has the number of a line and why."""

    registered: int = 0
    known: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


async def file(platform: Platform, viewer: Viewer, path: Path) -> Register:
    """Register every line, each in a transaction of its own. Raises MissingScope, FileUnreadable."""
    require_worker(viewer)
    register = Register()
    for number, line in _lines(path):
        try:
            async with platform.db.transaction(Role.WORKER) as tx:
                is_new = await _file(tx, viewer, line)
        except PlatformError as error:
            register.refused.append((number, error.code))
            continue
        register.registered += is_new
        register.known += not is_new
    return register


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, strict=True)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise FileUnreadable
            for row in rows:
                yield rows.line_num, {name: (row.get(name) or "").strip() for name in (*COLUMNS, ISSUER)}
    except (OSError, UnicodeError, csv.Error) as error:
        raise FileUnreadable from error


async def _file(tx: Tx, viewer: Viewer, line: Mapping[str, str]) -> bool:
    """Register one line; False where the register has it already."""
    filed = _read(line)
    customer_id = await _customer(tx, line["customer"], line[ISSUER])
    same = exists().where(
        paper_record.c.customer_id == customer_id,
        paper_record.c.category == filed.category,
        paper_record.c.office == filed.office,
        paper_record.c.location == filed.location,
        paper_record.c.description == filed.description,
        paper_record.c.retain_until == filed.retain_until,
        paper_record.c.status != PaperStatus.DESTROYED,
    )
    if await tx.scalar(select(same)):
        return False
    await records.register(tx, viewer, customer_id, filed)
    return True


def _read(line: Mapping[str, str]) -> Filed:
    """Raises PaperInvalid."""
    if not all(line[name] and len(line[name]) <= LONGEST for name in COLUMNS):
        raise records.PaperInvalid
    try:
        category, until = Category(line["category"]), date.fromisoformat(line["retain_until"])
    except ValueError as error:
        raise records.PaperInvalid from error
    return Filed(category, line["office"], line["location"], line["description"], until)


async def _customer(tx: Tx, named: str, issuer: str) -> CustomerId:
    """Who is meant: an address that was merely written into a profile leads nobody there. Raises CustomerUnknown."""
    if not issuer:
        found = await guests.holder(tx, named.casefold())
    else:
        numbered = (identity.c.type == IdentityType.CUSTOMER_NUMBER) & (identity.c.issuer == issuer)
        found = await tx.scalar(select(identity.c.customer_id).where(numbered, identity.c.value == named))
    if found is None:
        raise CustomerUnknown
    return found
