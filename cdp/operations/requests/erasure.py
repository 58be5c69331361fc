"""The two ends of an erasure: what a person is shown before it, and what has to happen before our own rows go.

The end comes once every other system is verified. Each part of it can be done again after a crash and comes to the
same: packages and their keys are destroyed, unsent messages cancelled, the last message sent, the journal entry
durable. Only then our own rows become a task.
"""

import asyncio
import secrets
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import ColumnElement, select

from cdp.access.viewer import SYSTEM, Viewer
from cdp.connectors.base import Outcome, State, Subject, System
from cdp.connectors.holds import Hold, effective, is_of_a_hold
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
from cdp.operations.requests import closing, evidence, exports, holding, reached
from cdp.operations.requests.outcomes import outcome_of
from cdp.operations.requests.tasks import open_tasks
from cdp.operations.subjects import SealedPerson
from cdp.tables.base import Category
from cdp.tables.export import export
from cdp.tables.manual import manual_task
from cdp.tables.request import SETTLED, RequestStatus, TaskStep, privacy_request, request_task

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
    subject = Subject(request_id, customer_id, person.subject_ref, person.identifiers, secrets.token_bytes(32))

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


async def bury(platform: Platform, request: RequestRow, sealed: SealedPerson) -> bool:
    """Do all that goes before our own rows, then open their task; False while the last message is on its way."""
    customer_id = sealed.person.customer_id
    held = await _held(platform, sealed)
    for request_id in await _withdraw(platform, request, sealed, is_held=bool(held)):
        await closing.close(platform, request_id)
    for export_id in await _exports(platform, request):
        await exports.remove(platform, export_id)
    if Category.REQUEST not in {hold.category for hold in held}:
        await evidence.destroy(platform, customer_id=request.customer_id, request_id=request.id)
    await attachments.destroy(platform, manual_task, manual_task.c.request_id == request.id)
    if not held:
        await attachments.destroy_of(platform, request.subject_ref, sealed.person.customer_id)
    if request.customer_id is not None and not await reach.forget(platform, request.id, request.customer_id):
        return False
    async with platform.db.transaction(Role.WORKER) as tx:
        if await messages.unsent(tx, messages.of(request.customer_id, request.id)):
            return False
        strong = await suppression.unshared(tx, customer_id, sealed.person.identifiers)
        lines = suppression.entries(platform.pepper, strong)
        named, kept = [line.document for line in lines], [hold.category.value for hold in held]
        entry = await journal.append_erasure(tx, platform, request, sealed.person, named, held=kept)
    await journal.publish(platform, up_to=entry)
    async with platform.db.transaction(Role.WORKER) as tx:
        locked = await moves.lock(tx, request.id)
        if locked is None or locked.status is not RequestStatus.VERIFYING:
            return False
        suppressed = await suppression.suppress(tx, request.id, lines)
        own = [await systems.own_id(tx)]
        is_again = await holding.again(tx, request.id)
        is_first = await open_tasks(tx, request.id, request.customer_id, TaskStep.ERASE, own) > 0
        if not (is_again or is_first):  # another worker was here at the same time, and did all of this
            return False
        await recalls.of_person(tx, customer_id, now=platform.clock())
        await audit.record(
            tx,
            SYSTEM,
            "erasure.journalled",
            subject_ref=request.subject_ref,
            object_type="PrivacyRequest",
            object_id=request.id,
            details={"suppressed": suppressed},
        )
    return True


async def _held(platform: Platform, sealed: SealedPerson) -> tuple[Hold, ...]:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await effective(tx, sealed.person.customer_id)


async def _withdraw(platform: Platform, request: RequestRow, sealed: SealedPerson, *, is_held: bool) -> list[UUID]:
    """Stop the person's exports and letters, and queue the last letter; returns their other requests.

    While a legal hold keeps part of it, that letter says so, and the last one comes after the hold.
    """
    person, last = sealed.person, Template.ERASURE_HELD if is_held else Template.ERASURE_FINAL
    async with platform.db.transaction(Role.WORKER) as tx:
        await moves.lock(tx, request.id)
        # Who signed in to watch or undo is signed out too, and every app is told.
        await sessions.end_everywhere(tx, customer_id=person.customer_id, now=platform.clock())
        found = await tx.all(
            select(privacy_request.c.id).where(
                privacy_request.c.customer_id == request.customer_id, privacy_request.c.id != request.id
            )
        )
        for row in found:  # a handful at most, each with its own audit events
            other = await moves.lock(tx, row.id)
            if other is not None and other.status not in SETTLED:
                await moves.move(tx, other, RequestStatus.CANCELLED, code="ERASED")
            await exports.revoke_of(tx, RequestId(row.id))
        theirs = messages.of(request.customer_id, request.id)
        await messages.cancel_unsent(tx, theirs, but=last)
        if person.recipient and not await _was_told(tx, request, theirs, last):
            letter = letters.write(
                last,
                person.locale,
                reference=request.reference,
                link=letters.status_link(platform.settings.url, request.reference, sealed.status_key),
                secret=sealed.status_key,
                salt=subjects.salt_of(sealed.status_key),
            )
            await messages.queue(tx, request.customer_id, person.recipient, letter, request_id=request.id)
    return [row.id for row in found]


async def _was_told(tx: Tx, request: RequestRow, theirs: ColumnElement[bool], last: Template) -> bool:
    """Whether this letter was queued before; our own rows of it go, the task they went with stays."""
    began = select(request_task.c.id).where(
        request_task.c.request_id == request.id,
        request_task.c.step == TaskStep.ERASE,
        request_task.c.system_id == await systems.own_id(tx),
    )
    if last is Template.ERASURE_HELD and await tx.scalar(began) is not None:
        return True
    return await messages.exists(tx, theirs, last)


async def _exports(platform: Platform, request: RequestRow) -> list[UUID]:
    customer_id = request.customer_id
    async with platform.db.transaction(Role.WORKER) as tx:
        return [row.id for row in await tx.all(select(export.c.id).where(export.c.customer_id == customer_id))]


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
