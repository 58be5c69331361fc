"""Hand one message of the outbox to the mail server."""

from uuid import UUID

from cdp.core.db import Role
from cdp.core.mail import MailRefused
from cdp.jobs.job import Workplace, job
from cdp.operations import messages


@job
async def send_message(place: Workplace, message_id: UUID) -> None:
    """Claim it, send it outside any transaction, settle; a message may leave twice, under one Message-ID."""
    platform = place.platform
    settings = platform.settings
    async with platform.db.transaction(Role.WORKER) as tx:
        outgoing = await messages.claim(tx, message_id, lease_s=settings.lease_s)
    if outgoing is None:
        return
    try:
        await platform.mailer.send(outgoing.id, outgoing.recipient, outgoing.subject, outgoing.body)
        taken = True
    except (MailRefused, OSError):
        taken = False
    async with platform.db.transaction(Role.WORKER) as tx:
        await messages.settle(
            tx, outgoing, taken=taken, max_attempts=settings.max_attempts, retry_base_s=settings.retry_base_s
        )
