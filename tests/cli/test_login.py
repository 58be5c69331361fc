"""``cdp login``: a person at a terminal, a browser elsewhere, and a real server between them."""

import asyncio
import json
import os
import sys

import httpx
import pytest

from cdp.cli import sign_ins
from cdp.operations.accounts.accounts import Registration, register
from tests.browser import forms
from tests.site import PASSWORD, listening

EMAIL = "terminal@example.org"


@pytest.fixture(scope="module")
async def server(settings):
    async with listening(settings) as (base, platform):
        await register(platform, Registration(EMAIL, PASSWORD, accepts_policy=True))
        yield base


async def cdp(home, *arguments: str, said=None) -> tuple[int, list[str], str]:
    """Run a verb; ``said`` is awaited with the first line it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cdp",
        *arguments,
        env=os.environ | {"XDG_STATE_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    first = await process.stdout.readline()
    if said is not None and first:
        await said(first.decode())
    rest, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, [line for line in (first + rest).decode().splitlines() if line], errors.decode()


def answering(base: str, answer: str):
    """A browser in which the person types the code and answers."""

    async def act(line: str) -> None:
        begun = json.loads(line)
        async with httpx.AsyncClient(base_url=base, follow_redirects=True) as browser:
            page = await browser.get("/account/sign-in")
            fields = {**forms(page)["/account/sign-in"], "username": EMAIL, "password": PASSWORD}
            await browser.post("/account/sign-in", data=fields)
            page = await browser.get(begun["verification_uri_complete"])
            question = await browser.post("/device", data=forms(page)["/device"])
            fields = {**forms(question)["/account/device"], "answer": answer}
            await browser.post("/account/device", data=fields)

    return act


async def test_in_who_and_out(server, tmp_path):
    code, lines, errors = await cdp(tmp_path, "login", "--url", server, "--json", said=answering(server, "yes"))
    assert code == 0, errors
    assert json.loads(lines[-1])["url"] == server
    file = tmp_path / "cdp" / "sign-ins.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    token = json.loads(file.read_text())[0]["access_token"]
    code, lines, errors = await cdp(tmp_path, "whoami")
    assert (code, lines) == (0, [f"{EMAIL} at {server}"]), errors
    stale = [{**one, "expires_at": 0.0} for one in json.loads(file.read_text())]
    file.write_text(json.dumps(stale))
    assert (await cdp(tmp_path, "whoami", "--url", server))[0] == 0
    assert json.loads(file.read_text())[0]["access_token"] != token
    code, lines, errors = await cdp(tmp_path, "logout")
    assert (code, lines) == (0, [f"Signed out at {server}."]), errors
    assert json.loads(file.read_text()) == []
    code, _, errors = await cdp(tmp_path, "whoami")
    assert code == 3
    assert "NOT_SIGNED_IN" in errors


async def test_denied_in_the_browser(server, tmp_path):
    code, _, errors = await cdp(tmp_path, "login", "--url", server, "--json", said=answering(server, "no"))
    assert code == 3
    assert "SIGN_IN_DENIED" in errors
    assert not (tmp_path / "cdp" / "sign-ins.json").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://shop.example", "INSECURE_SERVER"),
        ("ftp://localhost", "INSECURE_SERVER"),
        ("nonsense", "INSECURE_SERVER"),
        ("http://localhost:1", "SERVER_UNREACHABLE"),
    ],
)
async def test_a_server_that_is_none(tmp_path, url, said):
    code, _, errors = await cdp(tmp_path, "login", "--url", url)
    assert (code, said in errors) == (1, True), errors


async def test_garbage_is_no_server(tmp_path):
    async def garbage(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[1]\n")
        await writer.drain()
        writer.close()

    peer = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = peer.sockets[0].getsockname()[1]
    async with peer:
        code, _, errors = await cdp(tmp_path, "login", "--url", f"http://localhost:{port}")
    assert (code, "SERVER_UNREACHABLE" in errors) == (1, True)


def test_a_broken_file_is_no_sign_in(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with sign_ins.kept() as found:
        assert found == {}
    (tmp_path / "cdp" / "sign-ins.json").write_text("{broken")
    with pytest.raises(sign_ins.NotSignedIn):
        sign_ins.authorization()
