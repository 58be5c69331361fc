"""The mailbox of somebody who has an address here: what is queued for it, and the code of the newest link."""

import re

from sqlalchemy import func, select

from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.tables.message import message


async def mailed(platform: Platform, address: str) -> list[str]:
    """Templates of every message to an address, oldest first."""
    async with platform.db.transaction(Role.WORKER) as tx:
        to_them = func.lower(message.c.recipient) == address.lower()
        rows = await tx.all(select(message.c.template).where(to_them).order_by(message.c.id))
    return [row.template for row in rows]


async def mailed_code(platform: Platform, address: str) -> str:
    """The code behind the # of the newest link."""
    async with platform.db.transaction(Role.WORKER) as tx:
        to_them = func.lower(message.c.recipient) == address.lower()
        rows = await tx.all(select(message.c.body).where(to_them).order_by(message.c.id.desc()))
    found = (re.search(r"#([\w-]{43})\s", row.body) for row in rows)
    return next(one.group(1) for one in found if one)
