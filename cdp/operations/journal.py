"""The erasure journal: one signed file an erasure in the object store, durable before our own rows go.

It lives outside the database, so that restoring an old backup can replay every erasure before anything is served: by
customer id, never by hash, so that whoever registered again is left alone. It holds ids, the date and keyed hashes.
"""

import json
from collections.abc import Iterable, Sequence

from cdp.core.blobs import ObjectMissing
from cdp.core.clock import iso
from cdp.core.ids import RequestId
from cdp.core.platform import Platform
from cdp.core.sign import canonical, encode
from cdp.operations.subjects import Person
from cdp.operations.suppression import Entry

PREFIX = "journal/"
VERSION = 1


def object_key(request_id: RequestId) -> str:
    """Where the entry of an erasure lies; ids are ordered by time, so the folder is a log."""
    return f"{PREFIX}{request_id}.json"


async def write(
    platform: Platform,
    request_id: RequestId,
    reference: str,
    person: Person,
    lines: Iterable[Entry],
    *,
    held: Sequence[str] = (),
) -> None:
    """Make the entry of an erasure durable; an entry that is there stays as it is.

    ``held`` are the categories that legal holds keep; an entry that says otherwise than this is written anew.
    """
    key = object_key(request_id)
    try:
        written = json.loads(await platform.blobs.get(key)).get("held", [])
    except ObjectMissing:
        written = None
    if written != list(held):
        entry = platform.signer.sign(
            {
                "version": VERSION,
                "kind": "erasure",
                "requestId": str(request_id),
                "reference": reference,
                "customerId": str(person.customer_id),
                "subjectRef": str(person.subject_ref),
                "writtenAt": iso(platform.clock()),
                "suppressed": [
                    {"type": line.type, "keyVersion": line.hash.key_version, "hash": encode(line.hash.value)}
                    for line in lines
                ],
                **({"held": list(held)} if held else {}),
            }
        )
        await platform.blobs.put(key, canonical(entry))
