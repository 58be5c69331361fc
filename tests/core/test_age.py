"""Age files as streams: they open with the one key, and with no byte changed."""

import threading

import pytest

from cdp.core import age
from cdp.core.age import AgeKeyInvalid, AgeUnreadable, Decryption, Encryption

SIZES = (0, 1, 65_535, 65_536, 65_537, 3_000_000)


def through(stream: Encryption | Decryption, whole: bytes, step: int = 100_000) -> bytes:
    with stream:
        fed = [stream.feed(whole[at : at + step]) for at in range(0, len(whole), step)]
        return b"".join([*fed, stream.finish()])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_encrypted_opens_with_the_key_alone(size: int) -> None:
    identity, plain = age.new_identity(), bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sealed = through(Encryption(age.recipient_of(identity)), plain)
    assert sealed.startswith(age.PREFIX)
    assert plain[:200] not in sealed or size < 2
    assert through(Decryption(identity), sealed, step=7_919) == plain
    assert age.decrypt(identity, sealed) == plain
    with pytest.raises(AgeUnreadable):
        through(Decryption(age.new_identity()), sealed)


@pytest.mark.parametrize("tamper", ["flip", "cut", "grow", "garbage", "empty"])
def test_a_changed_file_does_not_open(tamper: str) -> None:
    identity = age.new_identity()
    sealed = through(Encryption(age.recipient_of(identity)), b"line\n" * 100_000)
    match tamper:
        case "flip":
            sealed = sealed[:300_000] + bytes([sealed[300_000] ^ 1]) + sealed[300_001:]
        case "cut":
            sealed = sealed[:-1]
        case "grow":
            sealed += b"x"
        case "garbage":
            sealed = b"not an age file"
        case _:
            sealed = b""
    with pytest.raises(AgeUnreadable):
        through(Decryption(identity), sealed)


def test_an_abandoned_stream_leaves_no_thread() -> None:
    stream = Encryption(age.recipient_of(age.new_identity()))
    stream.feed(b"x" * 1_000_000)
    stream.close()
    stream.close()
    assert not [one for one in threading.enumerate() if one is stream._thread]


WEAK = "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya"


@pytest.mark.parametrize("key", [WEAK, "", "age1abc", "age1" + "q" * 58, "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1QQ"])
def test_a_wrong_key_is_refused(key: str) -> None:
    with pytest.raises(AgeKeyInvalid):
        Encryption(key)
    with pytest.raises(AgeKeyInvalid):
        Decryption(key)
    with pytest.raises(AgeKeyInvalid):
        age.identity_of(["# created", key])


def test_a_key_file_as_its_tool_writes_it() -> None:
    identity = age.new_identity()
    lines = ["# created: 2026-01-01", f"# public key: {age.recipient_of(identity)}", identity, ""]
    assert age.identity_of(lines) == identity
