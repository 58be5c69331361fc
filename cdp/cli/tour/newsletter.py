"""A newsletter service as somebody else might run it: its own process, its own SQLite file, a signed webhook.

It shows the receiving side of ``connectors/webhook``: check the signature over the raw body, repeat the key, answer
every step with figures, and remember each key so that a repeated call changes nothing.

    python -m cdp.cli.tour.newsletter PORT DATABASE SECRET_FILE
"""

import hashlib
import hmac
import json
import sqlite3
import sys
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_AGE_S = 300
MAX_BODY_BYTES = 1024 * 1024


def create(path: Path, subscribers: Iterable[tuple[str, str]]) -> None:
    """Make the database with its subscribers: address and list."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS subscriber (address TEXT NOT NULL, list TEXT NOT NULL)")
        connection.execute("CREATE TABLE IF NOT EXISTS answered (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        connection.executemany("INSERT INTO subscriber VALUES (?, ?)", subscribers)
    connection.close()


class Newsletter:
    """The service: one method a step."""

    def __init__(self, database: Path, secret: bytes) -> None:
        self._database = database
        self._secret = secret

    def is_signed(self, timestamp: str, signature: str, body: bytes) -> bool:
        """Whether the call was signed with our secret within the last minutes."""
        expected = hmac.new(self._secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        fresh = timestamp.isdigit() and abs(time.time() - int(timestamp)) < MAX_AGE_S
        return fresh and hmac.compare_digest(f"v1={expected}", signature)

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Do one step, whole or not at all; the same key gets the same answer."""
        addresses = [one["value"].lower() for one in call["subject"]["identifiers"] if one["type"] == "email"]
        key, step = call["key"], call["step"]
        connection = sqlite3.connect(self._database, timeout=10)
        try:
            with connection:
                known = connection.execute("SELECT answer FROM answered WHERE key = ?", (key,)).fetchone()
                if known is not None:
                    found: dict[str, Any] = json.loads(known[0])
                    return found
                answer = {"key": key, "state": "done", **self._step(connection, step, addresses)}
                if step == "erase":
                    connection.execute("INSERT INTO answered VALUES (?, ?)", (key, json.dumps(answer)))
                return answer
        finally:
            connection.close()

    def _step(self, connection: sqlite3.Connection, step: str, addresses: list[str]) -> dict[str, Any]:
        if step == "probe":
            return {}
        rows: list[tuple[str, str]] = []
        for address in addresses:
            query = "SELECT address, list FROM subscriber WHERE lower(address) = ?"
            rows += connection.execute(query, (address,)).fetchall()
        if step == "verify":
            return {"found": len(rows)}
        if step == "read":
            return {"records": {"subscriber": [{"address": address, "list": name} for address, name in rows]}}
        if step == "erase":
            wanted = [(address,) for address in addresses]
            connection.executemany("DELETE FROM subscriber WHERE lower(address) = ?", wanted)
        return {"records": {"subscriber": len(rows)}}


def serve(port: int, service: Newsletter) -> None:
    """Serve until killed."""

    class Door(BaseHTTPRequestHandler):
        """The HTTP side."""

        def do_POST(self) -> None:
            """Take one call."""
            body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES))
            signed = service.is_signed(
                self.headers.get("CDP-Timestamp", ""), self.headers.get("CDP-Signature", ""), body
            )
            answer = json.dumps(service.answer(json.loads(body)) if signed else {}).encode()
            self.send_response(200 if signed else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: addresses never reach a log."""

    ThreadingHTTPServer(("127.0.0.1", port), Door).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Newsletter(Path(sys.argv[2]), Path(sys.argv[3]).read_bytes().strip()))
