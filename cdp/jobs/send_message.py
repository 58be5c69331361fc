"""Hand one message of the outbox to the mail server."""

from uuid import UUID

from cdp.core.mail import MailRefused
from cdp.jobs.job import job
from cdp.jobs.workplace import Workplace


@job
async def send_message(place: Workplace, message_id: UUID) -> None:
    """Claim it, send it outside any transaction, settle; a message may leave twice, under one Message-ID."""
    outgoing = await place.claims_of_messages.ask(message_id)
    if outgoing is None:
        return
    try:
        await place.platform.mailer.send(outgoing.id, outgoing.recipient, outgoing.subject, outgoing.body)
        is_taken = True
    except (MailRefused, OSError):
        is_taken = False
    await place.ends_of_messages.ask((outgoing, is_taken))
