"""The load: keep-alive connections over raw sockets, one request in flight on each, every answer compared.

A round runs in a process of its own (``bench.round``), so that its work is not booked on a server. It
shares the machine with what it measures, hence epoll and prebuilt bytes: a slow client would flatter slow peers.
"""

import os
import pickle
import random
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class WrongAnswer(Exception):
    """A server answered something other than what was expected of it; the ratio would mean nothing."""


@dataclass(frozen=True)
class Shot:
    """One request as it goes over the wire, and the body that must come back."""

    request: bytes
    body: bytes


@dataclass(frozen=True)
class Order:
    """One round: fire random shots at a port for some seconds. CPU is read of the server and of Postgres by pid."""

    port: int
    pid: int
    postgres_pid: int
    shots: Sequence[Shot]
    concurrency: int
    warm_s: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Round:
    """What one round measured. ``cpu`` is user and system time; the server's with its threads, outside Postgres."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu: "Cpu"

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the server per request."""
        return 1000 * self.cpu.server_s / self.requests

    @property
    def postgres_ms(self) -> float:
        """CPU milliseconds of Postgres per request."""
        return 1000 * self.cpu.postgres_s / self.requests

    @property
    def client_ms(self) -> float:
        """CPU milliseconds of the load itself per request."""
        return 1000 * self.cpu.client_s / self.requests

    @property
    def strangers(self) -> float:
        """Cores that neither the server nor Postgres nor the load used: whoever else was at work."""
        known_s = self.cpu.server_s + self.cpu.postgres_s + self.cpu.client_s
        return max(0.0, (self.cpu.machine_s - known_s) / self.seconds)


@dataclass(frozen=True)
class Cpu:
    """CPU seconds used so far by each party, and by the whole machine."""

    server_s: float
    postgres_s: float
    client_s: float
    machine_s: float

    @classmethod
    def now(cls, order: Order) -> "Cpu":
        """Read the kernel's counters."""
        total = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        user, nice, system, _idle, _wait, irq, soft, _steal = map(int, total)
        family = sum(cpu_of(pid) for pid in children_of(order.postgres_pid))
        machine_s = (user + nice + system + irq + soft) * TICK_S
        return cls(cpu_of(order.pid), family, time.process_time(), machine_s)

    def since(self, before: "Cpu") -> "Cpu":
        """What was used in between."""
        return Cpu(
            self.server_s - before.server_s,
            self.postgres_s - before.postgres_s,
            self.client_s - before.client_s,
            self.machine_s - before.machine_s,
        )


@dataclass
class Line:
    """One connection and the answer that is arriving on it."""

    connection: socket.socket
    index: int = 0
    sent_at: float = 0.0
    received: bytes = b""
    end: int = 0
    body_at: int = 0

    def send(self, index: int, request: bytes) -> None:
        """Put one request on the wire; it is small enough to fit the socket's buffer."""
        self.index, self.received, self.end = index, b"", 0
        self.sent_at = time.perf_counter()
        if self.connection.send(request) != len(request):
            raise WrongAnswer("a request did not fit the socket's buffer")

    def receive(self) -> bytes | None:
        """Take what has arrived; the body once it is complete."""
        chunk = self.connection.recv(262_144)
        if not chunk:
            raise WrongAnswer(f"the server hung up: {self.received[:200]!r}")
        self.received = self.received + chunk if self.received else chunk
        if not self.end and not self._read_head():
            return None
        return self.received[self.body_at :] if len(self.received) >= self.end else None

    def _read_head(self) -> bool:
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        length = LENGTH.search(self.received, 0, head_end + 2)
        if not self.received.startswith(b"HTTP/1.1 200 ") or length is None:
            raise WrongAnswer(self.received[:600].decode(errors="replace"))
        self.body_at = head_end + 4
        self.end = self.body_at + int(length[1])
        return True


class Lines:
    """Connections to one server, and who of them has something to read."""

    def __init__(self, port: int, count: int) -> None:
        self.poll = select.epoll()
        self.by_number: dict[int, Line] = {}
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.by_number[connection.fileno()] = Line(connection)
            self.poll.register(connection.fileno(), select.EPOLLIN)

    def readable(self) -> list[Line]:
        """Wait for answers."""
        found = [self.by_number[number] for number, _ in self.poll.poll(60)]
        if not found:
            raise WrongAnswer("no answer within 60 s")
        return found

    def close(self) -> None:
        """Hang up."""
        for line in self.by_number.values():
            line.connection.close()
        self.poll.close()


def collect(port: int, requests: Sequence[bytes], *, concurrency: int) -> list[bytes]:
    """Send each request once; the bodies in the same order."""
    bodies = [b""] * len(requests)
    todo = iter(range(len(requests)))
    lines = Lines(port, min(concurrency, len(requests)))
    in_flight = 0
    for line, index in zip(lines.by_number.values(), todo, strict=False):
        line.send(index, requests[index])
        in_flight += 1
    while in_flight:
        for line in lines.readable():
            body = line.receive()
            if body is None:
                continue
            bodies[line.index] = body
            following = next(todo, None)
            if following is None:
                in_flight -= 1
            else:
                line.send(following, requests[following])
    lines.close()
    return bodies


def fire(order: Order) -> Round:
    """Run one round in this process. Raises WrongAnswer at the first body that differs."""
    # Never preempt what is measured: woken for each answer at once, the load would set the pace of the switches.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    shots, pick = order.shots, random.Random(order.seed)
    sequence = [pick.randrange(len(shots)) for _ in range(100_000)]
    lines = Lines(order.port, order.concurrency)
    sent = 0
    for line in lines.by_number.values():
        line.send(sequence[sent], shots[sequence[sent]].request)
        sent += 1
    latencies = array("d")
    starts_at = time.perf_counter() + order.warm_s
    started: tuple[float, Cpu] | None = None
    now = 0.0
    while started is None or now < started[0] + order.seconds:
        for line in lines.readable():
            body = line.receive()
            if body is None:
                continue
            now = time.perf_counter()
            if body != shots[line.index].body:
                raise WrongAnswer(f"expected {shots[line.index].body[:600]!r}, got {body[:600]!r}")
            if started is not None:
                latencies.append(now - line.sent_at)
            index = sequence[sent % len(sequence)]
            sent += 1
            line.send(index, shots[index].request)
        if started is None and now >= starts_at:
            started = (time.perf_counter(), Cpu.now(order))
    used = Cpu.now(order).since(started[1])
    lines.close()
    ranked = sorted(latencies)
    return Round(
        requests=len(ranked),
        seconds=now - started[0],
        p50_ms=1000 * ranked[len(ranked) // 2],
        p99_ms=1000 * ranked[int(len(ranked) * 0.99)],
        cpu=used,
    )


def fire_apart(order: Order) -> Round:
    """Run one round in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as folder:
        file = Path(folder) / "order"
        file.write_bytes(pickle.dumps(order))
        done = subprocess.run([sys.executable, "-m", "bench.round", str(file)], capture_output=True, check=False)
    if done.returncode != 0:
        raise WrongAnswer(done.stderr.decode(errors="replace"))
    measured = pickle.loads(done.stdout)
    assert isinstance(measured, Round)
    return measured


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used so far, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def children_of(pid: int) -> list[int]:
    """Its children; a Postgres backend is a child of the postmaster."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
