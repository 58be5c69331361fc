"""Collect what one system holds for an export, and park it sealed until everything is there to be packed."""

from contextlib import aclosing

from cdp.compiler.reader import Reader
from cdp.connectors.base import Code, Evidence, Outcome, State
from cdp.connectors.registry import connect
from cdp.core.clock import iso
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations import subjects
from cdp.operations.packages import parked
from cdp.operations.packages.formats import file_name
from cdp.operations.packages.subject_access import Snapshot
from cdp.operations.requests import exports
from cdp.operations.requests.tasks import Work
from cdp.operations.subjects import SealedPerson


async def collect(platform: Platform, reader: Reader, work: Work, sealed: SealedPerson) -> Outcome:
    """Read everything one system holds. Raises Unfinished or TimeoutError when it can not be had whole."""
    began = platform.clock()
    snapshot = Snapshot(reader, platform.db, sealed.person.customer_id)
    if work.is_own:
        async with platform.db.transaction(Role.WORKER) as tx:
            chosen = await exports.choices_of(tx, platform.sealer, work.request_id)
        pages = snapshot.pages(chosen)
    else:
        subject = sealed.subject(work.request_id)
        pages = connect(work.system, platform).read(subject, work.key)
    key = platform.keys.get(subjects.key_name(work.request_id))
    prefix = parked.place(work.request_id, work.system.name, work.fence)
    async with aclosing(pages):  # type: ignore[type-var]  # every connector's read is an async generator
        found = await parked.park(platform.blobs, key, prefix, pages, timeout_s=platform.settings.task_timeout_s)
    counts = {file_name(one.name): one.records for one in found}
    code = Code.FOUND if any(counts.values()) else Code.NOTHING_FOUND
    evidence: dict[str, Evidence] = {"fence": work.fence, "readAt": iso(snapshot.at or began)}
    return Outcome(State.DONE, code, evidence, records=counts)
