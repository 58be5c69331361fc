"""Claims about a person, as far as their token's scopes go (OpenID Connect Core section 5.1)."""

from collections.abc import Mapping

from sqlalchemy import select

from cdp.access.authorization_types import is_outside
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.staff import staff


async def claims_of(platform: Platform, viewer: Viewer) -> Mapping[str, object]:
    """What an app may know about who signed in. Raises MissingScope without ``openid``."""
    viewer.require_scope("openid")
    found = await (_of_staff(platform, viewer) if viewer.actor is Actor.STAFF else _of_customer(platform, viewer))
    return {name: value for name, value in found.items() if value is not None}


async def _of_customer(platform: Platform, viewer: Viewer) -> dict[str, object]:
    claims: dict[str, object] = {"sub": str(viewer.subject)}
    if "profile:read" not in viewer.scopes:
        return claims
    wanted = select(
        customer.c.given_name,
        customer.c.family_name,
        customer.c.locale,
        email_address.c.address,
        email_address.c.verified_at,
    ).select_from(
        customer.outerjoin(email_address, (email_address.c.customer_id == customer.c.id) & email_address.c.is_primary)
    )
    async with platform.db.transaction(Role.CUSTOMER, subject=viewer.subject) as tx:
        row = await tx.first(wanted.where(customer.c.id == viewer.subject))
    if row is None:
        raise Unauthenticated
    told: dict[str, object] = {}
    if not is_outside(viewer.areas, "EmailAddress"):
        told = {"email": row.address, "email_verified": row.verified_at is not None if row.address else None}
    names = [name for name in (row.given_name, row.family_name) if name]
    return {
        **claims,
        "name": " ".join(names) or None,
        "given_name": row.given_name,
        "family_name": row.family_name,
        "locale": row.locale,
        **told,
    }


async def _of_staff(platform: Platform, viewer: Viewer) -> dict[str, object]:
    async with platform.db.transaction(Role.STAFF) as tx:
        name = await tx.scalar(select(staff.c.name).where(staff.c.id == viewer.staff_id))
    return {"sub": str(viewer.staff_id), "name": name}
