"""Whom a population may not bring back: made-up people whose identifier stands on the suppression list."""

from collections.abc import Mapping

from sqlalchemy import select

from cdp.core.db import Tx
from cdp.core.seal import Pepper
from cdp.operations.population.rows import COLUMNS
from cdp.operations.suppression import kind_of
from cdp.tables.certificate import suppression
from cdp.tables.customer import IdentityType

CODE = "SUPPRESSED"
_VALUES = {
    "email_address": (IdentityType.EMAIL, "normalized"),
    "phone_number": (IdentityType.PHONE, "e164"),
    "account": (IdentityType.USERNAME, "username"),
}


class Refusal:
    """The list as it stands, and how many were refused for it."""

    def __init__(self, pepper: Pepper, hashes: frozenset[bytes]) -> None:
        self._pepper = pepper
        self._hashes = hashes
        self.count = 0

    @classmethod
    async def read(cls, tx: Tx, pepper: Pepper) -> "Refusal":
        """Read the whole list."""
        found = await tx.all(select(suppression.c.value_hash).where(suppression.c.lifted_at.is_(None)))
        return cls(pepper, frozenset(bytes(row.value_hash) for row in found))

    def without(self, chunk: Mapping[str, bytes]) -> dict[str, bytes]:
        """A chunk of COPY lines without every row of those who are refused."""
        if not self._hashes:
            return dict(chunk)
        refused = self._refused(chunk)
        self.count += len(refused)
        return {table: _without(table, lines, refused) for table, lines in chunk.items()} if refused else dict(chunk)

    def _refused(self, chunk: Mapping[str, bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for table, (kind, name) in _VALUES.items():
            owner, value = COLUMNS[table].index("customer_id"), COLUMNS[table].index(name)
            for line in chunk.get(table, b"").splitlines():
                cells = line.split(b"\t")
                if self._is_listed(kind_of(kind), cells[value].decode()):
                    found.add(cells[owner])
        owner, place = COLUMNS["identity"].index("customer_id"), COLUMNS["identity"].index("type")
        for line in chunk.get("identity", b"").splitlines():
            cells = line.split(b"\t")
            kind_name, issuer, given = (cell.decode() for cell in cells[place : place + 3])
            if self._is_listed(kind_of(kind_name, issuer), given):
                found.add(cells[owner])
        return found

    def _is_listed(self, kind: str, value: str) -> bool:
        return any(known.value in self._hashes for known in self._pepper.hashes(kind, value))


def _without(table: str, lines: bytes, refused: set[bytes]) -> bytes:
    owner = COLUMNS[table].index("id" if table == "customer" else "customer_id")
    kept = [line for line in lines.splitlines(keepends=True) if line.split(b"\t")[owner].rstrip(b"\n") not in refused]
    return b"".join(kept)
