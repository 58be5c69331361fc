"""What of a person had left our own tables, or was about to, counted before their rows go: the certificate says it.

Each of them was dealt with before (``erasure.bury``): keys of packages are destroyed, bulk exports written anew,
letters stopped, partners asked to destroy what they hold. What is counted are the rows that say so, so that it does not
matter how often a worker died on the way.
Source: GDPR art. 17(2) and 19, https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

from functools import cache

from sqlalchemy import ColumnElement, ScalarSelect, Select, Uuid, bindparam, func, select

from cdp.connectors.base import Evidence
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.operations.bulk import reach
from cdp.tables.export import export
from cdp.tables.message import MessageStatus, message
from cdp.tables.sharing import RecallReason, partner_recall


async def counts(tx: Tx, request_id: RequestId, customer_id: CustomerId) -> dict[str, Evidence]:
    """Packages destroyed, letters stopped, partners asked, and bulk exports alive that have the person no more."""
    row = await tx.first(_counts(), {"request": request_id, "customer": customer_id})
    assert row is not None, "counts are one row"
    return {
        "packagesDestroyed": row.packages,
        "lettersStopped": row.letters,
        "partnersAsked": row.partners,
        "bulkExportsWithout": row.bulk_exports,
    }


@cache
def _counts() -> Select[int, int, int, int]:
    """Built once: every deletion needs it."""
    person = bindparam("customer", type_=Uuid)
    stopped = (message.c.customer_id == person) & (message.c.status == MessageStatus.CANCELLED)
    asked = (partner_recall.c.subject_id == person) & (partner_recall.c.reason == RecallReason.ERASURE)
    return select(
        _count(export.c.customer_id == person, export.c.sha256.is_not(None)).label("packages"),
        _count(stopped).label("letters"),
        _count(asked).label("partners"),
        reach.alive(bindparam("request", type_=Uuid)).label("bulk_exports"),
    )


def _count(*which: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).where(*which).scalar_subquery()
