"""A visitor of the tour: a browser reduced to what the main job needs, speaking HTTP from outside like any client.

Signs in by authorization code with PKCE (RFC 7636) through the real sign-in page, then asks ``/graphql`` with the
bearer token, or the pages with the session's cookie.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

MAX_REDIRECTS = 10


class TourFailed(Exception):
    """Something in the tour did not hold; the message says what."""


class _Forms(HTMLParser):
    """Collects the forms of a page: action and fields with their values."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a form, or note a field of the one that is open."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        elif tag == "input" and self.forms and given.get("name"):
            is_choice = given.get("type") in {"checkbox", "radio"}
            if not is_choice or "checked" in given:
                self.forms[-1][1][given["name"]] = given.get("value", "")


def fields_of(page: str, wanted: str) -> tuple[str, dict[str, str]]:
    """Action and prefilled fields of the form that has a field ``wanted``."""
    parser = _Forms()
    parser.feed(page)
    for action, fields in parser.forms:
        if wanted in fields:
            return action, fields
    raise TourFailed(f"the page has no form with a field {wanted}")


class Visitor:
    """One person with a browser (cookies) and, after ``sign_in``, a bearer token."""

    def __init__(self, url: str, *, client_id: str, redirect_uri: str) -> None:
        self.url = url
        self.client_id = client_id
        self.redirect_uri = redirect_uri
        self.token = ""
        self.http = httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False)

    async def __aenter__(self) -> "Visitor":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def sign_in(self, username: str, password: str, scope: str) -> None:
        """Walk authorize → sign-in form → code → token. Raises TourFailed where a step does not hold."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": scope,
            "state": state,
            "nonce": secrets.token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        answer = await self._follow(await self.http.get("/oauth/authorize", params=asked))
        if not str(answer.headers.get("location", "")).startswith(self.redirect_uri):
            answer = await self._follow(await self._fill_sign_in(answer, username, password))
        code = self._code_of(str(answer.headers.get("location", "")), state)
        await self._redeem(code, verifier)

    async def _fill_sign_in(self, page: httpx.Response, username: str, password: str) -> httpx.Response:
        action, fields = fields_of(page.text, "password")
        fields |= {"username": username, "password": password}
        target = urljoin(str(page.url), action or str(page.url))
        return await self.http.post(target, data=fields, headers={"Origin": self.url})

    async def _follow(self, answer: httpx.Response) -> httpx.Response:
        """Follow redirects inside our own site; stop at the client's redirect URI."""
        for _ in range(MAX_REDIRECTS):
            location = answer.headers.get("location")
            if answer.status_code not in {301, 302, 303, 307} or location is None:
                return answer
            if location.startswith(self.redirect_uri):
                return answer
            answer = await self.http.get(urljoin(str(answer.url), location))
        raise TourFailed("too many redirects")

    def _code_of(self, location: str, state: str) -> str:
        given = parse_qs(urlsplit(location).query)
        if given.get("state") != [state] or given.get("iss") != [self.url]:
            raise TourFailed("the authorization response lacks its state or issuer (RFC 9207)")
        if "code" not in given:
            raise TourFailed(f"no code: {given.get('error')}")
        return given["code"][0]

    async def _redeem(self, code: str, verifier: str) -> None:
        answer = await self.http.post(
            "/oauth/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "client_id": self.client_id,
                "code_verifier": verifier,
            },
        )
        if answer.status_code != 200:
            raise TourFailed(f"no token: {answer.status_code} {answer.json().get('error')}")
        self.token = answer.json()["access_token"]

    async def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask GraphQL; returns ``data``. Raises TourFailed on any error in the answer."""
        answer = await self.http.post(
            "/graphql",
            json={"query": document, "variables": dict(variables or {})},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        body: dict[str, Any] = answer.json()
        if answer.status_code != 200 or body.get("errors"):
            codes = [error.get("extensions", {}).get("code", error["message"]) for error in body.get("errors", [])]
            raise TourFailed(f"GraphQL answered {answer.status_code}: {', '.join(map(str, codes))}")
        data: dict[str, Any] = body["data"]
        return data

    async def download(self, path: str, to: Path) -> int:
        """Fetch a file with the session's cookie; returns its bytes."""
        size = 0
        async with self.http.stream("GET", path) as answer:
            if answer.status_code != 200:
                raise TourFailed(f"the download answered {answer.status_code}")
            with to.open("wb") as file:
                async for chunk in answer.aiter_bytes():
                    size += len(chunk)
                    file.write(chunk)
        return size

    async def refuses(self, document: str, variables: Mapping[str, Any] | None = None) -> str:
        """Ask something that must be refused; returns the error's code."""
        try:
            await self.ask(document, variables)
        except TourFailed as refused:
            found = re.search(r"[A-Z_]{5,}", str(refused))
            return found.group() if found else "?"
        raise TourFailed("this should have been refused")

    async def open_status(self, reference: str, key: str) -> None:
        """Exchange a request's status key for a cookie, as its page does."""
        page = await self.http.get(f"/account/requests/{reference}")
        action, fields = fields_of(page.text, "key")
        target = urljoin(str(page.url), action)
        answer = await self.http.post(target, data=fields | {"key": key}, headers={"Origin": self.url})
        if answer.status_code != 303:
            raise TourFailed(f"the status key was not taken: {answer.status_code}")

    async def status(self, reference: str) -> str:
        """The status page of a request."""
        return (await self.fetch(f"/account/requests/{reference}")).decode()

    async def fetch(self, path: str) -> bytes:
        """A page or small file."""
        answer = await self.http.get(path)
        if answer.status_code != 200:
            raise TourFailed(f"{path} answered {answer.status_code}")
        return answer.content
