"""A browser without a screen: follows pages over ASGI, keeps cookies, fills in the first form and sends it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import httpx
from starlette.applications import Starlette

from cdp.app import build
from cdp.core.settings import Settings

BASE = "http://localhost:8000"


class _Forms(HTMLParser):
    """Collects the forms of a page: action, and the values of their inputs and selects."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.titles: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "form":
            self.forms.append((found.get("action") or "", {}))
        elif tag == "input" and self.forms and found.get("name") and found.get("type") != "checkbox":
            self.forms[-1][1][found["name"]] = found.get("value") or ""
        self._in_title = tag == "title"

    def handle_endtag(self, tag):
        self._in_title = False

    def handle_data(self, data):
        if self._in_title:
            self.titles.append(data)


def forms(page: httpx.Response) -> dict[str, dict[str, str]]:
    """Forms of a page by action; the values are what a browser would send untouched."""
    parser = _Forms()
    parser.feed(page.text)
    return dict(parser.forms)


def title(page: httpx.Response) -> str:
    parser = _Forms()
    parser.feed(page.text)
    return "".join(parser.titles)


def without_noise(page: httpx.Response) -> str:
    """A page's text without what differs every time: tokens, nonces, request ids."""
    return re.sub(r'(nonce|value|data-options)="[^"]*"|<code>[0-9a-f]{16}</code>', "", page.text)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Starlette]:
    """The application with its lifespan running."""
    app = build(settings)
    async with app.router.lifespan_context(app):
        yield app


def visitor(app: Starlette, *, address: str = "192.0.2.1", base: str = BASE) -> httpx.AsyncClient:
    """A fresh browser that does not follow redirects, from an address of its own."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url=base, headers={"accept": "text/html"})


async def submit(browser: httpx.AsyncClient, page: str, *, action: str | None = None, **fields: str) -> httpx.Response:
    """Open a page, fill in its form and send it."""
    shown = await browser.get(page)
    path = action or page.partition("?")[0]
    return await browser.post(path, data={**forms(shown)[path], **fields})
