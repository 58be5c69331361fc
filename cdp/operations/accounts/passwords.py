"""Passwords: what is accepted, and Argon2id hashing in a thread of its own (RFC 9106, NIST SP 800-63B section 5.1.1).

Length counts, composition rules do not; what everybody tries first is refused. Checking a password of somebody we do
not know costs the same work as checking a known one, so that time tells nothing.
"""

import base64
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cdp.core.errors import InvalidInput
from cdp.core.settings import Settings

SHORTEST = 10
LONGEST = 256

# One a line: words that lists of leaked passwords begin with, and whole passwords of digits and letters.
COMMON = frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="ascii").split())
_PLAIN = str.maketrans("@$!013457", "asioieast")

# 64 MiB a hash: more at once would only fight for the same cores and memory.
_lanes = CapacityLimiter(4)
T = TypeVar("T")


class WeakPassword(InvalidInput):
    """Choose a password of at least 10 characters that is not easy to guess."""

    code = "WEAK_PASSWORD"


def check_strength(password: str, *, username: str = "") -> None:
    """Raise WeakPassword when it is too short, too long, one of the common ones, or close to the user name."""
    plain = _normal(password).casefold()
    if not SHORTEST <= len(plain) <= LONGEST:
        raise WeakPassword(field="password")
    stripped = plain.strip("0123456789!?.#*$ ")
    letters = {re.sub(r"[^a-z]", "", plain), re.sub(r"[^a-z]", "", stripped.translate(_PLAIN))}
    own = {part for part in re.split(r"[@.+_\-]", username.casefold()) if len(part) >= 4} | {username.casefold()}
    few = len(set(plain)) <= 3
    run = len(plain) > 3 and len({ord(b) - ord(a) for a, b in pairwise(plain)}) == 1
    if few or run or plain in COMMON or letters & COMMON or plain in own or stripped in own:
        raise WeakPassword(field="password")


async def hash_password(settings: Settings, password: str) -> str:
    """Hash with Argon2id; takes tens of milliseconds in a thread."""
    hasher = _hasher(settings.password_memory_kib)
    return await _in_lane(lambda: hasher.hash(_normal(password)))


async def matches(settings: Settings, password_hash: str | None, password: str) -> bool:
    """Whether the password is right. ``None`` (nobody, or no password set) is refused after the same work."""
    hasher = _hasher(settings.password_memory_kib)
    return await _in_lane(lambda: _verify(hasher, password_hash or _unknown(hasher), _normal(password)))


def needs_rehash(settings: Settings, password_hash: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher(settings.password_memory_kib).check_needs_rehash(password_hash)


@cache
def _hasher(memory_kib: int) -> PasswordHasher:
    return PasswordHasher(memory_cost=memory_kib)


def _unknown(hasher: PasswordHasher) -> str:
    """A hash of nobody's password, as costly to check as any other."""
    salt, tag = (base64.b64encode(b"\x01" * size).rstrip(b"=").decode() for size in (hasher.salt_len, hasher.hash_len))
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${tag}"


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)[: LONGEST + 1]


def _verify(hasher: PasswordHasher, password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


async def _in_lane(work: Callable[[], T]) -> T:
    return await to_thread.run_sync(work, limiter=_lanes)
