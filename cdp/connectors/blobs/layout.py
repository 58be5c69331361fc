"""Where a person's files stand in a store: folders of their own, and single files named after them.

A folder ends with a slash, so that the files of customer 12 are not those of customer 123.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from cdp.connectors.base import ConfigurationInvalid, Problem
from cdp.connectors.calls import configured
from cdp.connectors.templates import placeholders, types_in, unknown

_CLOSED = ConfigDict(extra="forbid")
Template = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^/\x00-\x1f]")]
_DOTS = {"", ".", ".."}


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Place:
    """One collection: everything below ``folder``, or the one file ``key``."""

    collection: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    folder: Template | None = None
    key: Template | None = None
    issuer: str = ""

    @property
    def template(self) -> str:
        """Whichever was given."""
        return self.folder or self.key or ""

    @property
    def type(self) -> str:
        """The type of identifier this place is found by."""
        return next(iter(types_in({*placeholders(self.template)})))

    def problems(self, at: str) -> Iterator[Problem]:
        """What is wrong with it."""
        names = {*placeholders(self.template)}
        if (self.folder is None) == (self.key is None):
            yield Problem("VALUE_INVALID", at, "A place has a folder or a key")
        for name in sorted(unknown(names, record=False)):
            yield Problem("PLACEHOLDER_UNKNOWN", at, f"Nothing is known as {name}")
        if len(types_in(names)) != 1:
            yield Problem("IDENTIFIER_NEEDED", at, "A place names exactly one type of identifier")
        if (self.folder is not None) != self.template.endswith("/"):
            yield Problem("VALUE_INVALID", at, "A folder ends with a slash, a key does not")
        if _DOTS & {*self.template.removesuffix("/").split("/")}:
            yield Problem("VALUE_INVALID", at, "A path has no empty parts and no dots")


@dataclass(frozen=True, config=_CLOSED, kw_only=True)
class Layout:
    """``configuration``: ``file:///folder``, or the address of a bucket over HTTP."""

    url: str
    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")] = "us-east-1"
    addressing: Literal["path", "host"] = "path"
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 20.0


def laid_out(configuration: object) -> Layout:
    """Read a layout. Raises ConfigurationInvalid with everything that is wrong with it."""
    layout = configured(Layout, configuration)
    found = tuple(
        problem for number, place in enumerate(layout.places) for problem in place.problems(f"places.{number}")
    )
    if found:
        raise ConfigurationInvalid(found)
    return layout
