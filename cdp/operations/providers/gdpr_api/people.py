"""Whom an id of the caller's means: a customer by that issuer's numbering, or by a sign-in of that issuer's.

An erasure may have taken both away while it is not over yet (a legal hold, our own rows gone but not verified). Such a
request is found by the identifiers it sealed, this id among them: to say "nothing here" then would be a false success.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Select, String, literal_column, select

from cdp.connectors.base import Identifier
from cdp.core.db import Tx
from cdp.core.errors import Conflict
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.operations.providers import going
from cdp.operations.providers.gdpr_api.service import Service
from cdp.tables.customer import IdentityType, identity
from cdp.tables.federation import external_identity
from cdp.tables.merge import customer_merge_row

LONGEST_ID = 255


class SeveralPeople(Conflict):
    """This id means more than one customer here; somebody has to look at it."""

    code = "SEVERAL_PEOPLE"


@dataclass(frozen=True)
class Known:
    """What an id leads to: a customer, or an erasure that has not ended; neither when nothing is here."""

    customer_id: CustomerId | None = None
    request_id: RequestId | None = None


async def find(tx: Tx, platform: Platform, service: Service, person: str) -> Known:
    """What an id leads to; as the worker. Raises SeveralPeople."""
    if not person.isprintable() or len(person) > LONGEST_ID:
        return Known()
    numbered = select(identity.c.customer_id).where(
        identity.c.type == IdentityType.CUSTOMER_NUMBER,
        identity.c.issuer == service.numbering,
        identity.c.value == person,
    )
    linked = select(external_identity.c.customer_id).where(
        external_identity.c.issuer == service.issuer,
        external_identity.c.subject == person,
        external_identity.c.customer_id.is_not(None),
    )
    found = {row.customer_id for row in await tx.all(numbered.union(linked, _aside(service, person)))}
    if len(found) > 1:
        raise SeveralPeople
    if found:
        return Known(CustomerId(found.pop()))
    wanted = (IdentityType.CUSTOMER_NUMBER, service.numbering, person)
    going_on = await going.find(tx, platform, lambda one: (one.type, one.issuer, one.value) == wanted)
    return Known(request_id=going_on)


def _aside(service: Service, person: str) -> Select[UUID]:
    """By a sign-in that was put aside when a record of theirs was merged."""
    line = customer_merge_row.c
    issuer, subject = (line.shown.op("->>", return_type=String())(name) for name in ("issuer", "subject"))
    providers: ColumnElement[bool] = literal_column("customer_merge_row.table_name = 'external_identity'", Boolean)
    return select(line.customer_id).where(providers, issuer == service.issuer, subject == person)


def as_identifier(service: Service, person: str) -> Identifier:
    """An id as requests know it: the issuer's token vouched for it."""
    return Identifier(IdentityType.CUSTOMER_NUMBER, person, service.numbering, verified=True)
