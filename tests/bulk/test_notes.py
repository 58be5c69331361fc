"""The note at the end of an export: signed, tried again, given up; never in the way."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cdp.core.sign import Verdict, check
from cdp.tables.bulk import BulkStatus
from tests.bulk.factory import Bulk


class Peer(ThreadingHTTPServer):
    """Somebody who is told; answers with these statuses, the last one again and again."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.statuses = [*statuses]
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/done"


class _Answer(BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(params=[(500, 204), (500,)], ids=["at last", "never"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with Peer(*request.param) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


async def test_the_recipient_is_told(bulk: Bulk, peer: Peer) -> None:
    asked = await bulk.ask(await bulk.member("analyst"), notify_url=peer.url)
    await bulk.floor.drain()
    row = await bulk.row(asked.id)
    assert (row.status, row.notify_at) == (BulkStatus.COMPLETED, None)
    said = json.loads(peer.bodies[-1])
    assert check(said, bulk.platform.signer.keys()) is Verdict.VALID
    assert (said["id"], said["state"]) == (str(asked.id), "completed")
    actions = await bulk.audited(asked.id)
    taken = peer.statuses == [204]
    assert actions[-1] == ("bulk_export.notified" if taken else "bulk_export.notify_failed")
    assert len(peer.bodies) == (2 if taken else bulk.platform.settings.max_attempts)
