"""Userinfo (OpenID Connect Core section 5.3): claims about who signed in, as far as the token's scopes go."""

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.errors import Unauthenticated
from cdp.core.platform import Platform
from cdp.operations.callers import viewer_of
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.staff import staff


async def userinfo(request: Request) -> Response:
    """Answer with claims. Raises Unauthenticated, MissingScope."""
    platform: Platform = request.app.state.platform
    if "authorization" not in request.headers:
        raise Unauthenticated
    viewer = await viewer_of(platform, request.headers, {})
    viewer.require_scope("openid")
    claims = await (_of_staff(platform, viewer) if viewer.actor is Actor.STAFF else _of_customer(platform, viewer))
    found = {name: value for name, value in claims.items() if value is not None}
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


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
    names = [name for name in (row.given_name, row.family_name) if name]
    return {
        **claims,
        "name": " ".join(names) or None,
        "given_name": row.given_name,
        "family_name": row.family_name,
        "locale": row.locale,
        "email": row.address,
        "email_verified": row.verified_at is not None if row.address else None,
    }


async def _of_staff(platform: Platform, viewer: Viewer) -> dict[str, object]:
    async with platform.db.transaction(Role.STAFF) as tx:
        name = await tx.scalar(select(staff.c.name).where(staff.c.id == viewer.staff_id))
    return {"sub": str(viewer.staff_id), "name": name}
