"""Where a person's data stands in a key-value server: keys of their own, keys an index names, members of shared keys.

Nothing is ever scanned for: a server of millions of keys would be slowed down for everybody, and a pattern that is a
little too wide would take strangers along.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import ConfigurationInvalid, Identifier, Problem
from cdp.connectors.calls import configured
from cdp.connectors.templates import fill_name, placeholders, types_in, unknown

MEMBER = "{member}"
_CLOSED = ConfigDict(extra="forbid")
Template = Annotated[str, Field(min_length=1, max_length=500)]


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Place:
    """One collection: a ``key``; a ``key`` with ``{member}`` for each of ``index``; a ``member`` of a shared one."""

    collection: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    key: Template
    index: Template | None = None
    member: Template | None = None
    issuer: str = ""

    @property
    def type(self) -> str:
        """The type of identifier this place is found by."""
        return next(iter(types_in(self._names())))

    def problems(self, at: str) -> Iterator[Problem]:
        """What is wrong with it."""
        names = self._names()
        for name in sorted(unknown(names, record=False)):
            yield Problem("PLACEHOLDER_UNKNOWN", at, f"Nothing is known as {name}")
        if self.index is not None and self.member is not None:
            yield Problem("VALUE_INVALID", at, "A place has an index or a member")
        whose = next(one for one in (self.index, self.member, self.key) if one is not None)
        if len(types_in(names)) != 1 or not types_in({*placeholders(whose)}):
            yield Problem("IDENTIFIER_NEEDED", at, "A place names exactly one type of identifier")
        if (self.index is not None) != (MEMBER in self.key):
            yield Problem("VALUE_INVALID", f"{at}.key", "Keys that an index names contain {member}, others do not")
        if self.member is not None and types_in({*placeholders(self.key)}):
            yield Problem("VALUE_INVALID", f"{at}.key", "A shared key names nobody")

    def _names(self) -> set[str]:
        texts = [self.key.replace(MEMBER, ""), self.index or "", self.member or ""]
        return {name for text in texts for name in placeholders(text)}


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Layout:
    """``configuration``."""

    url: str = ""
    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


def laid_out(configuration: object) -> Layout:
    """Read a layout. Raises ConfigurationInvalid with everything that is wrong with it."""
    layout = configured(Layout, configuration)
    found = tuple(
        problem for number, place in enumerate(layout.places) for problem in place.problems(f"places.{number}")
    )
    if found:
        raise ConfigurationInvalid(found)
    return layout


def fill(template: str, place: Place, known: Identifier) -> str:
    """A template about one identifier. Raises Unfillable."""
    return fill_name(template, place.type, known.value)


def fill_member(place: Place, known: Identifier, member: str) -> str:
    """The key that a member of an index names. Raises Unfillable."""
    return member.join(fill(part, place, known) for part in place.key.split(MEMBER))
