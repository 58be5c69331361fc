"""Collect what one system holds for an export, and park it sealed until everything is there to be packed."""

from contextlib import aclosing

from cdp.connectors.base import Code, Outcome, State
from cdp.connectors.registry import connect
from cdp.core.clock import iso
from cdp.core.platform import Platform
from cdp.operations import parked, subjects
from cdp.operations.subjects import SealedPerson
from cdp.operations.tasks import Work


async def collect(platform: Platform, work: Work, sealed: SealedPerson) -> Outcome:
    """Read everything one system holds. Raises Unfinished or TimeoutError when it can not be had whole."""
    connector = connect(work.system, platform)
    subject = sealed.subject(platform.keys, work.request_id)
    began = platform.clock()
    pages = connector.read(subject, work.key)
    key = platform.keys.get(subjects.key_name(work.request_id))
    prefix = parked.place(work.request_id, work.system.name, work.fence)
    async with aclosing(pages):  # type: ignore[type-var]  # every connector's read is an async generator
        found = await parked.park(platform.blobs, key, prefix, pages, timeout_s=platform.settings.task_timeout_s)
    counts = {file_name(one.name): one.records for one in found}
    code = Code.FOUND if any(counts.values()) else Code.NOTHING_FOUND
    return Outcome(State.DONE, code, {"fence": work.fence, "readAt": iso(began)}, records=counts)


def file_name(collection: str) -> str:
    """A collection's name as a file's: letters, digits, dots, dashes and underscores."""
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in collection
    )
    return kept.strip(".")[:100] or "records"
