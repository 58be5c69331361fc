"""Callbacks: a system that took long says that it is through, and is asked again at once, under the same key.

What a callback says is not believed: it only shortens the wait, so that a forged, late or repeated one changes nothing.
Its token is derived from the request's key and dies with it; nothing of it is stored.
"""

import hashlib
import hmac
from uuid import UUID

from sqlalchemy import select

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Callback
from cdp.core.db import Role
from cdp.core.errors import NotFound
from cdp.core.keys import KeyGone
from cdp.core.platform import Platform
from cdp.operations import audit, subjects
from cdp.operations.requests import tasks
from cdp.operations.requests.tasks import Work
from cdp.tables.request import privacy_request, request_task

PATH = "/v1/tasks/{task}/callback"


def callback_of(platform: Platform, work: Work, key: bytes) -> Callback:
    """Where and with what a system says that it is through with a task; ``key`` is the request's."""
    url = f"{platform.settings.url}{PATH.format(task=work.id)}"
    return Callback(url, _token(key, work.id))


async def called(platform: Platform, task_id: UUID, token: str) -> None:
    """Ask a waiting system again now. Raises NotFound for a wrong token, an unknown task, a request that is over."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(
            select(request_task.c.request_id, privacy_request.c.subject_ref)
            .join(privacy_request, privacy_request.c.id == request_task.c.request_id)
            .where(request_task.c.id == task_id)
        )
        try:
            expected = _token(platform.keys.get(subjects.key_name(row.request_id)), task_id) if row else None
        except KeyGone:
            expected = None
        if row is None or expected is None or not hmac.compare_digest(expected.encode(), token.encode()):
            raise NotFound
        if await tasks.wake(tx, task_id):
            await audit.record(
                tx,
                SYSTEM,
                "task.called_back",
                subject_ref=row.subject_ref,
                object_type="RequestTask",
                object_id=task_id,
            )


def _token(key: bytes, task_id: UUID) -> str:
    return hmac.new(key, f"callback:{task_id}".encode(), hashlib.sha256).hexdigest()
