"""The doorbell: a ring is a row's id in the queue; a Valkey that is dead, silent or mad costs no exception."""

import asyncio
import socket

import pytest
import redis

from cdp.core.db import Ring
from cdp.core.doorbell import QUEUE, ArqDoorbell, deserialize, redis_settings, serialize
from cdp.core.ids import new_id
from cdp.core.settings import Settings


async def test_a_ring_puts_the_rows_id_into_the_queue_and_nothing_else(fresh_settings: Settings):
    bell = ArqDoorbell(fresh_settings.redis_url)
    one, later = new_id(), new_id()
    await bell.ring([Ring("run_task", one), Ring("run_task", later, defer_s=60)])
    await bell.close()
    with redis.Redis.from_url(fresh_settings.redis_url) as client:
        queued = client.zrange(QUEUE, 0, -1, withscores=True)
        jobs = [deserialize(client.get(f"arq:job:{name.decode()}")) for name, _ in queued]
    assert [(job["f"], job["a"], job["k"]) for job in jobs] == [
        ("run_task", [str(one)], {}),
        ("run_task", [str(later)], {}),
    ]
    assert queued[1][1] - queued[0][1] > 50_000


async def test_many_rings_at_once_share_one_connection(fresh_settings: Settings):
    bell = ArqDoorbell(fresh_settings.redis_url)
    await asyncio.gather(*(bell.ring([Ring("run_task", new_id())]) for _ in range(20)))
    await bell.close()
    with redis.Redis.from_url(fresh_settings.redis_url) as client:
        assert client.zcard(QUEUE) == 20


async def test_a_dead_valkey_costs_no_exception_and_no_time_for_the_next():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bell = ArqDoorbell(f"redis://127.0.0.1:{port}/0")
    await bell.ring([Ring("run_task", new_id())])
    assert bell.is_silent
    await bell.ring([Ring("run_task", new_id())])
    await bell.close()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR no\r\n" * 20, b"\xff\xfe\x00"])
async def test_a_silent_or_mad_valkey_costs_no_exception(says: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        bell = ArqDoorbell(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        async with asyncio.timeout(30):
            await bell.ring([Ring("run_task", new_id())])
        assert bell.is_silent
        await bell.close()


async def test_the_bell_rings_again_once_valkey_is_back(fresh_settings: Settings):
    bell = ArqDoorbell(fresh_settings.redis_url)
    await bell.ring([Ring("run_task", new_id())])
    with redis.Redis.from_url(fresh_settings.redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        async with asyncio.timeout(30):
            while client.zcard(QUEUE) < 2:  # it rests a while after a failure
                await bell.ring([Ring("run_task", new_id())])
                await asyncio.sleep(0.1)
    await bell.close()


def test_jobs_are_json_and_never_pickle():
    assert serialize({"f": "x", "a": ["1"]}) == b'{"f": "x", "a": ["1"]}'
    with pytest.raises(ValueError, match="0x80"):
        deserialize(b"\x80\x04.")


@pytest.mark.parametrize(
    ("url", "host", "socket_path"),
    [
        ("redis://:pw@host:7000/3", "host", None),
        ("valkey://host:7000/3", "host", None),
        ("unix:///run/v.sock?db=3", None, "/run/v.sock"),
    ],
)
def test_urls(url: str, host: str | None, socket_path: str | None):
    found = redis_settings(url)
    assert found.database == 3
    assert (found.unix_socket_path or None) == socket_path
    assert host is None or (found.host, found.port) == (host, 7000)
