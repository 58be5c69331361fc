"""The privacy policy in force (promise P14): what a person is shown before they agree."""

from dataclasses import dataclass

from sqlalchemy import select

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations import reference
from cdp.tables.policy import policy_version


@dataclass(frozen=True)
class Policy:
    """One published version."""

    version: str
    title: str
    body: str


async def policy_in_force(platform: Platform) -> Policy:
    """The version that counts now."""
    async with platform.db.transaction(Role.WORKER) as tx:
        in_force = await reference.current(tx, platform.clock())
        columns = (policy_version.c.version, policy_version.c.title, policy_version.c.body)
        found = (await tx.execute(select(*columns).where(policy_version.c.id == in_force.policy_version_id))).one()
    return Policy(found.version, found.title, found.body)
