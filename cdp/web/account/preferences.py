"""What customers let us send and do: yes and no side by side, nothing ticked beforehand, and what they said before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from cdp.core.errors import Conflict
from cdp.operations.profile import consents
from cdp.operations.reference import PURPOSES, PurposeText
from cdp.operations.requests.objections import MARKETING
from cdp.tables.consent import Channel, ConsentAction
from cdp.web.account.listings import Row
from cdp.web.visit import Problem, Visit
from cdp.web.words import CHANNEL, with_times

PATH = "/account/preferences"
BY_CHANNEL = (Channel.EMAIL, Channel.PHONE, Channel.SMS, Channel.POST)
NOTICES: Mapping[str, str] = {
    "saved": "Saved. It counts from now on.",
    "same": "You changed nothing, and so did we.",
    "stopped": "All marketing is stopped.",
}
Key = tuple[str, Channel]


@dataclass(frozen=True)
class Choice:
    """One box: a purpose by a channel; ``wording`` is what agreeing to it means, and what the ledger keeps."""

    key: Key
    label: str
    wording: str
    is_given: bool
    since: datetime | None

    @property
    def name(self) -> str:
        """The value of its box."""
        return f"{self.key[0]}:{self.key[1].value}"


@dataclass(frozen=True)
class Question:
    """A purpose that rests on consent, and its boxes."""

    purpose: PurposeText
    choices: tuple[Choice, ...]


async def show(visit: Visit) -> Response:
    """The boxes as they stand, and the ledger."""
    return await _page(visit)


async def _page(visit: Visit, problems: Sequence[Problem] = (), *, status: int | None = None) -> Response:
    customer = await _read(visit)
    asked = _questions(customer)
    return visit.page(
        "account/preferences.html",
        title="Preferences",
        problems=problems,
        status=status,
        messages=[one for one in asked if one.purpose.code in MARKETING],
        uses=[one for one in asked if one.purpose.code not in MARKETING],
        history=customer["consents"]["nodes"],
        kept=customer["preferences"],
        notice=NOTICES.get(visit.request.query_params.get("done", "")),
        asks_not_to_sell=visit.request.headers.get("sec-gpc") == "1",
    )


async def submit(visit: Visit) -> Response:
    """Write what was changed and nothing else; the button that stops marketing leaves the other boxes as they are."""
    choices = [one for question in _questions(await _read(visit)) for one in question.choices]
    stops = bool(visit.field("stop"))
    ticked = {one for one in visit.form.getlist("agree") if isinstance(one, str)}
    if stops:
        changed = [one for one in choices if one.is_given and one.key[0] in MARKETING]
    else:
        changed = [one for one in choices if one.is_given is not (one.name in ticked)]
    viewer, platform, now = visit.viewer, visit.platform, visit.now
    try:
        async with platform.db.transaction(viewer.role, subject=viewer.subject) as tx:
            for one in changed:
                change = consents.withdraw if one.is_given else consents.give
                await change(tx, viewer, one.key[0], channel=one.key[1], wording=one.wording, now=now)
    except Conflict as error:  # an account that is being deleted changes no more
        return await _page(visit, [Problem("", error.message)], status=error.status)
    done = "stopped" if stops else "saved" if changed else "same"
    return visit.redirect(f"{PATH}?done={done}")


async def _read(visit: Visit) -> Row:
    found: Row = with_times((await visit.read("account/preferences.graphql"))["viewer"]["customer"])
    return found


def _questions(customer: Row) -> list[Question]:
    newest = {(row["purposeCode"], Channel[row["channel"]]): row for row in customer["currentConsents"]}
    return [
        Question(
            one, tuple(_choice(one, channel, newest.get((one.code, channel))) for channel in _channels(one, newest))
        )
        for one in PURPOSES
        if one.needs_consent
    ]


def _channels(purpose: PurposeText, newest: Mapping[Key, Row]) -> tuple[Channel, ...]:
    """Marketing comes by a channel; who once agreed to any of them still sees that box."""
    if purpose.code not in MARKETING:
        return (Channel.ANY,)
    was_asked = (purpose.code, Channel.ANY) in newest
    return (*BY_CHANNEL, *((Channel.ANY,) if was_asked else ()))


def _choice(purpose: PurposeText, channel: Channel, row: Row | None) -> Choice:
    is_marketing = purpose.code in MARKETING
    label = CHANNEL[channel] if is_marketing else "Yes, you may"
    by = f" {CHANNEL[channel]}." if is_marketing else ""
    is_given = row is not None and row["action"] == ConsentAction.GIVEN.name
    since = row["recordedAt"] if row is not None else None
    return Choice((purpose.code, channel), label, f"{purpose.title}: {purpose.description}{by}", is_given, since)
