"""Make a described call: placeholders filled, signed in, in turn; and walk the pages of a search."""

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urljoin, urlsplit

from cdp.connectors.base import Code, Outcome, Record, State, System
from cdp.connectors.calls import strict_json
from cdp.connectors.grants import Grant
from cdp.connectors.http.answers import belongs, records_in
from cdp.connectors.http.description import ByCursor, ByLink, ByOffset, Change, Description, Search
from cdp.connectors.http.pace import take_turn
from cdp.connectors.templates import Unfillable, Values, fill_json, fill_path, fill_text, pointed
from cdp.core.http import MAX_BODY_BYTES, Answer
from cdp.core.platform import Platform

PAGE_MAX_BYTES = 8 * 1024 * 1024
MAX_PAGES = 1000
# a link of RFC 8288: <target>; parameter; parameter
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,]+\s*(?:=\s*(?:"[^"]*"|[^\s;,"]+))?)*)')
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=\s|;|$))', re.IGNORECASE)


@dataclass(frozen=True)
class Ready:
    """A call with everything filled in."""

    method: str
    url: str = field(repr=False)
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str]


class Caller:
    """Calls one described system."""

    def __init__(self, system: System, platform: Platform, description: Description, grant: Grant) -> None:
        self._system = system
        self._platform = platform
        self._description = description
        self._grant = grant

    async def search(self, search: Search, values: Values) -> AsyncIterator[list[Record] | Outcome]:
        """Yield the records page by page; an outcome is the last thing yielded, and spoils what came before."""
        ready: Ready | Outcome | None = self._ready(search, values, dict(search.query) | _first(search))
        seen: set[tuple[str, bytes | None]] = set()
        had = 0
        while not isinstance(ready, Outcome | None):
            if len(seen) >= MAX_PAGES or (ready.url, ready.content) in seen:
                yield Outcome(State.FAILED, "PAGES_DO_NOT_END")
                return
            seen.add((ready.url, ready.content))
            answer = await self._send(ready, max_bytes=PAGE_MAX_BYTES)
            records = answer if isinstance(answer, Outcome) else records_in(answer, search)
            if isinstance(answer, Outcome) or isinstance(records, Outcome):
                yield records
                return
            if search.match and not all(belongs(record, search.match, values) for record in records):
                yield Outcome(State.FAILED, "WRONG_PERSON")
                return
            yield records
            had += len(records)
            ready = self._next(search, values, answer, ready, had=had, last=not records)
        if isinstance(ready, Outcome):
            yield ready

    async def change(self, change: Change, values: Values, *, key: str, secret: bytes) -> Answer | Outcome:
        """Make a change under an idempotency key of its own: the same for the same change, and for no other."""
        ready = self._ready(change, values, dict(change.query))
        if isinstance(ready, Outcome):
            return ready
        effect = hmac.new(secret, f"{ready.method} {ready.url}\n".encode() + (ready.content or b""), hashlib.sha256)
        return await self._send(ready, {"Idempotency-Key": f"{key}:{effect.hexdigest()[:16]}"})

    async def _send(
        self, ready: Ready, more: Mapping[str, str] | None = None, *, max_bytes: int = MAX_BODY_BYTES
    ) -> Answer | Outcome:
        if late := await take_turn(self._platform.outbound, self._system.id, self._description.rate):
            return late
        headers = {**ready.headers, **(more or {})}
        return await self._grant.call(
            ready.method, ready.url, headers=headers, content=ready.content, max_bytes=max_bytes
        )

    def _ready(self, request: Search | Change, values: Values, query: Mapping[str, str]) -> Ready | Outcome:
        try:
            path = fill_path(request.path, values)
            asked = {name: fill_text(template, values) for name, template in query.items()}
            content, kind = _content(request, values)
        except Unfillable:
            return Outcome(State.FAILED, "VALUE_NOT_USABLE")
        url = self._description.url.rstrip("/") + path
        if asked:
            url += "?" + urlencode(asked, quote_via=quote, safe="")
        headers = {"Accept": "application/json", **self._description.headers, **kind}
        return Ready(request.method, url, content, headers)

    def _next(
        self, search: Search, values: Values, answer: Answer, ready: Ready, *, had: int, last: bool
    ) -> Ready | Outcome | None:
        pages = search.pages
        if pages is None or answer.status != search.found:
            return None
        if isinstance(pages, ByOffset):
            return None if last else self._ready(search, values, dict(search.query) | _offset(pages, had))
        found = _onward(answer, pages)
        if found is None or isinstance(found, Outcome):
            return found
        if isinstance(pages, ByLink):
            return self._followed(ready, found)
        fixed = self._ready(search, values, search.query)
        return fixed if isinstance(fixed, Outcome) else _with(fixed, {pages.cursor: found})

    def _followed(self, ready: Ready, found: str) -> Ready | Outcome:
        """The next page, asked for only at the server that was described: credentials go along."""
        try:
            url = urljoin(ready.url, found)
            is_here = _origin(url) == _origin(ready.url)
        except ValueError:
            return Outcome(State.FAILED, Code.BAD_ANSWER)
        if not is_here:
            return Outcome(State.FAILED, "LINK_ELSEWHERE")
        return Ready(ready.method, url, ready.content, ready.headers)


def _content(request: Search | Change, values: Values) -> tuple[bytes | None, Mapping[str, str]]:
    if request.body is not None:
        filled = fill_json(request.body, values)
        return json.dumps(filled, ensure_ascii=False).encode(), {"Content-Type": "application/json"}
    if request.form:
        form = {name: fill_text(template, values) for name, template in request.form.items()}
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return None, {}


def _first(search: Search) -> dict[str, str]:
    return _offset(search.pages, 0) if isinstance(search.pages, ByOffset) else {}


def _offset(pages: ByOffset, had: int) -> dict[str, str]:
    return {pages.offset: str(had)} | ({pages.limit: str(pages.size)} if pages.limit else {})


def _with(ready: Ready, query: Mapping[str, str]) -> Ready:
    """The call with more in its query; these values are another system's and hold no placeholders."""
    mark = "&" if "?" in ready.url else "?"
    url = ready.url + mark + urlencode(query, quote_via=quote, safe="")
    return Ready(ready.method, url, ready.content, ready.headers)


def _onward(answer: Answer, pages: ByCursor | ByLink) -> str | Outcome | None:
    """The cursor or address of the next page; None only where the answer says that this was the last."""
    if pages.next is None:
        return _linked(answer)
    try:
        found = pointed(strict_json(answer.body), pages.next)
    except (ValueError, KeyError):
        return None if pages.may_be_absent else Outcome(State.FAILED, Code.BAD_ANSWER)
    if found in (None, "", False):
        return None
    return str(found) if isinstance(found, str | int) else Outcome(State.FAILED, Code.BAD_ANSWER)


def _linked(answer: Answer) -> str | None:
    header = ", ".join(answer.headers.get_list("link"))
    return next((target for target, parameters in _LINK.findall(header) if _NEXT.search(parameters)), None)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("an address with a password")
    return parts.scheme, parts.hostname, parts.port
