"""``configuration`` of an HTTP API: what to call, how to tell that nothing is there, and what is wrong with it.

Whatever could let a wrong description pass for an erasure is refused here: a search that names nobody, a bare 404 as
proof, an erasure of records nobody compared with the person.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, JsonValue
from pydantic.dataclasses import dataclass

from cdp.connectors.base import ConfigurationInvalid, Problem, State
from cdp.connectors.calls import configured
from cdp.connectors.grants import Auth, NoAuth
from cdp.connectors.templates import NEW, POINTER, RECORD, placeholders, types_in, unknown

_CLOSED = ConfigDict(extra="forbid")
Pointer: TypeAlias = Annotated[str, Field(pattern=POINTER)]
Status: TypeAlias = Annotated[int, Field(ge=200, le=599)]
Parameter: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.$\[\]-]{1,60}$")]
PathText: TypeAlias = Annotated[str, Field(pattern=r"^/[^?#\s]*$")]
HeaderText: TypeAlias = Annotated[str, Field(pattern=r"^[ -~]{1,500}$")]
# A field of our API, with its type.
FIELD = r"^[A-Z][A-Za-z]*\.[a-z][A-Za-z0-9]*$"
_OURS = {"authorization", "host", "content-length", "transfer-encoding", "connection", "accept-encoding", "cookie"}


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Sign:
    """An answer to recognise: its status and, with ``at``, that the member there is exactly ``equals``."""

    status: Status
    at: Pointer | None = None
    equals: JsonValue = None


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Verdict(Sign):
    """What an answer other than success means."""

    state: Literal[State.REFUSED, State.HELD, State.WAITING, State.UNSUPPORTED]
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,59}$")]


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class ByOffset:
    """Ask again with the number of records had so far, until a page is empty: a short page proves nothing."""

    by: Literal["offset"]
    offset: Parameter = "offset"
    limit: Parameter | None = None
    size: Annotated[int, Field(ge=1, le=10_000)] = 100


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class ByCursor:
    """Ask again with the cursor found at ``next``, until it is null; a missing one ends only if it may be absent."""

    by: Literal["cursor"]
    next: Pointer
    cursor: Parameter = "cursor"
    may_be_absent: bool = False


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class ByLink:
    """Follow the address in the ``Link`` header (RFC 8288), or at ``next``, as long as it stays on this server."""

    by: Literal["link"]
    next: Pointer | None = None
    may_be_absent: bool = False


Pages: TypeAlias = Annotated[ByOffset | ByCursor | ByLink, Field(discriminator="by")]


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Search:
    """A call that changes nothing: ``records`` is where the list (or the one record) stands in its answer."""

    path: PathText
    method: Literal["GET", "POST"] = "GET"
    query: Mapping[Parameter, str] = Field(default_factory=dict)
    body: JsonValue = None
    form: Mapping[str, str] = Field(default_factory=dict)
    records: Pointer | None = None
    found: Status = 200
    nothing: tuple[Sign, ...] = ()
    otherwise: tuple[Verdict, ...] = ()
    pages: Pages | None = None
    match: Pointer | None = None


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Change:
    """A call that erases or cuts, once for each record if it names ``{record/…}``, else once for the identifier."""

    path: PathText
    method: Literal["DELETE", "POST", "PUT", "PATCH"] = "DELETE"
    query: Mapping[Parameter, str] = Field(default_factory=dict)
    body: JsonValue = None
    form: Mapping[str, str] = Field(default_factory=dict)
    done: Annotated[tuple[Sign, ...], Field(min_length=1)] = (Sign(status=200), Sign(status=204))
    otherwise: tuple[Verdict, ...] = ()


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Update(Change):
    """A call that corrects the member ``at`` of one record; ``{new}`` is what it should say."""

    at: Pointer
    method: Literal["POST", "PUT", "PATCH"] = "PATCH"


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Collection:
    """One kind of record. Without ``erase`` it stays, for the reason in ``keeps``.

    ``updates`` are corrections by the field of our API they are about: ``PostalAddress.city``.
    """

    read: Search
    verify: Search | None = None
    erase: Change | None = None
    updates: Mapping[Annotated[str, Field(pattern=FIELD)], Update] = Field(default_factory=dict)
    keeps: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    issuer: str = ""

    @property
    def type(self) -> str:
        """The type of identifier this collection is searched by."""
        return next(iter(types_in(_names(self.read))))

    @property
    def is_by_record(self) -> bool:
        """Whether the erasure goes record by record."""
        return self.erase is not None and any(name.startswith(RECORD) for name in _names(self.erase))


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Rate:
    """At most so many calls in so many seconds from one process of ours, evenly spread."""

    requests: Annotated[int, Field(ge=1, le=100_000)]
    per_s: Annotated[float, Field(gt=0, le=86_400)] = 1.0


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Description:
    """One HTTP API."""

    url: str
    collections: Annotated[
        Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")], Collection], Field(min_length=1)
    ]
    auth: Auth = Field(default_factory=lambda: NoAuth(type="none"))
    headers: Mapping[Parameter, HeaderText] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 15.0
    rate: Rate | None = None


def described(configuration: object) -> Description:
    """Read a description. Raises ConfigurationInvalid with everything that is wrong with it."""
    description = configured(Description, configuration)
    found = tuple(_problems(description))
    if found:
        raise ConfigurationInvalid(found)
    return description


def _problems(description: Description) -> Iterator[Problem]:
    parts = urlsplit(description.url)
    if parts.query or parts.fragment:
        yield Problem("VALUE_INVALID", "url", "The address all paths are added to has no query and no fragment")
    for name in description.headers:
        if name.lower() in _OURS:
            yield Problem("VALUE_INVALID", f"headers.{name}", "This header is not for a description to set")
    for name, collection in description.collections.items():
        at = f"collections.{name}"
        yield from _search_problems(f"{at}.read", collection.read)
        if collection.read.records is None:
            yield Problem("VALUE_MISSING", f"{at}.read.records", "A read says where the records stand")
        if collection.verify:
            yield from _search_problems(f"{at}.verify", collection.verify)
            if types_in(_names(collection.verify)) != types_in(_names(collection.read)):
                yield Problem("IDENTIFIER_DIFFERS", f"{at}.verify", "It looks for another identifier than the read")
        yield from _change_problems(at, collection)
        yield from _update_problems(at, collection)


def _search_problems(at: str, search: Search) -> Iterator[Problem]:
    names = _names(search)
    yield from _request_problems(at, search, names, record=False)
    if len(types_in(names)) != 1:
        yield Problem("IDENTIFIER_NEEDED", at, "A search names exactly one type of identifier")
    if search.records is None and not search.nothing:
        yield Problem("PROVES_NOTHING", at, "It says neither where records stand nor what an answer without any is")
    for number, sign in enumerate(search.nothing):
        if sign.at is None and sign.status != 204:
            text = "Any wrong address may answer so; name a member of the body with at and equals"
            yield Problem("PROVES_NOTHING", f"{at}.nothing.{number}", text)


def _change_problems(at: str, collection: Collection) -> Iterator[Problem]:
    change = collection.erase
    if (change is None) == (collection.keeps is None):
        yield Problem("VALUE_INVALID", at, "Either erase says how records go, or keeps why they stay")
    if change is None:
        return
    names = _names(change)
    yield from _request_problems(f"{at}.erase", change, names, record=True)
    types = types_in(names)
    if types - types_in(_names(collection.read)):
        yield Problem("IDENTIFIER_DIFFERS", f"{at}.erase", "It names another identifier than the read")
    if not names:
        yield Problem("IDENTIFIER_NEEDED", f"{at}.erase", "An erasure that names nobody is an erasure of everybody")
    if collection.is_by_record and collection.read.match is None:
        text = "Records are erased only after comparing a member of theirs with the identifier"
        yield Problem("MATCH_MISSING", f"{at}.read.match", text)


def _update_problems(at: str, collection: Collection) -> Iterator[Problem]:
    """A correction names the record it is about, of somebody it was compared with, and the new value."""
    for said, update in collection.updates.items():
        path, names = f"{at}.updates.{said}", _names(update)
        yield from _request_problems(path, update, names - {NEW}, record=True)
        if types_in(names) - types_in(_names(collection.read)):
            yield Problem("IDENTIFIER_DIFFERS", path, "It names another identifier than the read")
        if NEW not in names:
            yield Problem("VALUE_MISSING", path, "It does not say {new}")
        if not any(name.startswith(RECORD) for name in names):
            yield Problem("IDENTIFIER_NEEDED", path, "A correction names the record it is about")
    if collection.updates and collection.read.match is None:
        text = "Records are corrected only after comparing a member of theirs with the identifier"
        yield Problem("MATCH_MISSING", f"{at}.read.match", text)


def _request_problems(at: str, request: Search | Change, names: set[str], *, record: bool) -> Iterator[Problem]:
    for name in sorted(unknown(names, record=record)):
        yield Problem("PLACEHOLDER_UNKNOWN", at, f"Nothing is known as {name}")
    if request.path.count("{") != request.path.count("}"):
        yield Problem("PLACEHOLDER_UNKNOWN", f"{at}.path", "A brace is not closed")
    if request.body is not None and request.form:
        yield Problem("VALUE_INVALID", at, "A call has a body or a form")
    if request.method == "GET" and (request.body is not None or request.form):
        yield Problem("VALUE_INVALID", at, "A GET has no body")


def _names(request: Search | Change) -> set[str]:
    return {
        name
        for template in (request.path, dict(request.query), request.body, dict(request.form))
        for name in placeholders(template)
    }
