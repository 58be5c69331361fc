"""The two ends of an erasure: what a person is shown before it, and what has to happen before our own rows go.

The end comes once every other system is verified. Each part of it can be done again after a crash and comes to the
same: packages and their keys are destroyed, unsent messages cancelled, the last message sent, the journal entry
durable. Only then our own rows become a task.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from cdp.access.viewer import SYSTEM, Viewer
from cdp.connectors.base import Outcome, State, Subject, System
from cdp.connectors.holds import Hold, effective_of, is_of_a_hold
from cdp.connectors.own.connector import erased_outcome
from cdp.connectors.own.rows import erase_rows
from cdp.connectors.registry import connect
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput, NotFound
from cdp.core.ids import RequestId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, journal, letters, messages, moves, subjects, suppression, systems
from cdp.operations.accounts import sessions
from cdp.operations.attachments import attachments
from cdp.operations.bulk import reach
from cdp.operations.letters import Template
from cdp.operations.moves import RequestRow
from cdp.operations.partners import recalls
from cdp.operations.requests import closing, evidence, exports, holding, reached, survey
from cdp.operations.requests.outcomes import outcome_of
from cdp.operations.requests.tasks import open_tasks
from cdp.operations.subjects import SealedPerson
from cdp.tables.base import Category
from cdp.tables.manual import manual_task
from cdp.tables.request import SETTLED, RequestStatus, TaskStep

SCOPE = "privacy:erase"
WORD = "DELETE"


class ConfirmationMissing(InvalidInput):
    """Type DELETE to confirm."""

    code = "CONFIRMATION_MISSING"


@dataclass(frozen=True)
class SystemPreview:
    """What an erasure would do in one system. Anything but ``done`` means: the system could not say."""

    name: str
    title: str
    outcome: Outcome

    @property
    def is_known(self) -> bool:
        """Whether the system answered what it would do."""
        return self.outcome.state is State.DONE

    @property
    def will_erase(self) -> int:
        """Records that would go."""
        return sum(self.outcome.records.values())

    @property
    def will_keep(self) -> int:
        """Records that would stay under a law, without the person."""
        return sum(kept.records for kept in self.outcome.retained)

    @property
    def cut(self) -> dict[str, int]:
        """Those of the kept records, by kind, that would lose the person: not what a legal hold keeps as it is.

        A system that tells (``tables`` in its evidence) may keep others that name nobody.
        """
        losing = {kept.collection: kept.records for kept in self.outcome.retained if not is_of_a_hold(kept)}
        tables = self.outcome.evidence.get("tables")
        if not isinstance(tables, dict):
            return losing
        told = {name: counts.get("cut") for name, counts in tables.items() if isinstance(counts, dict)}
        return {name: count for name, count in told.items() if name in losing and isinstance(count, int)}


def check_confirmation(typed: str) -> None:
    """Hold what somebody typed against the word that confirms. Raises ConfirmationMissing."""
    if typed.strip().casefold() != WORD.casefold():
        raise ConfirmationMissing


async def preview(platform: Platform, viewer: Viewer) -> tuple[SystemPreview, ...]:
    """Ask every system what an erasure of the viewer would remove and keep, and why; nothing changes.

    All systems are asked at once, each within its time-out; one that does not answer is shown as such.
    Raises MissingScope, NotFound.
    """
    customer_id = viewer.subject
    viewer.require_scope(SCOPE)
    async with platform.db.transaction(Role.WORKER) as tx:  # a system's configuration is not for a customer's role
        person = await subjects.gather(tx, customer_id)
        connected = await systems.connections(tx)
    if person is None:
        raise NotFound
    request_id = RequestId(new_id())
    subject = Subject(
        request_id,
        customer_id,
        person.subject_ref,
        person.identifiers,
        secrets.token_bytes(32),
        former_ids=person.former_ids,
    )

    async def ask(title: str, known: System) -> SystemPreview:
        return SystemPreview(known.name, title, await _check(platform, known, subject))

    return tuple(await asyncio.gather(*(ask(title, known) for title, known in connected)))


async def _check(platform: Platform, known: System, subject: Subject) -> Outcome:
    """Call one system's check; whatever happens comes back as an outcome."""
    try:
        async with asyncio.timeout(platform.settings.task_timeout_s):
            return await connect(known, platform).check(subject, f"{subject.request_id}:{known.name}:check")
    except Exception as error:  # noqa: BLE001 - one broken connector must not hide the others' answers
        return outcome_of(error)


