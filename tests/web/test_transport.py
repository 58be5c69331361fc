"""TLS served directly, and behind a proxy: real servers, real sockets, a certificate made here for this run."""

import asyncio
import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdp.core.settings import Settings
from tests.browser import forms, serving, submit, visitor
from tests.conftest import PROJECT
from tests.site import PASSWORD, listening

PROXY = ipaddress.ip_network("10.1.0.0/16")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """Certificate and key files for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


def trusting(certificate: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=str(certificate)), headers={"accept": "text/html"}, trust_env=False
    )


def _free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def direct(settings: Settings, certificate) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """``cdp api`` with a certificate of its own: https address, http address, process."""
    port, plain = _free_ports(2)
    environment = os.environ | {
        "CDP_ENV": "test",
        "CDP_PORT": str(port),
        "CDP_HTTP_PORT": str(plain),
        "CDP_TLS_CERT_FILE": str(certificate[0]),
        "CDP_TLS_KEY_FILE": str(certificate[1]),
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_OBJECTS_URL": settings.objects_url,
    }
    with subprocess.Popen([sys.executable, "-m", "cdp", "api"], env=environment, cwd=PROJECT) as child:
        yield f"https://localhost:{port}", f"http://localhost:{plain}", child
        child.kill()


async def _ready(client: httpx.AsyncClient, url: str) -> None:
    for _ in range(600):
        try:
            if (await client.get(f"{url}/livez")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("the API did not become ready")


async def test_tls_served_directly(direct, certificate, new_customer):
    url, plain, child = direct
    name = await new_customer()
    async with trusting(certificate[0]) as browser:
        await _ready(browser, url)
        page = await browser.get(f"{url}/account/sign-in")
        assert page.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
        fields = {**forms(page)["/account/sign-in"], "username": name, "password": PASSWORD}
        answer = await browser.post(f"{url}/account/sign-in", data=fields)
        assert answer.status_code == 303
        for cookie in answer.headers.get_list("set-cookie"):
            assert cookie.startswith("__Host-cdp_")
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert (await browser.get(f"{url}/account")).status_code == 200
        for path in ("/account?a=b&c=%2F", "/livez", "//evil.example/x", "/a%20b"):
            lead = await browser.get(f"{plain}{path}")
            assert (lead.status_code, lead.headers["location"]) == (308, f"{url}{path}")
            assert "strict-transport-security" not in lead.headers
        posted = await browser.post(f"{plain}/account/sign-in", data=fields)
        assert (posted.status_code, posted.json()["code"]) == (403, "HTTPS_REQUIRED")
        spoofed = await browser.get(f"{url}/account/sign-in", headers={"x-forwarded-proto": "http"})
        assert spoofed.status_code in {200, 303}
        document = (await browser.get(f"{url}/.well-known/openid-configuration")).json()
        assert document["issuer"] == url
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await stranger.get(f"{url}/livez")
    child.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(child.wait, 30) in {0, -signal.SIGTERM}
    async with httpx.AsyncClient(trust_env=False) as late:
        with pytest.raises(httpx.ConnectError):
            await late.get(plain)


@asynccontextmanager
async def tls_proxy(certificate, port: int) -> AsyncIterator[str]:
    """A proxy that ends TLS and says who asked, as nginx does: what the client claimed comes first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        claimed = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"x-forwarded-for:")]
        kept = [line for line in lines[:-2] if not line.lower().startswith((b"x-forwarded-", b"connection:"))]
        added = [b"x-forwarded-for: " + b", ".join([*claimed, b"203.0.113.77"]), b"x-forwarded-proto: https"]
        upstream, away = await asyncio.open_connection("127.0.0.1", port)
        away.write(b"\r\n".join([*kept, *added, b"connection: close", b"", b""]))
        await asyncio.gather(pipe(reader, away), pipe(upstream, writer), return_exceptions=True)

    (own,) = _free_ports(1)
    server = await asyncio.start_server(serve, "127.0.0.1", own, ssl=context)
    try:
        yield f"https://localhost:{own}"
    finally:
        server.close()


