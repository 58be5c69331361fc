"""What a bulk export may hold: its own catalogue of rules, the fields that identify people, and who is left out.

Whoever exports sees nobody live: these rules hold inside exports alone. Fields that identify somebody need the scope
``bulk:personal``, which no token carries: an export gets it by a second person's approval.
Sources: GDPR art. 4(5) (pseudonymisation), 5(1)(b) (purpose limitation), 7, 17, 18 and 21.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    case,
    cast,
    exists,
    literal_column,
    select,
    tuple_,
)

from cdp.access import departures
from cdp.access.decision import Columns, Everything, RowRule, Rule, Rules, Who
from cdp.access.rules import NOBODYS, PROFILE, SUBJECT
from cdp.access.viewer import Actor
from cdp.tables.consent import consent, preference
from cdp.tables.hold import EFFECTIVE, legal_hold
from cdp.tables.request import objection, privacy_request

EXPORT_SCOPE = "bulk:export"
APPROVE_SCOPE = "bulk:approve"
PERSONAL_SCOPE = "bulk:personal"
EXPORTERS = frozenset({"analyst"})
APPROVERS = frozenset({"privacy_officer"})

IDENTIFYING: Mapping[str, str] = {
    "Customer": "displayName givenName familyName organisationName",
    "Account": "username",
    "EmailAddress": "address",
    "PhoneNumber": "number e164",
    "PostalAddress": "recipient line1 line2 postalCode",
    "Identity": "value",
    "Order": "number purchaseOrderNumber billingName billingLine1 billingPostalCode",
    "Inquiry": "subject body",
    "Quotation": "number",
    "SurveyResponse": "answers",
    "Device": "cookieId",
    "Event": "ipAddress properties exitUrl",
    "Session": "ipAddress userAgent",
    "Message": "recipient subject",
}
"""Names, addresses, numbers, and texts that people wrote themselves."""

READ_BY_EXCLUSION = (
    *("customer", "consent", "privacy_request", "objection", "email_address", "phone_number", "collection"),
)
"""Tables whose changes may let somebody into an export or out of it."""


class Reason(StrEnum):
    """Why somebody who was selected is not in an export; the first that fits counts."""

    ERASING = "erasing"
    RESTRICTED = "restricted"
    TRANSFERRED = "transferred"
    OBJECTED = "objected"
    SUPPRESSED = "suppressed"
    NO_CONSENT = "no_consent"
    HELD = "held"
    MINOR = "minor"
    UNDELIVERABLE_NOTICE = "undeliverable_notice"


def exclusion(
    row: Columns,
    *,
    suppressed: ColumnElement[object],
    purpose: ColumnElement[str],
    needs_consent: bool,
    to_acquirer: bool = False,
) -> ColumnElement[str]:
    """Why this customer is left out of an export for a purpose, or NULL. ``suppressed`` is an array of ids.

    Who went with a sold brand is left out of everything but that brand's own package (``to_acquirer``).
    """
    key = row["id"]
    whens: list[tuple[ColumnElement[bool], ColumnElement[str]]] = [
        (row["status"] == _text("frozen"), _text(Reason.ERASING)),
        (key.in_(_asked_for_erasure()), _text(Reason.ERASING)),
        (row["restricted_at"].is_not(None), _text(Reason.RESTRICTED)),
        *([] if to_acquirer else [(departures.has_left(row, of_many=True), _text(Reason.TRANSFERRED))]),
        (key.in_(_objected(purpose)), _text(Reason.OBJECTED)),
        (key == any_(cast(suppressed, ARRAY(Uuid()))), _text(Reason.SUPPRESSED)),
    ]
    if needs_consent:
        whens.append((~_agreed(key, purpose), _text(Reason.NO_CONSENT)))
    return case(*whens, else_=literal_column("NULL::text", Text))


def staying(row: Columns, *, agreed_to: ColumnElement[str]) -> ColumnElement[str]:
    """Why somebody whom a deal has frozen stays here after all, or NULL; beside what ``exclusion`` says.

    ``agreed_to`` is the purpose on whose consent their cohort goes, null where it goes on another basis.
    """
    key, kept, said = row["id"], legal_hold.alias("kept"), preference.alias("said")
    effective = ", ".join(f"'{status.value}'" for status in sorted(EFFECTIVE))
    holds: ColumnElement[bool] = literal_column(f"kept.status IN ({effective})")
    held = select(kept.c.customer_id).where(kept.c.customer_id.is_not(None), holds)
    young: ColumnElement[bool] = literal_column("said.key = 'minor' AND said.value = 'true'")
    return case(
        (key.in_(held), _text(Reason.HELD)),
        (exists(literal_column("1")).select_from(said).where(said.c.customer_id == key, young), _text(Reason.MINOR)),
        (and_(agreed_to.is_not(None), key.in_(_objected(agreed_to))), _text(Reason.OBJECTED)),
        (and_(agreed_to.is_not(None), ~_agreed(key, agreed_to)), _text(Reason.NO_CONSENT)),
        else_=literal_column("NULL::text", Text),
    )


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'", Text)


def _asked_for_erasure() -> Select[UUID]:
    """Customers with an erasure under way: the few there are become one hash table a statement."""
    asked = privacy_request.alias("asked")
    over = "'completed', 'cancelled', 'refused', 'failed'"
    stands: ColumnElement[bool] = literal_column(f"asked.type = 'erasure' AND asked.status NOT IN ({over})")
    return select(asked.c.customer_id).where(stands, asked.c.customer_id.is_not(None))


def _objected(purpose: ColumnElement[str]) -> Select[UUID]:
    """Customers who objected to this purpose, also while it is weighed (GDPR art. 18(1)(d))."""
    against = objection.alias("against")
    stands: ColumnElement[bool] = literal_column("against.status <> 'refused'")
    return select(against.c.customer_id).where(against.c.purpose == purpose, stands, against.c.customer_id.is_not(None))


def _agreed(key: ColumnElement[object], purpose: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the newest decision about the purpose is a yes, for any channel."""
    given, later = consent.alias("given"), consent.alias("later")
    newer = and_(
        later.c.customer_id == given.c.customer_id,
        later.c.purpose == given.c.purpose,
        later.c.channel == given.c.channel,
        tuple_(later.c.recorded_at, later.c.id) > tuple_(given.c.recorded_at, given.c.id),
    )
    return (
        exists(literal_column("1"))
        .select_from(given)
        .where(
            given.c.customer_id == key,
            given.c.purpose == purpose,
            literal_column("given.action = 'given'"),
            departures.kept(given.c, of_many=True),
            ~exists(literal_column("1")).select_from(later).where(newer),
        )
    )


def _fields() -> Iterator[Rule]:
    profile = {**PROFILE, "Customer": f"id {PROFILE['Customer']} maskedFields"}
    everybodys = {
        "Brand": "id code name",
        "PolicyVersion": "id version title body effectiveFrom",
        "Purpose": "code title description legalBasis needsConsent",
    }
    for who in (
        Who(Actor.STAFF, EXPORTERS, EXPORT_SCOPE),
        Who(Actor.CLIENT, scope=EXPORT_SCOPE),
        Who(Actor.SYSTEM),
    ):
        approved = Who(who.actor, who.roles, PERSONAL_SCOPE)
        yield Rule(who, "Query", frozenset({"customers"}))
        for type_name, names in {**profile, **everybodys}.items():
            identifying = frozenset(IDENTIFYING.get(type_name, "").split())
            yield Rule(who, type_name, frozenset(names.split()) - identifying)
            if identifying:
                yield Rule(approved, type_name, identifying)


def _rows() -> Iterator[RowRule]:
    for actor in (Actor.STAFF, Actor.CLIENT, Actor.SYSTEM):
        for type_name in (*NOBODYS, *SUBJECT):
            yield RowRule(actor, type_name, Everything())


BULK_RULES = Rules(_fields(), _rows())
