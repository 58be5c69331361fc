"""Whom a grant covers, and who in there is withheld from a partner all the same: SQL over a customer's row.

A partner is told how many are withheld and never why: that somebody objected, or is being erased, is theirs to tell.
Every test is an index probe by the customer's id, because a read is about one person or a page of them.
Sources: GDPR art. 7, 17(1), 18 and 21.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, any_, exists, literal_column, or_, select, tuple_

from cdp.access import departures
from cdp.access.decision import Columns
from cdp.tables.consent import consent
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.partner import GrantStatus, partner_grant
from cdp.tables.request import objection, privacy_request

_ONE: ColumnElement[int] = literal_column("1")
_OVER = "'completed', 'cancelled', 'refused', 'failed'"


def lives(grant: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the grant is in force, by the database's clock: a revocation works on the very next statement."""
    return exists(in_force(grant))


def in_force(grant: ColumnElement[Any]) -> Select[Any]:
    """One row where the grant is in force, none otherwise."""
    now: ColumnElement[Any] = literal_column("statement_timestamp()")
    one = partner_grant.alias("living")
    active: ColumnElement[Any] = literal_column(f"'{GrantStatus.ACTIVE.value}'", Text)
    conditions = (one.c.id == grant, one.c.status == active, one.c.valid_from <= now, one.c.valid_until > now)
    return select(_ONE.label("one")).select_from(one).where(*conditions)


def covered(
    row: Columns, *, brands: ColumnElement[Any] | None, countries: ColumnElement[Any] | None
) -> list[ColumnElement[bool]]:
    """Whether a customer is in the cohort of a grant; each argument is an array, None where it does not narrow."""
    found: list[ColumnElement[bool]] = []
    if brands is not None:
        found.append(row["brand_id"] == any_(brands))
    if countries is not None:
        found.append(row["country"] == any_(countries))
    return found


def withheld(
    row: Columns, *, purpose: ColumnElement[Any], needs_consent: bool, by_brand: bool = False
) -> ColumnElement[bool]:
    """Whether this customer is withheld: suppressed, being erased, held, restricted, sold, objecting, not agreeing.

    ``by_brand`` where the cohort is one of brands: then whose own brand was sold is withheld too.
    """
    key = row["id"]
    asked, against, kept = privacy_request.alias("asked"), objection.alias("against"), legal_hold.alias("kept")
    effective = ", ".join(f"'{status.value}'" for status in sorted(EFFECTIVE))
    erasing: ColumnElement[bool] = literal_column(f"asked.type = 'erasure' AND asked.status NOT IN ({_OVER})")
    stands: ColumnElement[bool] = literal_column("against.status <> 'refused'")
    holds: ColumnElement[bool] = literal_column(f"kept.status IN ({effective})")
    frozen: ColumnElement[bool] = row["status"] == literal_column("'frozen'", Text)
    reasons = [
        frozen,
        row["restricted_at"].is_not(None),
        row["suppression"].is_not(None),
        exists(_ONE).select_from(asked).where(asked.c.customer_id == key, erasing),
        exists(_ONE).select_from(kept).where(kept.c.customer_id == key, holds),
        exists(_ONE).select_from(against).where(against.c.customer_id == key, against.c.purpose == purpose, stands),
        departures.has_left(row, by_brand=by_brand),
    ]
    if needs_consent:
        reasons.append(~agreed(key, purpose))
    return or_(*reasons)


def agreed(key: ColumnElement[Any], purpose: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the newest decision about a purpose is a yes, for any channel."""
    given, later = consent.alias("given"), consent.alias("later")
    newer = and_(
        later.c.customer_id == given.c.customer_id,
        later.c.purpose == given.c.purpose,
        later.c.channel == given.c.channel,
        tuple_(later.c.recorded_at, later.c.id) > tuple_(given.c.recorded_at, given.c.id),
    )
    yes: ColumnElement[bool] = literal_column("given.action = 'given'")
    standing = ~exists(_ONE).select_from(later).where(newer)
    asked = (given.c.customer_id == key, given.c.purpose == purpose, yes, standing, departures.kept(given.c))
    return exists(_ONE).select_from(given).where(*asked)
