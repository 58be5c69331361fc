"""Ask for a copy of what one chooses: which data, in which forms, in parts of which size, and locked how."""

from enum import StrEnum
from typing import Any, TypeVar

from starlette.responses import Response

from cdp.core.age import AgeKeyInvalid
from cdp.operations.collection import CustomerFrozen
from cdp.operations.packages.choices import (
    EVERYTHING,
    Choices,
    ExportCategory,
    ExportFormat,
    LockedTwice,
    NothingChosen,
    PartSizeInvalid,
    PassphraseWeak,
    read,
)
from cdp.operations.requests import requests
from cdp.web.account.categories import CATEGORIES
from cdp.web.visit import Problem, Visit

PATH = "/account/export"
MB = 1024 * 1024
SIZES = (
    ("", "One file, however large"),
    (str(100 * MB), "Parts of 100 MB"),
    (str(1024 * MB), "Parts of 1 GB"),
    (str(4 * 1024 * MB), "Parts of 4 GB"),
)
_CATEGORIES = {
    **{ExportCategory(one.slug): one.title for one in CATEGORIES},
    ExportCategory.SYSTEMS: "What systems connected to us hold",
}
_FORMATS = {
    ExportFormat.HTML: "A page to read",
    ExportFormat.JSON: "JSON, for other services",
    ExportFormat.CSV: "CSV, for spreadsheets",
}
_FIELDS = {PartSizeInvalid: "part", PassphraseWeak: "passphrase", LockedTwice: "passphrase", AgeKeyInvalid: "age-key"}
One = TypeVar("One", bound=StrEnum)


async def show(visit: Visit) -> Response:
    """What can be chosen; everything is."""
    return _page(visit, [], EVERYTHING)


async def submit(visit: Visit) -> Response:
    """Open the request, or join the one under way. An old sign-in is renewed before anything is looked at."""
    visit.require_fresh()
    viewer, platform = visit.viewer, visit.platform
    chosen = _chosen(visit)
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            opened = await requests.open_export(tx, viewer, platform, chosen=chosen)
    except CustomerFrozen as error:
        return _page(visit, [Problem("", error.message)], chosen)
    except NothingChosen as error:
        return _page(visit, [Problem("category" if chosen.formats else "format", error.message)], chosen)
    except (PartSizeInvalid, PassphraseWeak, LockedTwice, AgeKeyInvalid) as error:
        return _page(visit, [Problem(_FIELDS[type(error)], error.message)], chosen)
    return visit.redirect(f"/account/downloads/{opened.reference}")


def _chosen(visit: Visit) -> Choices:
    size = visit.field("part")
    part_bytes = int(size) if size.isascii() and size.isdigit() and len(size) < 18 else -1
    return Choices(
        _ticked(visit, "category", ExportCategory),
        _ticked(visit, "format", ExportFormat),
        part_bytes if size else None,
        visit.field("age-key") or None,
        visit.secret("passphrase") or None,
    )


def _ticked(visit: Visit, name: str, known: type[One]) -> frozenset[One]:
    """What was ticked; what nobody offered counts for nothing."""
    given = set(visit.form.getlist(name))
    return frozenset(one for one in known if one.value in given)


def chosen_titles(document: dict[str, Any] | None) -> list[str]:
    """What a copy holds, in words; nothing for one that holds everything."""
    chosen = read(document, None)
    return [] if chosen.is_everything else [title for one, title in _CATEGORIES.items() if one in chosen.categories]


def _page(visit: Visit, problems: list[Problem], chosen: Choices) -> Response:
    return visit.page(
        "account/export.html",
        title="Choose what your copy holds",
        problems=problems,
        again=None if visit.is_fresh else visit.sign_in_again(PATH),
        categories=[(one.value, title, one in chosen.categories) for one, title in _CATEGORIES.items()],
        formats=[(one.value, title, one in chosen.formats) for one, title in _FORMATS.items()],
        sizes=SIZES,
        part=visit.field("part"),
        age_key=chosen.age_key or "",
    )