async def test_behind_a_proxy_that_serves_tls(settings, certificate, new_customer):
    name = await new_customer()
    (port,) = _free_ports(1)
    async with tls_proxy(certificate, port) as url:
        behind = settings.model_copy(
            update={"base_url": url, "trusted_proxies": (ipaddress.ip_network("127.0.0.0/8"),)}
        )
        async with listening(behind, port=port), trusting(certificate[0]) as browser:
            page = await browser.get(f"{url}/account/sign-in")
            assert "strict-transport-security" in page.headers
            fields = {**forms(page)["/account/sign-in"], "username": name, "password": PASSWORD}
            headers = {"x-forwarded-for": "192.0.2.99"}
            answer = await browser.post(f"{url}/account/sign-in", data=fields, headers=headers)
            assert answer.status_code == 303
            assert all(one.startswith("__Host-") for one in answer.headers.get_list("set-cookie"))
            shown = await browser.get(f"{url}/account/security")
            assert "203.0.113.77" in shown.text, "the address the proxy saw"
            assert "192.0.2.99" not in shown.text, "what the client made up"
            plain = await browser.get(
                f"http://127.0.0.1:{port}/account", headers={"x-forwarded-proto": "http", "host": "localhost"}
            )
            assert (plain.status_code, plain.headers["location"]) == (308, f"{url}/account")
            probe = await browser.get(f"http://127.0.0.1:{port}/livez", headers={"x-forwarded-proto": "http"})
            assert probe.status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("198.51.100.5", "192.0.2.1", "198.51.100.5"),
        ("10.1.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.1.0.1", "192.0.2.99, 192.0.2.1", "192.0.2.1"),
        ("10.1.0.1", "192.0.2.99, 192.0.2.1, 10.1.3.4", "192.0.2.1"),
        ("10.1.0.1", "10.1.0.9, 10.1.3.4", "10.1.0.9"),
        ("10.1.0.1", "garbage", "10.1.0.1"),
        ("10.1.0.1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.1.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.1.0.1", None, "10.1.0.1"),
        ("10.2.0.1", "192.0.2.1", "10.2.0.1"),
    ],
)
async def test_only_a_trusted_proxy_is_believed(platform, new_customer, peer, forwarded, seen):
    behind = platform.settings.model_copy(update={"base_url": "https://data.example", "trusted_proxies": (PROXY,)})
    name = await new_customer()
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    async with serving(behind) as app, visitor(app, address=peer, base="https://data.example") as browser:
        browser.headers.update(headers)
        assert (await submit(browser, "/account/sign-in", username=name, password=PASSWORD)).status_code == 303
        shown = (await browser.get("/account/security")).text
    assert seen in shown
    assert forwarded is None or seen == forwarded or forwarded not in shown


async def test_made_up_addresses_do_not_loosen_the_brake(app, new_customer):
    name = await new_customer()
    statuses = []
    async with visitor(app, address="198.51.100.201") as attacker:
        for guess in range(8):
            attacker.headers["x-forwarded-for"] = f"192.0.2.{guess}"
            answer = await submit(attacker, "/account/sign-in", username=name, password=f"guess number {guess}")
            statuses.append(answer.status_code)
    assert statuses == [401] * 6 + [429] * 2


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
async def test_every_error_speaks_our_language(app, accept):
    async with visitor(app, address="198.51.100.202") as browser:
        browser.headers["accept"] = accept
        big = b"x" * (1024 * 1024 + 1)

        async def streamed():
            for _ in range(17):
                yield b"x" * 65536

        answers = {
            "NOT_FOUND": [await browser.get("/nowhere"), await browser.get("/static/nothing.css")],
            "METHOD_NOT_ALLOWED": [await browser.put("/account/sign-in"), await browser.delete("/livez")],
            "TOO_LARGE": [
                await browser.post("/account/sign-in", content=big),
                await browser.post("/nowhere", content=big),
                await browser.post("/account/sign-in", content=b"x", headers={"content-length": "99999999"}),
                await browser.post("/verify", content=streamed()),
            ],
        }
    for code, found in answers.items():
        for answer in found:
            assert answer.headers["x-request-id"] in answer.text
            if accept == "text/html":
                assert answer.headers["content-type"].startswith("text/html")
                assert "<h1>" in answer.text
            else:
                assert answer.json()["code"] == code
                assert answer.json()["message"].endswith(".")
    assert set(answers["METHOD_NOT_ALLOWED"][0].headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
