"""Outgoing mail: SMTP, or a folder of .eml files while developing. Called only by the outbox's job."""

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib

from cdp.core.errors import Unavailable

_ONE_ADDRESS = re.compile(r"[^\s\x00-\x20\x7f,;:<>()\[\]\\\"@]+@[^\s\x00-\x20\x7f,;<>()\\\"@]+")


class MailRefused(Unavailable):
    """The mail server did not take the message."""

    code = "MAIL_REFUSED"


class Mailer(Protocol):
    """Hands one message over; returning means the next hop has taken it."""

    async def send(self, message_id: UUID, recipient: str, subject: str, text: str) -> None:
        """Send one plain-text message. The id becomes Message-ID, so that a retry is seen. Raises MailRefused."""


def compose(message_id: UUID, sender: str, recipient: str, subject: str, text: str) -> EmailMessage:
    """Build the message (RFC 5322, with RFC 6532 for addresses in other scripts).

    Raises MailRefused unless ``recipient`` is exactly one plain address: nothing in it can add a header or a reader.
    """
    if not _ONE_ADDRESS.fullmatch(recipient):
        raise MailRefused
    local, _, domain = recipient.rpartition("@")
    mail = EmailMessage(policy=SMTP if recipient.isascii() else SMTPUTF8)
    mail["From"] = sender
    mail["To"] = Address(username=local, domain=domain)
    mail["Subject"] = re.sub(r"[\r\n]+", " ", subject)
    mail["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail


class SmtpMailer:
    """Sends by SMTP; ``smtps://`` is TLS from the start, ``smtp://`` upgrades where the server offers it."""

    def __init__(self, url: str, sender: str, *, timeout_s: float = 20.0) -> None:
        self._url = urlsplit(url)
        self._sender = sender
        self._timeout_s = timeout_s

    async def send(self, message_id: UUID, recipient: str, subject: str, text: str) -> None:
        """See Mailer."""
        url = self._url
        try:
            await aiosmtplib.send(
                compose(message_id, self._sender, recipient, subject, text),
                hostname=url.hostname,
                port=url.port,
                username=unquote(url.username) if url.username else None,
                password=unquote(url.password) if url.password else None,
                use_tls=url.scheme == "smtps",
                timeout=self._timeout_s,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailRefused from error


class OutboxMailer:
    """Writes ``<message id>.eml`` into a folder; sending twice leaves one file."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, message_id: UUID, recipient: str, subject: str, text: str) -> None:
        """See Mailer."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{message_id}.eml"
        path.write_bytes(compose(message_id, self._sender, recipient, subject, text).as_bytes())


def mailer(smtp_url: str, sender: str, outbox: Path) -> Mailer:
    """SMTP where a URL is set, else the outbox folder."""
    return SmtpMailer(smtp_url, sender) if smtp_url else OutboxMailer(outbox, sender)
