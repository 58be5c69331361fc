"""Mail: to a running SMTP server, to a folder; a server that refuses or is silent, headers that try to break out."""

import asyncio
import socket
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from cdp.core.ids import new_id
from cdp.core.mail import MailRefused, OutboxMailer, SmtpMailer, mailer
from tests import peers

SENDER = "privacy@example.com"


class Postbox:
    """An SMTP server's inbox; refuses whoever is told to it."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refused: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ):
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope):  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        return "250 Message accepted"

    def messages(self) -> list[EmailMessage]:
        found = []
        for envelope in self.envelopes:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=default)
            assert isinstance(message, EmailMessage)
            found.append(message)
        return found


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
async def smtp_url(postbox: Postbox) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(postbox, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    async with server:
        peers.took_part("aiosmtpd")
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_message_arrives_whole(postbox: Postbox, smtp_url: str):
    message_id = new_id()
    await SmtpMailer(smtp_url, SENDER).send(message_id, "ada@example.org", "Übersicht — 概要", "Zeile 1\n.\nZeile ü\n")
    (found,) = postbox.messages()
    assert found["Subject"] == "Übersicht — 概要"
    assert (found["From"], found["To"]) == (SENDER, "ada@example.org")
    assert found["Message-ID"] == f"<{message_id}@example.com>"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_content().replace("\r\n", "\n") == "Zeile 1\n.\nZeile ü\n"
    assert postbox.envelopes[0].rcpt_tos == ["ada@example.org"]
    assert postbox.envelopes[0].mail_from == SENDER


async def test_an_address_in_another_script_is_reached(postbox: Postbox, smtp_url: str, tmp_path: Path):
    await SmtpMailer(smtp_url, SENDER).send(new_id(), "jörg@müller.example", "Hallo", "x")
    assert postbox.envelopes[0].rcpt_tos == ["jörg@müller.example"]
    await OutboxMailer(tmp_path, SENDER).send(new_id(), "jörg@müller.example", "Grüße", "ü")
    (path,) = _files(tmp_path)
    assert message_from_bytes(path.read_bytes(), policy=default)["To"] == "jörg@müller.example"


@pytest.mark.parametrize("subject", ["Hello\r\nBcc: eve@example.net", "Hello\nX: y", "Hello\rBcc: eve@example.net"])
async def test_a_subject_cannot_add_headers(postbox: Postbox, smtp_url: str, subject: str):
    await SmtpMailer(smtp_url, SENDER).send(new_id(), "ada@example.org", subject, "x")
    (found,) = postbox.messages()
    assert found["Bcc"] is None
    assert found["X"] is None
    assert postbox.envelopes[0].rcpt_tos == ["ada@example.org"]


@pytest.mark.parametrize(
    "recipient",
    [
        "ada@example.org\r\nBcc: eve@example.net",
        "ada@example.org\nRCPT TO:<eve@example.net>",
        "",
        "\r\n",
        "a\0@b.example",
    ],
)
async def test_a_recipient_cannot_add_anything(postbox: Postbox, smtp_url: str, tmp_path: Path, recipient: str):
    for sender in (SmtpMailer(smtp_url, SENDER), OutboxMailer(tmp_path, SENDER)):
        with pytest.raises(MailRefused):
            await sender.send(new_id(), recipient, "Hello", "x")
    assert postbox.envelopes == []
    assert _files(tmp_path) == []


async def test_several_recipients_are_one_too_many(postbox: Postbox, smtp_url: str):
    with pytest.raises(MailRefused):
        await SmtpMailer(smtp_url, SENDER).send(new_id(), "ada@example.org, eve@example.net", "Hello", "x")
    assert postbox.envelopes == []


@pytest.mark.parametrize("answer", ["550 no such user", "451 try later"])
async def test_a_refusal_is_said_without_the_address(postbox: Postbox, smtp_url: str, answer: str):
    postbox.refused["ada@example.org"] = answer
    with pytest.raises(MailRefused) as refusal:
        await SmtpMailer(smtp_url, SENDER).send(new_id(), "ada@example.org", "Hello", "x")
    assert "ada" not in str(refusal.value)
    assert refusal.value.code == "MAIL_REFUSED"


async def test_nobody_listening_is_a_refusal():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MailRefused):
        await SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER).send(new_id(), "ada@example.org", "Hello", "x")


@pytest.mark.parametrize("greeting", [b"", b"no smtp at all\r\n" * 3, b"\xff\xfe\r\n"])
async def test_silence_and_garbage_end_with_the_time_out(greeting: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(MailRefused):
            await SmtpMailer(url, SENDER, timeout_s=0.3).send(new_id(), "ada@example.org", "Hello", "x")


async def test_without_a_server_messages_land_in_the_outbox(tmp_path: Path):
    message_id = new_id()
    outbox = mailer("", SENDER, tmp_path / "outbox")
    for _ in range(2):
        await outbox.send(message_id, "ada@example.org", "Hello", "Text\n")
    (path,) = _files(tmp_path / "outbox")
    assert path.name == f"{message_id}.eml"
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    found = message_from_bytes(path.read_bytes(), policy=default)
    assert found["To"] == "ada@example.org"


def test_a_url_makes_it_smtp(tmp_path: Path):
    assert isinstance(mailer("smtp://127.0.0.1", SENDER, tmp_path), SmtpMailer)