@dataclass(frozen=True)
class Leaving:
    """Somebody to be buried; ``left_out`` are the systems that did not erase or were not read again."""

    request: RequestRow
    sealed: SealedPerson
    left_out: frozenset[UUID]


@dataclass(frozen=True)
class Burial:
    """Somebody whom every other system has forgotten; ``held`` is what legal holds keep of our own rows."""

    request: RequestRow
    sealed: SealedPerson
    held: Sequence[Hold]
    outside: survey.Outside

    @property
    def is_ready(self) -> bool:
        """Whether nothing is outside their own rows, or on its way to them."""
        outside = self.outside
        there = (outside.requests, outside.exports, outside.has_evidence, outside.has_documents, outside.has_bulk)
        return not (any(there) or outside.has_unsent)


@dataclass(frozen=True)
class Buried:
    """Burials the journal has entries of, up to the highest number of them, each with its lines for the list."""

    burials: tuple[tuple[Burial, tuple[suppression.Entry, ...]], ...]
    entry: int


async def withdraw(tx: Tx, platform: Platform, people: Sequence[Leaving]) -> tuple[list[Burial], list[Buried]]:
    """Stop what is on its way out, under the locks of the requests, and journal those who are ready for it.

    Returns those who are not, and those who are.
    """
    if not people:
        return [], []
    held = await effective_of(tx, [one.sealed.person.customer_id for one in people])
    ready: list[Burial] = []
    left: list[Burial] = []
    for leaving in people:
        of_them = held[leaving.sealed.person.customer_id]
        outside = await _stop(tx, platform, leaving, is_held=bool(of_them))
        one = Burial(leaving.request, leaving.sealed, of_them, outside)
        (ready if one.is_ready else left).append(one)
    return left, [await _journal(tx, platform, ready)] if ready else []


async def destroy(platform: Platform, burial: Burial) -> Buried | None:
    """Destroy what is outside the person's rows, then journal them; nothing while a letter is on its way to them.

    Each part of it can be done again.
    """
    is_gone = await _destroy(platform, burial)
    if not is_gone or burial.outside.has_unsent:
        return None
    async with platform.db.transaction(Role.WORKER) as tx:
        if await messages.unsent(tx, messages.of(burial.request.customer_id, burial.request.id)):
            return None
        return await _journal(tx, platform, [burial])


async def _journal(tx: Tx, platform: Platform, burials: Sequence[Burial]) -> Buried:
    known = {one.sealed.person.customer_id: one.sealed.person.identifiers for one in burials}
    strong = await suppression.unshared(tx, known)
    lines = [tuple(suppression.entries(platform.pepper, strong[one.sealed.person.customer_id])) for one in burials]
    entries = [
        journal.Erased(
            one.request,
            one.sealed.person,
            [line.document for line in named],
            [hold.category.value for hold in one.held],
        )
        for one, named in zip(burials, lines, strict=True)
    ]
    entry = await journal.append_erasures(tx, platform, entries)
    return Buried(tuple(zip(burials, lines, strict=True)), entry)


async def bury(platform: Platform, buried: Sequence[Buried]) -> None:
    """Make the journal durable, then let our own rows be erased."""
    stored = await journal.store(platform, up_to=max(some.entry for some in buried))
    async with platform.db.transaction(Role.WORKER) as tx:
        await _open_own(tx, platform, {one.request.id: (one, lines) for some in buried for one, lines in some.burials})
        await journal.note_published(tx, stored)


