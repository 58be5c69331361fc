"""Object files: on disk and in memory alike; what breaks off leaves nothing, what is missing is said."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdp.core.blobs import PART_BYTES, Blobs, ObjectMissing


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return Blobs("memory:///" if request.param == "memory" else (tmp_path / "object store").as_uri())


async def _stream(pieces: int, *, breaks: bool = False) -> AsyncIterator[bytes]:
    for index in range(pieces):
        yield bytes([index % 251]) * 300_000
    if breaks:
        raise ConnectionResetError


def _files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_an_object_goes_in_and_out(blobs: Blobs):
    await blobs.put("a/b c/ü.json", b"payload")
    assert await blobs.get("a/b c/ü.json") == b"payload"
    assert await blobs.get_range("a/b c/ü.json", 2, 3) == b"ylo"
    assert await blobs.size("a/b c/ü.json") == 7
    await blobs.put("a/b c/ü.json", b"new")
    assert await blobs.get("a/b c/ü.json") == b"new"
    await blobs.put("empty", b"")
    assert await blobs.get("empty") == b""


@pytest.mark.parametrize("pieces", [0, 1, PART_BYTES * 2 // 300_000])
async def test_a_stream_goes_in_parts_and_out_in_chunks(blobs: Blobs, pieces: int):
    size = await blobs.put_stream("exports/1.zip", _stream(pieces))
    assert size == pieces * 300_000 == await blobs.size("exports/1.zip")
    chunks = [chunk async for chunk in blobs.stream("exports/1.zip")]
    assert b"".join(chunks) == b"".join([piece async for piece in _stream(pieces)])
    if blobs.url.startswith("file:") and chunks:  # memory hands out what it holds
        assert max(len(chunk) for chunk in chunks) <= 2 * 1024 * 1024


@pytest.mark.parametrize("pieces", [0, 1, PART_BYTES * 2 // 300_000])
async def test_a_broken_stream_leaves_nothing(blobs: Blobs, tmp_path: Path, pieces: int):
    await blobs.put("exports/bystander", b"kept")
    with pytest.raises(ConnectionResetError):
        await blobs.put_stream("exports/broken.zip", _stream(pieces, breaks=True))
    assert await blobs.keys("") == ["exports/bystander"]
    with pytest.raises(ObjectMissing):
        await blobs.get("exports/broken.zip")
    assert _files(tmp_path) in ([], ["bystander"])


async def test_a_broken_stream_leaves_an_older_object_as_it_was(blobs: Blobs):
    await blobs.put("one", b"old")
    with pytest.raises(ConnectionResetError):
        await blobs.put_stream("one", _stream(40, breaks=True))
    assert await blobs.get("one") == b"old"


async def test_a_missing_object_is_said(blobs: Blobs):
    for call in (blobs.get("absent"), blobs.get_range("absent", 0, 1), blobs.size("absent")):
        with pytest.raises(ObjectMissing) as missing:
            await call
        assert missing.value.code == "OBJECT_MISSING"
    with pytest.raises(ObjectMissing):
        [chunk async for chunk in blobs.stream("absent")]


async def test_deleting_is_once_and_for_all(blobs: Blobs):
    await blobs.put("one", b"1")
    await blobs.put("two", b"2")
    await blobs.delete("one")
    await blobs.delete("one")
    assert await blobs.keys("") == ["two"]


KILLED = """
import asyncio, os, signal, sys
from cdp.core.blobs import PART_BYTES, Blobs

async def chunks():
    for _ in range(4):
        yield bytes(PART_BYTES)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(Blobs(sys.argv[1]).put_stream("exports/1/2/part-1.zip", chunks()))
"""


async def test_what_a_killed_process_had_begun_is_found_and_removed(tmp_path: Path):
    blobs = Blobs(tmp_path.as_uri())
    await blobs.put("exports/1/part-1.zip", b"a bystander")
    await blobs.put("exports/1/2/part-1.zip.sig", b"another")
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED, blobs.url], check=False)
    assert done.returncode == -signal.SIGKILL
    whole = ["exports/1/2/part-1.zip.sig", "exports/1/part-1.zip"]
    assert len(_files(tmp_path)) == 3
    assert await blobs.keys("exports/1/") == whole
    assert await blobs.all_keys("exports/1/") == ["exports/1/2/part-1.zip", *whole]
    assert await blobs.all_keys("exports/2/") == []
    await blobs.delete("exports/1/2/part-1.zip")
    assert await blobs.all_keys("exports/") == whole
    assert len(_files(tmp_path)) == 2


async def test_keys_below_a_prefix(blobs: Blobs):
    for key in ("exports/2/b", "exports/1/a", "exports-old/x"):
        await blobs.put(key, b"")
    assert await blobs.keys("exports/") == ["exports/1/a", "exports/2/b"]
    assert await blobs.keys("nothing") == []


def test_the_folder_is_its_owners(tmp_path: Path):
    Blobs((tmp_path / "objects").as_uri())
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("url", ["", "objects", "http://bucket/x", "ftp://x"])
def test_another_scheme_is_refused(url: str):
    with pytest.raises(ValueError, match="CDP_OBJECTS_URL"):
        Blobs(url)
