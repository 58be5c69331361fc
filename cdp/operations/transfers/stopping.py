"""Stop the use of what a deal has handed over, and let it begin again: marks on the notes of where it was collected.

``transfer_customer.stopped_at`` says it of a person, ``collection.stopped_at`` of what the sold brand collected of
them; the second is what reads ask for (``access/departures``), since every row of a profile names its collection.
"""

from uuid import UUID

from sqlalchemy import text, update

from cdp.core.db import Tx
from cdp.core.ids import CustomerId
from cdp.tables.transfer import transfer_customer

STOP = text("""
UPDATE collection c SET stopped_at = m.stopped_at
  FROM transfer_customer m JOIN transfer d ON d.id = m.transfer_id
 WHERE d.id = :deal_id AND m.stopped_at IS NOT NULL
   AND c.customer_id = m.customer_id AND c.brand_id = d.brand_id AND c.stopped_at IS NULL""")
# Unless another deal of the same brand stopped it too.
RESUME = text("""
UPDATE collection c SET stopped_at = NULL
  FROM transfer_customer m JOIN transfer d ON d.id = m.transfer_id
 WHERE d.id = :deal_id AND m.stopped_at IS NULL AND m.customer_id = coalesce(CAST(:customer_id AS uuid), m.customer_id)
   AND c.customer_id = m.customer_id AND c.brand_id = d.brand_id AND c.stopped_at IS NOT NULL
   AND NOT EXISTS (
     SELECT 1 FROM transfer_customer o JOIN transfer s ON s.id = o.transfer_id
      WHERE o.customer_id = c.customer_id AND o.stopped_at IS NOT NULL AND s.brand_id = c.brand_id)""")


async def stop(tx: Tx, deal_id: UUID) -> int:
    """Stop it for everybody whose part in the deal says so; returns how many notes were marked."""
    return int((await tx.execute(STOP, {"deal_id": deal_id})).rowcount)


async def resume(tx: Tx, deal_id: UUID, *, customer_id: CustomerId | None = None) -> int:
    """Let it begin again for everybody of a deal, or for one; returns for how many people."""
    mine = [transfer_customer.c.transfer_id == deal_id, transfer_customer.c.stopped_at.is_not(None)]
    if customer_id is not None:
        mine.append(transfer_customer.c.customer_id == customer_id)
    people = await tx.execute(update(transfer_customer).where(*mine).values(stopped_at=None))
    if people.rowcount:
        await tx.execute(RESUME, {"deal_id": deal_id, "customer_id": customer_id})
    return int(people.rowcount)
