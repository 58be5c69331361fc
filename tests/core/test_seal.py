"""Sealing: what is changed, moved, reordered or cut off is detected; any range of a file opens alone."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.core import seal
from cdp.core.keys import KeyStore
from cdp.core.seal import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Pepper, Sealer, Unsealable

KEY = bytes(range(32))
STEP = CHUNK_BYTES + TAG_BYTES
SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17)


async def _pieces(payload: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(payload), size):
        yield payload[start : start + size]


async def _sealed(payload: bytes, *, piece: int = 10_000) -> bytes:
    return b"".join([chunk async for chunk in seal.seal_stream(KEY, _pieces(payload, piece))])


async def _opened(sealed: bytes, *, key: bytes = KEY, piece: int = 7_777) -> bytes:
    return b"".join([chunk async for chunk in seal.open_stream(key, _pieces(sealed, piece))])


def _payload(size: int) -> bytes:
    return bytes(index * 31 % 251 for index in range(size))


def test_a_field_opens_in_its_place_only():
    sealer = Sealer({"k1": KEY})
    sealed = sealer.seal(b"secret", "request:1:identifiers")
    assert sealer.open(sealed, "request:1:identifiers") == b"secret"
    assert sealer.seal(b"secret", "request:1:identifiers") != sealed
    with pytest.raises(Unsealable):
        sealer.open(sealed, "request:2:identifiers")


def test_every_flipped_bit_of_a_field_is_detected():
    sealer = Sealer({"k1": KEY})
    sealed = sealer.seal(b"x", "place")
    for index in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[index] ^= 1 << bit
            with pytest.raises(Unsealable):
                sealer.open(bytes(changed), "place")
    for length in range(len(sealed)):
        with pytest.raises(Unsealable):
            sealer.open(sealed[:length], "place")


@given(st.binary(max_size=300))
def test_garbage_is_unsealable_and_nothing_else(garbage: bytes):
    with pytest.raises(Unsealable):
        Sealer({"k1": KEY}).open(garbage, "place")


def test_a_new_key_seals_and_the_old_one_still_opens():
    old = Sealer({"k1": KEY})
    both = Sealer({"k2": bytes(32), "k1": KEY})
    assert both.open(old.seal(b"x", "p"), "p") == b"x"
    with pytest.raises(Unsealable):
        old.open(both.seal(b"x", "p"), "p")


@pytest.mark.parametrize("text", ["k1", "k1:", "k1:AAAA", ":", "k1:" + "A" * 43 + "=,", "k1:!!!"])
def test_bad_master_keys_are_refused_without_being_shown(text: str, tmp_path):
    with pytest.raises(ValueError, match="32 bytes") as refusal:
        Sealer.from_settings(text, KeyStore(tmp_path))
    assert len(text) < 4 or text not in str(refusal.value)


def test_without_master_keys_the_key_store_keeps_one(tmp_path):
    sealed = Sealer.from_settings("", KeyStore(tmp_path)).seal(b"x", "p")
    assert Sealer.from_settings("", KeyStore(tmp_path)).open(sealed, "p") == b"x"


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_opens_whole(size: int):
    sealed = await _sealed(_payload(size))
    assert len(sealed) == seal.sealed_size(size)
    assert await _opened(sealed) == _payload(size)
    assert await _opened(sealed, piece=1 << 20) == _payload(size)


@pytest.mark.parametrize("size", SIZES)
async def test_a_cut_file_is_detected_wherever_it_was_cut(size: int):
    sealed = await _sealed(_payload(size))
    cuts = {0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(sealed) - 1}
    cuts |= {HEADER_BYTES + STEP * n for n in range(len(sealed) // STEP + 1)}
    for cut in sorted(cut for cut in cuts if cut < len(sealed)):
        with pytest.raises(Unsealable):
            await _opened(sealed[:cut])


async def test_reordered_dropped_doubled_and_appended_chunks_are_detected():
    sealed = await _sealed(_payload(3 * CHUNK_BYTES + 5))
    header, body = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    one, two, three, rest = (body[STEP * n : STEP * (n + 1)] for n in range(4))
    for chunks in ((two, one, three, rest), (one, three, rest), (one, one, two, three, rest), (one, two, three)):
        with pytest.raises(Unsealable):
            await _opened(header + b"".join(chunks))
    for more in (b"\x00", rest, one):
        with pytest.raises(Unsealable):
            await _opened(sealed + more)


async def test_a_flipped_bit_and_another_key_are_detected():
    sealed = await _sealed(_payload(CHUNK_BYTES + 100))
    for index in (0, 4, 6, HEADER_BYTES, HEADER_BYTES + 50, HEADER_BYTES + STEP, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(Unsealable):
            await _opened(bytes(changed))
    with pytest.raises(Unsealable):
        await _opened(sealed, key=bytes(32))


async def test_chunks_of_two_files_do_not_mix():
    one, other = await _sealed(_payload(2 * CHUNK_BYTES)), await _sealed(_payload(2 * CHUNK_BYTES))
    place = HEADER_BYTES + STEP
    with pytest.raises(Unsealable):
        await _opened(one[:place] + other[place:])


async def test_any_chunk_opens_alone():
    payload = _payload(3 * CHUNK_BYTES + 5)
    sealed = await _sealed(payload)
    prefix = seal.open_header(sealed[:HEADER_BYTES])
    for index in range(4):
        chunk = sealed[HEADER_BYTES + STEP * index : HEADER_BYTES + STEP * (index + 1)]
        opened = seal.open_chunk(KEY, prefix, index, chunk, last=index == 3)
        assert opened == payload[CHUNK_BYTES * index : CHUNK_BYTES * (index + 1)]
        with pytest.raises(Unsealable):
            seal.open_chunk(KEY, prefix, index, chunk, last=index != 3)


def test_a_pepper_separates_kinds_and_keeps_every_version(tmp_path):
    store = KeyStore(tmp_path)
    first = Pepper(store)
    old = first.hash("email", "ada@example.com")
    assert old.value != first.hash("phone", "ada@example.com").value
    assert first.hash("a", "b\0c").value != first.hash("a\0b", "d").value
    store.create("pepper-0002")
    newer = Pepper(store)
    assert newer.hash("email", "ada@example.com").key_version == 2
    assert old in newer.hashes("email", "ada@example.com")
    assert [entry.key_version for entry in newer.hashes("email", "x")] == [2, 1]