async def _stop(tx: Tx, platform: Platform, leaving: Leaving, *, is_held: bool) -> survey.Outside:
    """Stop the person's exports and letters, and queue the last letter, which names the systems that were left out.

    Returns what there was besides. While a legal hold keeps part of it, that letter says so, and the last one comes
    after the hold.
    """
    request, sealed, left_out = leaving.request, leaving.sealed, leaving.left_out
    person, last = sealed.person, Template.ERASURE_PARTLY if left_out else Template.ERASURE_FINAL
    if is_held:
        last = Template.ERASURE_HELD
    outside = await survey.look(tx, request, person, last=last)
    if outside.is_signed_in:
        # Who signed in to watch or undo is signed out too, and every app is told.
        await sessions.end_everywhere(tx, customer_id=person.customer_id, now=platform.clock())
    for other_id in outside.requests:  # a handful at most, each with its own audit events
        other = await moves.lock(tx, other_id)
        if other is not None and other.status not in SETTLED:
            await moves.move(tx, other, RequestStatus.CANCELLED, code="ERASED")
        await exports.revoke_of(tx, RequestId(other_id))
    if outside.has_letters:
        await messages.cancel_unsent(tx, messages.of(request.customer_id, request.id), but=last)
    was_told = outside.was_told or (last is Template.ERASURE_HELD and outside.has_begun)
    if not person.recipient or was_told:
        return outside
    letter = letters.write(
        last,
        person.locale,
        reference=request.reference,
        link=letters.status_link(platform.settings.url, request.reference, sealed.status_key),
        secret=sealed.status_key,
        salt=subjects.salt_of(sealed.status_key),
        systems="\n".join(f"- {title}" for title in await systems.titles(tx, left_out)) if left_out else "",
    )
    await messages.queue(tx, request.customer_id, person.recipient, letter, request_id=request.id)
    return replace(outside, has_unsent=True)


async def _destroy(platform: Platform, burial: Burial) -> bool:
    """Destroy what is outside the person's rows, keys first; False while a bulk export still has them."""
    request, outside, held = burial.request, burial.outside, burial.held
    customer_id = burial.sealed.person.customer_id
    for request_id in outside.requests:
        await closing.close(platform, request_id)
    for export_id in outside.exports:
        await exports.remove(platform, export_id)
    if outside.has_evidence and Category.REQUEST not in {hold.category for hold in held}:
        await evidence.destroy(platform, customer_id=request.customer_id, request_id=request.id)
    if outside.has_documents:
        await attachments.destroy(platform, manual_task, manual_task.c.request_id == request.id)
        if not held:
            await attachments.destroy_of(platform, request.subject_ref, customer_id)
    if not outside.has_bulk or request.customer_id is None:
        return True
    return await reach.forget(platform, request.id, request.customer_id)


async def _open_own(
    tx: Tx, platform: Platform, buried: Mapping[RequestId, tuple[Burial, Sequence[suppression.Entry]]]
) -> None:
    """Let our own rows be erased, once the journal has it."""
    locked = await moves.lock_many(tx, list(buried))
    requests = [request for request in locked if request.status is RequestStatus.VERIFYING]
    if not requests:
        return
    suppressed = await suppression.suppress(tx, {request.id: buried[request.id][1] for request in requests})
    own = [await systems.own_id(tx)]
    again = await holding.again(tx, [request.id for request in requests])
    first = await open_tasks(tx, TaskStep.ERASE, [(request.id, request.customer_id, own) for request in requests])
    # of the others another worker, here at the same time, did all of this
    new = [request for request in requests if request.id in again or first[request.id]]
    people = [buried[request.id][0].sealed.person.customer_id for request in new]
    await recalls.of_people(tx, people, now=platform.clock())
    await audit.record_many(
        tx,
        SYSTEM,
        [
            audit.Happened(
                "erasure.journalled",
                request.subject_ref,
                "PrivacyRequest",
                request.id,
                details={"suppressed": suppressed[request.id]},
            )
            for request in new
        ],
    )


async def erase_own(tx: Tx, platform: Platform, request_id: RequestId, sealed: SealedPerson) -> Outcome:
    """Remove the person from our own tables, in the transaction that settles the task.

    The journal is told where a hold began or ended since its entry: a replay keeps what is kept here.
    """
    left = await reached.counts(tx, request_id, sealed.person.customer_id)
    erased = await erase_rows(tx, sealed.person.customer_id, request_id=request_id)
    await messages.forget(tx, request_id)
    held = [hold.category.value for hold in erased.held]
    await journal.correct_held(tx, platform, request_id, held)
    await audit.record(
        tx,
        SYSTEM,
        "customer.erased_in_part" if held else "customer.erased",
        subject_ref=sealed.person.subject_ref,
        object_type="PrivacyRequest",
        object_id=request_id,
        details={"deleted": dict(erased.deleted), "cut": dict(erased.cut)} | ({"held": held} if held else {}),
    )
    outcome = await holding.with_earlier(tx, request_id, erased_outcome(erased))
    return replace(outcome, evidence={**outcome.evidence, "reached": left})
