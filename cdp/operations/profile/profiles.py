"""The profile itself: names, organisation, country and language of a customer."""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum

from sqlalchemy import func, update

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.ids import CustomerId
from cdp.operations import audit, values
from cdp.operations.collection import check_version, collect, lock
from cdp.tables.customer import customer


class Unset(Enum):
    """Stands for a field the caller did not mention; None clears it."""

    UNSET = "unset"


UNSET = Unset.UNSET
Change = str | None | Unset


class NothingToChange(InvalidInput):
    """Name at least one value to change."""

    code = "NOTHING_TO_CHANGE"


@dataclass(frozen=True)
class ProfileChange:
    """What to change; UNSET leaves a value as it is, None clears it."""

    given_name: Change = UNSET
    family_name: Change = UNSET
    organisation_name: Change = UNSET
    country: Change = UNSET
    locale: Change = UNSET


async def update_profile(
    tx: Tx, viewer: Viewer, change: ProfileChange, *, now: datetime, expected_version: int | None = None
) -> CustomerId:
    """Change the viewer's own profile; the version goes up by one.

    Raises NothingToChange, StaleVersion, CustomerFrozen, and the refusals of ``values``.
    """
    read = {
        "given_name": lambda v: values.text(v, "givenName", longest=100),
        "family_name": lambda v: values.text(v, "familyName", longest=100),
        "organisation_name": lambda v: values.text(v, "organisationName", longest=200),
        "country": values.country,
        "locale": values.locale,
    }
    named = {field.name: getattr(change, field.name) for field in fields(change)}
    columns = {
        name: values.optional(read[name], value) for name, value in named.items() if not isinstance(value, Unset)
    }
    if not columns:
        raise NothingToChange
    subject = await lock(tx, viewer)
    check_version(subject.version, expected_version)
    origin = await collect(tx, viewer, subject, now=now)
    await tx.execute(
        update(customer)
        .where(customer.c.id == subject.customer_id)
        .values(**columns, version=customer.c.version + 1, updated_at=func.now(), collection_id=origin["collection_id"])
    )
    await audit.record(
        tx,
        viewer,
        "customer.updated",
        subject_ref=subject.audit_ref,
        object_type="Customer",
        details={"fields": sorted(columns)},
    )
    return subject.customer_id
