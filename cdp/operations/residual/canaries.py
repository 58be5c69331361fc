"""Canaries: rows planted for the time of one pass, which it must find, or nothing it did not find counts.

One in every class of column: with and without row-level security, as text, JSON and list; and one for every kind of
identifier. They are written in the pass's own transaction, which is rolled back: nobody else ever sees them.
"""

import json
import secrets
from collections.abc import Iterable

import asyncpg

from cdp.core.ids import new_id
from cdp.operations.residual.catalogue import Family, Target
from cdp.operations.residual.needles import ADDRESS, Needle
from cdp.tables.customer import IdentityType

Kind = tuple[bool, Family]


class Canaries:
    """What was planted where."""

    def __init__(self) -> None:
        self._marks = {
            (walled, family): f"canary-{secrets.token_hex(8)}" for walled in (True, False) for family in Family
        }
        self._phone = f"0049 (0)30 {secrets.randbelow(9 * 10**7) + 10**7}"
        self._line = f"Canary Street {secrets.randbelow(10**8)}"

    def needles(self) -> list[Needle]:
        """What must be found."""
        email = IdentityType.EMAIL.value
        named = [Needle(None, email, f"{mark}@canary.invalid") for mark in self._marks.values()]
        digits = "".join(letter for letter in self._phone if letter.isdigit())
        phone = Needle(None, IdentityType.PHONE.value, digits)
        return [*named, phone, Needle(None, ADDRESS, self._line.casefold(), ("canary",))]

    def missing(self, found: Iterable[Needle]) -> list[str]:
        """Types of those that were not found."""
        seen = {needle.text for needle in found if needle.request_id is None}
        return sorted(needle.type for needle in self.needles() if needle.text not in seen)

    def uncovered(self, targets: Iterable[Target]) -> list[str]:
        """Tables with a column of a class in which nothing was planted."""
        return sorted(target.name for target in targets if not target.kinds <= self._marks.keys())

    async def plant(self, connection: asyncpg.Connection) -> None:
        """Write them, within the transaction that looks for them."""
        customer_id, staff_id = new_id(), new_id()
        await connection.execute(
            "INSERT INTO customer (id, kind, given_name, family_name, organisation_name, brand_id, audit_ref)"
            " SELECT $1, 'organisation', $2, $3, $4, id, $5 FROM brand LIMIT 1",
            customer_id,
            self._text(True, Family.TEXT),
            f"Canary {self._phone}",
            self._line,
            new_id(),
        )
        await connection.execute(
            "INSERT INTO audit_event (id, action, outcome, actor_kind, details)"
            " VALUES ($1, 'canary.planted', 'ok', 'system', $2)",
            new_id(),
            json.dumps({"planted": self._text(True, Family.JSON)}),
        )
        await connection.execute(
            "INSERT INTO staff (id, username, name, roles) VALUES ($1, $2, $3, $4)",
            staff_id,
            secrets.token_hex(16),
            self._text(False, Family.TEXT),
            [self._text(False, Family.LIST)],
        )
        await connection.execute(
            "INSERT INTO reveal (id, customer_id, staff_id, categories, reason, expires_at)"
            " VALUES ($1, $2, $3, $4, 'customer_asked', now())",
            new_id(),
            customer_id,
            staff_id,
            [self._text(True, Family.LIST)],
        )
        await connection.execute(
            "INSERT INTO system (id, name, title, kind, configuration, enabled)"
            " VALUES ($1, $2, 'canary', 'canary', $3, false)",
            new_id(),
            f"canary-{secrets.token_hex(8)}",
            json.dumps({"planted": [self._text(False, Family.JSON)]}),
        )

    def _text(self, walled: bool, family: Family) -> str:
        return f"planted: <{self._marks[walled, family]}@Canary.invalid>, for one pass"
