"""Outbound HTTP: one client for every call to another system, with time-outs, size limits and an SSRF guard.

A name is resolved once, every address is checked, and the connection goes to the checked address, so that a second
DNS answer can not redirect it; redirects are never followed. Source: OWASP SSRF prevention cheat sheet,
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from cdp.core.errors import Forbidden, Unavailable

MAX_BODY_BYTES = 1024 * 1024


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


class Outbound:
    """Calls other systems. ``allow_private`` is for development and tests only."""

    def __init__(self, *, allow_private: bool = False, timeout_s: float = 15.0) -> None:
        self._allow_private = allow_private
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=50),
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Answer:
        """Make one call; the whole answer must arrive within the time-out.

        Raises TargetForbidden, CallFailed or AnswerTooLarge; any HTTP status is an Answer.
        """
        target = httpx.URL(url)
        address = await self._checked_address(target)
        request = self._client.build_request(
            method,
            target.copy_with(host=address),
            headers={**(headers or {}), "Host": target.netloc.decode("ascii")},
            content=content,
            extensions={"sni_hostname": target.host},
        )
        try:
            async with asyncio.timeout(timeout_s or 15.0):
                return await self._read(request, max_bytes)
        except (httpx.HTTPError, TimeoutError) as error:
            raise CallFailed from error

    async def _read(self, request: httpx.Request, max_bytes: int) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise AnswerTooLarge
            return Answer(response.status_code, response.headers, bytes(body))
        finally:
            await response.aclose()

    async def _checked_address(self, url: httpx.URL) -> str:
        if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
            raise TargetForbidden
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CallFailed from error
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise TargetForbidden
        return addresses[0]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def is_public(address: str) -> bool:
    """Whether an IP address may be called: global unicast, also after unwrapping IPv4-mapped and 6to4 forms."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
