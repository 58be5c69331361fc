"""SeaweedFS as a running S3 service on loopback: it checks signatures, keeps versions, can be stopped and started."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from obstore.store import S3Store

from tests import peers

STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 20.0
ROOT_USER = "tester"


@dataclass
class Seaweed:
    """One server. ``url`` is its S3 address; every bucket is made by ``bucket``."""

    folder: Path
    binary: str
    access_key_id: str = field(default_factory=lambda: secrets.token_hex(8))
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _ports: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same ports and files as before."""
        if not self._ports:
            self._ports = tuple(_free_port() for _ in range(4))
        master, volume, filer, self.port = self._ports
        credentials = {"accessKey": self.access_key_id, "secretKey": self.secret_access_key}
        identity = {"name": ROOT_USER, "credentials": [credentials], "actions": ["Admin", "Read", "Write", "List"]}
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (self.folder / "files").mkdir(exist_ok=True)
        command = [self.binary, f"-logdir={self.folder}", "server", "-s3", f"-dir={self.folder / 'files'}"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}"]
        command += [f"-filer.port={filer}", f"-s3.port={self.port}", f"-s3.config={config}"]
        command += [
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-volume.max=200",
            "-master.volumeSizeLimitMB=64",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._await_bucket()

    def stop(self) -> None:
        """Kill it; what it answered for is on disk. Asked politely it takes twenty seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(ENDED_WITHIN_S)
            self._process = None

    def bucket(self, name: str, *, versioned: bool = False, lockable: bool = False) -> str:
        """Make a bucket and return its address."""
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if lockable else {}
        self.call("PUT", f"/{name}", headers=headers).raise_for_status()
        if versioned:
            wanted = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self.call("PUT", f"/{name}?versioning=", content=wanted.encode()).raise_for_status()
        return f"{self.url}/{name}"

    def store(self, bucket: str) -> S3Store:
        """The bucket through a client that is not the one under test."""
        return S3Store(
            bucket=bucket,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            client_options={"allow_http": True},
        )

    def call(
        self, method: str, target: str, *, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Make one signed call to ``target``, a path with its query."""

        request = AWSRequest(method=method, url=self.url + target, data=content, headers=headers or {})
        S3SigV4Auth(Credentials(self.access_key_id, self.secret_access_key), "s3", "us-east-1").add_auth(request)
        signed = dict(request.headers.items())
        return httpx.request(method, self.url + target, content=content, headers=signed, timeout=20, trust_env=False)

    def _await_bucket(self) -> None:
        """Ready means: a bucket can be made, written and read."""
        deadline = time.monotonic() + STARTED_WITHIN_S
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text(encoding="utf-8", errors="replace")
            try:
                made = self.call("PUT", "/ready").status_code in {200, 409}
                if made and self.call("PUT", "/ready/file", content=b"ready").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, "seaweedfs did not start"
            time.sleep(0.1)


@contextmanager
def seaweed() -> Iterator[Seaweed]:
    """A running server with an empty folder of its own."""
    binary = shutil.which("weed", path=str(Path(sys.executable).parent))
    if binary is None:
        peers.missing("seaweedfs", "make install")
    with tempfile.TemporaryDirectory(prefix="weed-") as folder:
        server = Seaweed(Path(folder), binary)
        server.start()
        peers.took_part("seaweedfs 4.48")
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    """A port that is free, and free again 10,000 above: there it listens for its own protocol."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port > 55_000:
                continue
            try:
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
