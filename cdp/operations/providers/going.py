"""Erasures that took a person's identifiers from our tables and are not over: a legal hold, or a verification to come.

Whoever asks about that person meanwhile must not hear that nothing is here. There are few, so each is opened and looked
at; what they sealed dies with them.
"""

from collections.abc import Callable

from sqlalchemy import select

from cdp.connectors.base import Identifier
from cdp.core.db import Tx
from cdp.core.ids import RequestId
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.core.seal import Unsealable
from cdp.operations import subjects
from cdp.operations.systems import OWN
from cdp.tables.request import SETTLED, TaskStep, privacy_request, request_task
from cdp.tables.system import system


async def find(tx: Tx, platform: Platform, is_meant: Callable[[Identifier], bool]) -> RequestId | None:
    """The erasure of somebody who is meant, our own rows of whom are gone or going; as the worker."""
    going = (
        select(privacy_request.c.id, privacy_request.c.identifiers_sealed)
        .join(request_task, request_task.c.request_id == privacy_request.c.id)
        .join(system, system.c.id == request_task.c.system_id)
        .where(privacy_request.c.status.not_in(SETTLED), request_task.c.step == TaskStep.ERASE, system.c.kind == OWN)
    )
    for row in await tx.all(going):
        try:
            known = subjects.unseal(platform.keys, row.id, row.identifiers_sealed or b"").person
        except (KeyGone, Unsealable):
            continue
        if any(map(is_meant, known.identifiers)):
            return RequestId(row.id)
    return None
