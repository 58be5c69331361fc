"""Most restrictive consent wins: where one of two records has withdrawn and the other has given, nothing is allowed.

The ledger of consents stays what it is: a further entry says no. Whoever agrees again afterwards is believed.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select

from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.operations.collection import Origin
from cdp.tables.consent import Channel, ConsentAction, consent

ON_MERGE = "Withdrawn when two records of the same person were merged: the other record had withdrawn."
ON_SPLIT = "Withdrawn while two records were one: it holds for both."
Said = tuple[str, Channel]


async def conflicts(tx: Tx, keep: CustomerId, drop: CustomerId) -> list[Said]:
    """Purposes and channels to which one record says yes and the other no."""
    ours, theirs = await _newest(tx, keep), await _newest(tx, drop)
    return sorted({*_against(ours, theirs), *_against(theirs, ours)})


def _against(yes: Collection[Row[Any]], no: Collection[Row[Any]]) -> Iterator[Said]:
    withdrawn = {(row.purpose, row.channel) for row in no if row.action is ConsentAction.WITHDRAWN}
    for row in yes:
        says_no = {(row.purpose, row.channel), (row.purpose, Channel.ANY)} & withdrawn
        if row.action is ConsentAction.GIVEN and says_no:
            yield row.purpose, row.channel


async def withdrawn_since(tx: Tx, keep: CustomerId, since: datetime, *, but: Collection[UUID]) -> list[Said]:
    """What was withdrawn since and not given again, apart from the entries ``but``."""
    newest = (
        select(consent.c.purpose, consent.c.channel, consent.c.action)
        .where(consent.c.customer_id == keep, consent.c.recorded_at > since, consent.c.id.not_in(but))
        .distinct(consent.c.purpose, consent.c.channel)
        .order_by(consent.c.purpose, consent.c.channel, consent.c.recorded_at.desc(), consent.c.id.desc())
    )
    return [(r.purpose, r.channel) for r in await tx.all(newest) if r.action is ConsentAction.WITHDRAWN]


async def given(tx: Tx, customer_id: CustomerId, among: Collection[Said]) -> list[Said]:
    """Which of these a customer has given and not withdrawn."""
    said = {(r.purpose, r.channel) for r in await _newest(tx, customer_id) if r.action is ConsentAction.GIVEN}
    return sorted(said & set(among))


async def withdraw(tx: Tx, origin: Origin, what: Collection[Said], *, wording: str) -> list[UUID]:
    """Write the entries that say no; answers their ids."""
    ids = [new_id() for _ in what]
    rows = [
        {
            "id": row_id,
            **origin,
            "purpose": purpose,
            "channel": channel,
            "action": ConsentAction.WITHDRAWN,
            "wording": wording,
            # Not now(): it has to be the newest, also in a transaction that waited.
            "recorded_at": func.clock_timestamp(),
        }
        for row_id, (purpose, channel) in zip(ids, what, strict=True)
    ]
    if rows:
        await tx.execute(insert(consent).values(rows))
    return ids


async def _newest(tx: Tx, customer_id: CustomerId) -> Collection[Row[Any]]:
    return await tx.all(
        select(consent.c.purpose, consent.c.channel, consent.c.action)
        .where(consent.c.customer_id == customer_id)
        .distinct(consent.c.purpose, consent.c.channel)
        .order_by(consent.c.purpose, consent.c.channel, consent.c.recorded_at.desc(), consent.c.id.desc())
    )
