"""Perform one claimed step against its system, outside any transaction; whatever happens comes back as an outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cdp.compiler.reader import Reader
from cdp.connectors.base import Change, Code, Connector, Outcome, State, Subject, Updates
from cdp.connectors.holds import HOLD_RELEASED
from cdp.connectors.registry import connect
from cdp.core.db import Role, Tx
from cdp.core.platform import Platform
from cdp.operations import subjects
from cdp.operations.requests import callbacks, collecting, corrections, erasure, holding, packing
from cdp.operations.requests.outcomes import outcome_of
from cdp.operations.requests.tasks import Performed, Work
from cdp.operations.subjects import SealedPerson
from cdp.tables.request import TaskStep


async def perform(platform: Platform, reader: Reader, work: Work) -> Performed:
    """Do what the task asks. Never raises for anything a system does, nor for a bug of ours."""
    try:
        sealed = subjects.unseal(platform.keys, work.request_id, work.identifiers_sealed or b"")
        if work.step is TaskStep.PACK:
            return await packing.pack(platform, work, sealed)
        if work.step is TaskStep.READ:
            return Performed(await collecting.collect(platform, reader, work, sealed))
        if work.step is TaskStep.ERASE and work.is_own:
            return Performed(_waiting_for_its_transaction(), then=_erase_own(platform, work, sealed))
        if work.step is TaskStep.UPDATE and work.is_own:
            return Performed(_waiting_for_its_transaction(), then=_apply_own(work))
        return await _ask_unless_held(platform, work, sealed)
    except Exception as error:  # noqa: BLE001 - a bug in one connector must not stop the worker; it ends in needs_attention
        return Performed(outcome_of(error))


async def _ask_unless_held(platform: Platform, work: Work, sealed: SealedPerson) -> Performed:
    """Ask the system, unless a legal hold keeps what it has; one that ended meanwhile lets it be asked after all."""
    if work.step is TaskStep.ERASE and work.is_held:
        async with platform.db.transaction(Role.WORKER) as tx:
            held = await holding.keeps(tx, work.system, sealed.person.customer_id)
        if held is not None:
            return Performed(held, then=_still_held(work, sealed))
    return Performed(holding.said_by_others(work.system, await _ask(platform, work, sealed)))


def _still_held(work: Work, sealed: SealedPerson) -> Callable[[Tx], Awaitable[Outcome]]:
    async def look(tx: Tx) -> Outcome:
        held = await holding.keeps(tx, work.system, sealed.person.customer_id)
        return held or Outcome(State.WAITING, HOLD_RELEASED, retry_after_s=0.1)

    return look


async def _ask(platform: Platform, work: Work, sealed: SealedPerson) -> Outcome:
    connector = connect(work.system, platform)
    known = sealed.subject(work.request_id)
    subject = replace(known, callback=callbacks.callback_of(platform, work, sealed.key))
    wanted: list[Change] = []
    if work.step is TaskStep.UPDATE:
        async with platform.db.transaction(Role.WORKER) as tx:
            wanted = await corrections.changes(tx, work.request_id)
    async with asyncio.timeout(platform.settings.task_timeout_s):
        return await _call(connector, work, subject, wanted)


def _call(connector: Connector, work: Work, subject: Subject, wanted: list[Change]) -> Awaitable[Outcome]:
    if work.step is TaskStep.UPDATE:
        return connector.update(subject, work.key, wanted) if isinstance(connector, Updates) else _not_offered()
    calls = {TaskStep.CHECK: connector.check, TaskStep.ERASE: connector.erase, TaskStep.VERIFY: connector.verify}
    return calls[work.step](subject, work.key)


async def _not_offered() -> Outcome:
    return Outcome(State.UNSUPPORTED, Code.NOT_OFFERED)


def _apply_own(work: Work) -> Callable[[Tx], Awaitable[Outcome]]:
    async def apply(tx: Tx) -> Outcome:
        return await corrections.apply_own(tx, work.request_id)

    return apply


def _waiting_for_its_transaction() -> Outcome:
    return Outcome(State.RETRY, Code.BUSY)


def _erase_own(platform: Platform, work: Work, sealed: SealedPerson) -> Callable[[Tx], Awaitable[Outcome]]:
    async def erase(tx: Tx) -> Outcome:
        return await erasure.erase_own(tx, platform, work.request_id, sealed)

    return erase
