"""A deletion: an erasure over every system that begins at once, waited for a while; or its rehearsal.

The caller has had it confirmed by the person, so nothing cools off. Whatever is open already is joined, at its own
pace: an erasure asked for here keeps the time in which the person was promised to undo it. Only what was verified in
every system is done. Why: docs/decisions/0011-deletions-others-have-confirmed.md.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from sqlalchemy import func, select, update

from cdp.connectors.base import Identifier, Outcome, State
from cdp.connectors.holds import effective
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, RequestId
from cdp.core.platform import Platform
from cdp.operations import subjects
from cdp.operations.providers.gdpr_api import people
from cdp.operations.providers.gdpr_api.answers import DONE, Answered, Verdict
from cdp.operations.providers.gdpr_api.querying import CALLER, CHANNEL
from cdp.operations.providers.gdpr_api.service import Service
from cdp.operations.requests import erasure, opening
from cdp.operations.requests.erasure import SystemPreview
from cdp.operations.requests.opening import KINDS
from cdp.operations.requests.watch import RequestWatch
from cdp.operations.systems import OWN
from cdp.tables.request import RequestStatus, RequestType, TaskStatus, TaskStep, privacy_request, request_task

S = RequestStatus
ERASURE = KINDS[RequestType.ERASURE]
UNDER_WAY = frozenset({S.CHECKING, S.COOLING_OFF, S.ERASING, S.VERIFYING})
_SAID: Mapping[RequestStatus, Verdict] = {
    S.COMPLETED: DONE,
    S.REFUSED: Verdict(Answered.REFUSED),
    S.HELD: Verdict(Answered.HELD),
    S.CANCELLED: Verdict(Answered.TAKEN_BACK),
    S.RECEIVED: Verdict(Answered.WAITS_FOR_DECISION),
    S.PAUSED: Verdict(Answered.WAITS_FOR_DECISION),
    S.NEEDS_ATTENTION: Verdict(Answered.NEEDS_ATTENTION),
    S.FAILED: Verdict(Answered.NEEDS_ATTENTION),
}


@dataclass(frozen=True)
class _Standing:
    """Where an erasure stands, and what that says to the caller; None while it may still end soon."""

    status: RequestStatus
    verdict: Verdict | None


async def delete(platform: Platform, watch: RequestWatch, service: Service, person: str) -> Verdict:
    """Delete a person everywhere, or join the deletion under way; waits for its end. Raises SeveralPeople."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await people.find(tx, platform, service, person)
        request_id = known.request_id
        if known.customer_id is not None:
            request_id = await _open(tx, platform, service, known.customer_id, person)
    if request_id is None:
        return DONE
    return await _wait(platform, watch, request_id)


async def rehearse(platform: Platform, service: Service, person: str) -> Verdict:
    """Answer as a deletion would, by everything it would check; nothing changes. Raises SeveralPeople."""
    async with platform.db.transaction(Role.WORKER) as tx:
        known = await people.find(tx, platform, service, person)
        request_id = known.request_id
        if known.customer_id is not None:
            request_id = await _open_one(tx, known.customer_id)
        standing = await _standing(tx, request_id) if request_id is not None else None
        held = await effective(tx, known.customer_id) if known.customer_id is not None else ()
    if standing is not None and standing.status is not S.CHECKING:
        return standing.verdict or Verdict(Answered.UNDER_WAY)
    if known.customer_id is None:
        return DONE
    theirs = replace(CALLER, customer_id=known.customer_id, scopes=frozenset({erasure.SCOPE}))
    try:
        asked = await erasure.preview(platform, theirs)
    except NotFound:
        return DONE  # erased while we looked
    return _expected(asked) if not held else Verdict(Answered.HELD)


