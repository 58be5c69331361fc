"""Customers who ask: picked at random, each with a bearer token of their own."""

import asyncio
import random
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from bench.ground import Ground
from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations.oauth import clients, grants
from cdp.operations.oauth.tokens import issuer_of
from cdp.tables.customer import customer


@dataclass(frozen=True)
class Visitor:
    """One customer and the token that lets them in."""

    customer_id: UUID
    token: str


def visitors(ground: Ground, count: int, *, seed: int) -> list[Visitor]:
    """Pick customers and sign them in, as ``cdp token`` does."""
    return asyncio.run(_visitors(ground, count, seed))


async def _visitors(ground: Ground, count: int, seed: int) -> list[Visitor]:
    platform = Platform.open(ground.settings)
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            everybody = [row.id for row in await tx.all(select(customer.c.id).order_by(customer.c.id))]
            client = await clients.ensure_command_line(tx)
            picked = random.Random(seed).sample(everybody, count)
            return [Visitor(one, await _token(platform, tx, client, one)) for one in picked]
    finally:
        await platform.close()


async def _token(platform: Platform, tx: Tx, client: clients.OAuthClient, customer_id: UUID) -> str:
    now = platform.clock()
    viewer = Viewer(Actor.CUSTOMER, customer_id=CustomerId(customer_id), authenticated_at=now)
    scope = " ".join(sorted(CUSTOMER_SCOPES))
    grant = await grants.open_grant(tx, viewer, client, scope, now=now)
    return issuer_of(platform).access_token(grant, scope)
