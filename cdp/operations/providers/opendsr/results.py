"""The results of a request of access: the records of its package as one JSON document, collection by collection."""

import asyncio
import json
import zipfile
from io import BytesIO

from cdp.access.viewer import Viewer
from cdp.connectors.base import Json
from cdp.core.db import Role
from cdp.core.errors import TooLarge
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.providers.opendsr.asked import AskedRow, RequestUnknown
from cdp.operations.requests import exports
from cdp.tables.provider import AskedStatus, AskedType

LARGEST_BYTES = 64 * 1024 * 1024


class ResultsTooLarge(TooLarge):
    """These results are larger than one answer; ask us for the file."""

    code = "RESULTS_TOO_LARGE"


async def results(platform: Platform, viewer: Viewer, row: AskedRow) -> dict[str, Json]:
    """Everything found, by collection; of a connected system under its name.

    Raises RequestUnknown while there are none, ResultsTooLarge, and ExportGone after their time.
    """
    if row.status is not AskedStatus.COMPLETED or row.type is AskedType.ERASURE or row.request_id is None:
        raise RequestUnknown
    download = await exports.download_of(platform, row.request_id)
    if download.size_bytes > LARGEST_BYTES:
        raise ResultsTooLarge
    packed = b"".join([chunk async for chunk in download.chunks])
    found = await asyncio.to_thread(_unpacked, packed)
    async with platform.db.transaction(Role.WORKER) as tx:
        await audit.record(
            tx,
            viewer,
            "asked_request.results_fetched",
            subject_ref=None,
            object_type="AskedRequest",
            object_id=row.id,
        )
    return found


def _unpacked(packed: bytes) -> dict[str, Json]:
    with zipfile.ZipFile(BytesIO(packed)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        paths = [one["path"] for one in manifest["files"] if one["path"].endswith(".json") and one["records"]]
        if sum(archive.getinfo(path).file_size for path in paths) > LARGEST_BYTES:
            raise ResultsTooLarge
        return {
            path.removesuffix(".json").removeprefix("data/").replace("/", "_"): json.loads(archive.read(path))
            for path in paths
        }