async def _open(tx: Tx, platform: Platform, service: Service, customer_id: CustomerId, person: str) -> RequestId | None:
    """The erasure of a customer, opened now or before; None when they are gone. Locks the customer row."""
    try:
        await opening.lock_customer(tx, customer_id)
    except NotFound:
        return None
    known_here = await subjects.gather(tx, customer_id)
    there = await opening.join(tx, CALLER, customer_id, RequestType.ERASURE)
    vouched = people.as_identifier(service, person)
    if there is not None:
        await _know_as_well(tx, platform, there.id, vouched)
        return there.id
    if known_here is None:
        return None
    known = replace(known_here, identifiers=subjects.merged([*known_here.identifiers, vouched]))
    opened = await opening.write(
        tx, CALLER, platform, known, ERASURE, status=ERASURE.status, channel=CHANNEL, is_confirmed=True
    )
    await opening.start(tx, platform, opened, known, ERASURE, is_confirmed=True)
    return opened.id


async def _know_as_well(tx: Tx, platform: Platform, request_id: RequestId, vouched: Identifier) -> None:
    """Let a request that was open before find, and be found by, the caller's id too."""
    mine = privacy_request.c.id == request_id
    sealed = await tx.scalar(select(privacy_request.c.identifiers_sealed).where(mine).with_for_update())
    person = subjects.unseal(platform.keys, request_id, sealed or b"").with_identifiers([vouched])
    again = subjects.seal(platform.keys, request_id, person)
    await tx.execute(update(privacy_request).where(mine).values(identifiers_sealed=again))


async def _open_one(tx: Tx, customer_id: CustomerId) -> RequestId | None:
    found = select(privacy_request.c.id).where(
        privacy_request.c.customer_id == customer_id,
        privacy_request.c.type == RequestType.ERASURE,
        privacy_request.c.settled_at.is_(None),
    )
    request_id: RequestId | None = await tx.scalar(found)
    return request_id


async def _wait(platform: Platform, watch: RequestWatch, request_id: RequestId) -> Verdict:
    """Follow a request until it says something, as long as a caller waits."""
    try:
        async with (
            asyncio.timeout(platform.settings.gdpr_api_wait_s),
            aclosing(watch.versions(request_id)) as versions,
        ):
            async for _ in versions:
                async with platform.db.transaction(Role.WORKER) as tx:
                    standing = await _standing(tx, request_id)
                if standing.verdict is not None:
                    return standing.verdict
    except TimeoutError:
        pass
    return Verdict(Answered.UNDER_WAY)


async def _standing(tx: Tx, request_id: RequestId) -> _Standing:
    row = await tx.first(
        select(
            privacy_request.c.status, (privacy_request.c.cooling_off_until > func.now()).label("can_be_undone")
        ).where(privacy_request.c.id == request_id)
    )
    if row is None:
        return _Standing(S.FAILED, Verdict(Answered.TECHNICAL_ERROR))
    verdict = _SAID.get(row.status)
    if row.status is S.COOLING_OFF and row.can_be_undone:
        verdict = Verdict(Answered.COOLING_OFF)
    elif row.status is S.NEEDS_ATTENTION and await _was_refused(tx, request_id):
        verdict = Verdict(Answered.REFUSED_BY_SYSTEM)
    return _Standing(row.status, verdict)


async def _was_refused(tx: Tx, request_id: RequestId) -> bool:
    """Whether a system said no when it was asked, before anything was erased."""
    refused = select(request_task.c.id).where(
        request_task.c.request_id == request_id,
        request_task.c.step == TaskStep.CHECK,
        request_task.c.status.in_((TaskStatus.REFUSED, TaskStatus.HELD)),
    )
    return await tx.scalar(refused.limit(1)) is not None


def _expected(asked: tuple[SystemPreview, ...]) -> Verdict:
    """How a deletion would end, by what every system says it would do."""
    outcomes: list[tuple[str, Outcome]] = [(one.name, one.outcome) for one in asked]
    states = {outcome.state for _, outcome in outcomes}
    if any(name == OWN and outcome.state is State.REFUSED for name, outcome in outcomes):
        return Verdict(Answered.REFUSED)
    if states & {State.REFUSED, State.HELD}:
        return Verdict(Answered.REFUSED_BY_SYSTEM)
    if State.FAILED in states:
        return Verdict(Answered.NEEDS_ATTENTION)
    return DONE if states <= {State.DONE, State.UNSUPPORTED} else Verdict(Answered.UNDER_WAY)
