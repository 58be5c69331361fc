"""Outbound HTTP: one client for every call to another system, with time-outs, size limits and an SSRF guard.

A name is resolved once, every address is checked, and the connection goes to the checked address, so that a second
DNS answer can not redirect it; redirects are never followed. Source: OWASP SSRF prevention cheat sheet,
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from cdp.core.errors import Forbidden, Unavailable
from cdp.core.settings import Network

MAX_BODY_BYTES = 1024 * 1024
CLIENTS = 32
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("192.88.99.0/24"))


class TargetForbidden(Forbidden):
    """This address may not be called: it is private, local or not HTTP."""

    code = "TARGET_FORBIDDEN"


class CallFailed(Unavailable):
    """The other system could not be reached, or its answer broke off."""

    code = "CALL_FAILED"


class AnswerTooLarge(Unavailable):
    """The other system's answer is larger than we read."""

    code = "ANSWER_TOO_LARGE"


@dataclass(frozen=True)
class Answer:
    """What another system said."""

    status: int
    headers: httpx.Headers
    body: bytes


Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Every address of a name, as this machine resolves it. Raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """Calls other systems. ``inside``: networks where those may be that an operator has connected.

    ``allow_private`` is for development and tests only.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        inside: Sequence[Network] = (),
        timeout_s: float = 15.0,
        resolve: Resolver = resolve_by_system,
    ) -> None:
        self._allow_private = allow_private
        self._inside = inside
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._clients: dict[int, httpx.AsyncClient] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_BODY_BYTES,
        may_be_inside: bool = False,
    ) -> Answer:
        """Make one call; name resolution and the whole answer must fit into the time-out.

        ``may_be_inside``: an operator named this address, no client, customer or other system.
        Raises TargetForbidden, CallFailed or AnswerTooLarge; any HTTP status is an Answer. No compression is asked for
        and none unpacked: a few bytes of gzip can stand for more memory than we have.
        """
        target = _target(url)
        given = {**(headers or {}), "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                for address in await self._checked_addresses(target, self._inside if may_be_inside else ()):
                    client = self._client_of(target)
                    request = client.build_request(
                        method,
                        target.copy_with(host=address),
                        headers=given,
                        content=content,
                        extensions={"sni_hostname": target.host},
                    )
                    with suppress(httpx.ConnectError):  # nothing was sent: the next address may answer
                        return await self._read(client, request, max_bytes)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise CallFailed from error
        raise CallFailed

    def _client_of(self, target: httpx.URL) -> httpx.AsyncClient:
        """One of a few clients, always the same for a host: the time a pool takes grows with the square of its size."""
        number = hash((target.scheme, target.host, target.port)) % CLIENTS
        if number not in self._clients:
            self._clients[number] = httpx.AsyncClient(
                verify=self._tls,
                timeout=None,  # noqa: S113 - the whole call has one, in request
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            )
        return self._clients[number]

    async def _read(self, client: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> Answer:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise AnswerTooLarge
            return Answer(response.status_code, response.headers, bytes(body))
        finally:
            await response.aclose()

    async def _checked_addresses(self, url: httpx.URL, inside: Sequence[Network]) -> list[str]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(url.host, port)
        except (OSError, UnicodeError) as error:
            raise CallFailed from error
        if not self._allow_private and not all(is_public(one) or _is_in(one, inside) for one in addresses):
            raise TargetForbidden
        return addresses

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()


def _target(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise TargetForbidden from error
    if target.scheme not in {"http", "https"} or not target.host or target.userinfo:
        raise TargetForbidden
    return target


def _is_in(address: str, inside: Sequence[Network]) -> bool:
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    return any(ip in network for network in inside)


def is_public(address: str) -> bool:
    """Whether an IP address may be called: global unicast, also after unwrapping IPv4 from its IPv6 forms."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        return is_public(str(inner)) if inner is not None else ip.is_global and ip in _UNICAST
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translated one stands for: mapped, 6to4, Teredo, NAT64 (RFC 6052)."""
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
