"""Customers who are probably one: the same e-mail address or phone number, proven on both sides.

Deterministic, and careful: what many share or what belongs to an office says nothing about who somebody is. Merging
stays a decision of people; this only shows whom to look at.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Table,
    Uuid,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    union_all,
)

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.contact import email_address, phone_number

MOST_SHARING = 3
"""An address or number that more customers have proven is a shared one."""
MOST_SHOWN = 10
# Boxes of offices, not of people (RFC 2142 and custom).
OFFICES = frozenset(
    {
        *("abuse", "accounting", "accounts", "admin", "billing", "booking", "buchhaltung", "contact", "einkauf"),
        *("finance", "hello", "help", "hostmaster", "hr", "info", "invoice", "invoices", "jobs", "kontakt", "legal"),
        *("mail", "marketing", "office", "order", "orders", "postmaster", "press", "privacy", "purchasing"),
        *("rechnung", "rechnungen", "reception", "sales", "security", "service", "shop", "support", "team"),
        *("verkauf", "webmaster"),
    }
)
_OFFICES_SQL = ", ".join(f"'{name}'" for name in sorted(OFFICES))

# Customers of whom another record has the same proven address or number, for whoever judges many at once.
TWINS = f"""
SELECT DISTINCT unnest(ids) AS customer_id FROM (
  SELECT array_agg(DISTINCT customer_id) AS ids FROM email_address WHERE verified_at IS NOT NULL AND normalized IN (
    SELECT normalized FROM email_address WHERE verified_at IS NOT NULL GROUP BY normalized HAVING count(*) > 1
  ) AND split_part(normalized, '@', 1) NOT IN ({_OFFICES_SQL}) GROUP BY normalized
  UNION ALL
  SELECT array_agg(DISTINCT customer_id) FROM phone_number WHERE verified_at IS NOT NULL AND e164 IN (
    SELECT e164 FROM phone_number WHERE verified_at IS NOT NULL GROUP BY e164 HAVING count(*) > 1
  ) GROUP BY e164
) shared WHERE cardinality(ids) BETWEEN 2 AND {MOST_SHARING}"""  # noqa: S608  # constants of this module


@dataclass(frozen=True)
class Duplicate:
    """Somebody with the same proven identifiers, by what they are the same."""

    customer_id: CustomerId
    same_email: bool
    same_phone: bool


async def of_customer(tx: Tx, customer_id: CustomerId, *, limit: int = MOST_SHOWN) -> list[Duplicate]:
    """Who else has a proven address or number of this customer."""
    office = func.split_part(literal_column("mine.normalized", String), "@", 1).in_(sorted(OFFICES))
    shared = union_all(
        _sharing(email_address, "normalized", ~office),
        _sharing(phone_number, "e164", literal_column("mine.e164", String).is_not(None)),
    ).subquery("shared")
    kinds = func.array_agg(shared.c.kind.distinct()).label("kinds")
    found = await tx.all(
        select(shared.c.customer_id, kinds).group_by(shared.c.customer_id).order_by(shared.c.customer_id).limit(limit),
        {"whose": customer_id},
    )
    return [
        Duplicate(CustomerId(row.customer_id), "email_address" in row.kinds, "phone_number" in row.kinds)
        for row in found
    ]


async def are_proven(tx: Tx, one: UUID, other: UUID) -> bool:
    """Whether two records share something that both have proven."""
    return any(found.customer_id == other for found in await of_customer(tx, CustomerId(one), limit=1000))


def _sharing(table: Table, name: str, usable: ColumnElement[bool]) -> Select[UUID, str]:
    """Customers with a proven value of ``:whose``, unless too many have it. ``usable`` is asked of ``mine``."""
    mine, other, counted = table.alias("mine"), table.alias("other"), table.alias("counted")
    sharing = (
        select(func.count(counted.c.customer_id.distinct()))
        .where(counted.c[name] == mine.c[name], counted.c.verified_at.is_not(None))
        .scalar_subquery()
    )
    return (
        select(other.c.customer_id, literal(table.name).label("kind"))
        .select_from(mine)
        .join(other, and_(other.c[name] == mine.c[name], other.c.customer_id != mine.c.customer_id))
        .where(
            mine.c.customer_id == bindparam("whose", type_=Uuid),
            mine.c.verified_at.is_not(None),
            other.c.verified_at.is_not(None),
            usable,
            sharing <= MOST_SHARING,
        )
    )
