"""Delete the account: what goes, what stays and why; then a typed word; then the request's own page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from cdp.connectors.base import Code
from cdp.operations.accounts.sessions import COOKIES
from cdp.operations.requests import erasure, requests
from cdp.operations.requests.erasure import ConfirmationMissing, SystemPreview
from cdp.web.account.request import COOKIE
from cdp.web.visit import Problem, Visit
from cdp.web.words import reason, records

WORD = erasure.WORD


Line = tuple[str, str]
"""What happens to one kind of record, and why."""


@dataclass(frozen=True)
class Part:
    """One system's part of a list: its title and what happens there."""

    title: str
    lines: tuple[Line, ...]


async def show(visit: Visit) -> Response:
    """Ask every system what it would do, and show it; an erasure under way has its own page."""
    customer = (await visit.read("account/delete.graphql"))["viewer"]["customer"]
    for request in customer["requests"]["nodes"]:
        if not request["isSettled"]:
            return visit.redirect(f"/account/requests/{request['reference']}")
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Open the request; the account freezes and the visitor is signed out, with a key to the status page."""
    viewer, platform = visit.viewer, visit.platform
    try:
        _check_confirmation(visit)
    except ConfirmationMissing:
        return await _page(visit, [Problem("confirmation", f"Type {WORD} or your user name to confirm.")])
    async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
        opened = await requests.open_erasure(tx, viewer, platform, reason=visit.field("reason") or None)
    if opened.status_key is None:
        return visit.redirect(f"/account/requests/{opened.reference}")
    visit.set_cookie(COOKIE, opened.status_key)
    visit.set_cookie(COOKIES[visit.actor], "")
    return visit.redirect(f"/account/requests/{opened.reference}")


def _check_confirmation(visit: Visit) -> None:
    """The word, or the user name (most often an e-mail address): what is easier to type."""
    typed = visit.field("confirmation")
    assert visit.session is not None, "the guard lets nobody in without one"
    if typed.casefold() != visit.session.username.casefold():
        erasure.check_confirmation(typed)


async def _page(visit: Visit, problems: list[Problem]) -> Response:
    preview = await erasure.preview(visit.platform, visit.viewer)
    assert visit.session is not None, "the guard lets nobody in without one"
    return visit.page(
        "account/delete.html",
        title="Delete your account",
        problems=problems,
        deleted=_parts(preview, _deleted),
        kept=_parts(preview, _kept),
        anonymous=_parts(preview, _anonymous),
        silent=_parts(preview, _silent),
        unproven=_parts(preview, _unproven),
        cooling_off=visit.platform.settings.cooling_off,
        word=WORD,
        username=visit.session.username,
        typed=visit.field("confirmation"),
        reason=visit.field("reason"),
    )


def _parts(preview: Sequence[SystemPreview], lines: Callable[[SystemPreview], Iterable[Line]]) -> list[Part]:
    parts = [Part(one.title, tuple(lines(one))) for one in preview]
    return [part for part in parts if part.lines]


def _deleted(one: SystemPreview) -> Iterable[Line]:
    return [(records(name, count), "") for name, count in one.outcome.records.items() if count and one.is_known]


def _kept(one: SystemPreview) -> Iterable[Line]:
    for kept in one.outcome.retained:
        until = f", until {kept.until:%-d %B %Y}" if kept.until else ""
        yield records(kept.collection, kept.records), f"{kept.basis}{until}"


def _anonymous(one: SystemPreview) -> Iterable[Line]:
    return [(records(name, count), "") for name, count in one.cut.items()]


def _silent(one: SystemPreview) -> Iterable[Line]:
    """Systems with nothing to delete, and those that could not say."""
    says_nothing = not one.is_known or not (one.outcome.records or one.outcome.retained)
    if says_nothing and one.outcome.code != Code.NO_IDENTIFIER:
        yield reason(one.outcome.code), ""


def _unproven(one: SystemPreview) -> Iterable[Line]:
    """Systems that know people by nothing that was proven to be the visitor's."""
    if one.outcome.code == Code.NO_IDENTIFIER:
        yield reason(one.outcome.code), ""
