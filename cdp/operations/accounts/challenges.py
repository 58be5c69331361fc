"""Challenges of passkeys: random, bound to a browser and a purpose, good for ten minutes and once.

A challenge carries its own proof, so that showing a sign-in page writes nothing; only one that was answered is
remembered, by its hash, until it would have expired. Source: Web Authentication Level 3, section 13.4.3,
https://www.w3.org/TR/webauthn-3/#sctn-cryptographic-challenges
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy.dialects.postgresql import insert

from cdp.core.db import Tx
from cdp.core.errors import InvalidInput
from cdp.core.platform import Platform
from cdp.core.seal import Pepper
from cdp.tables.second_factor import used_challenge

GOOD_FOR = timedelta(minutes=10)
RANDOM_BYTES = 16
HEAD_BYTES = RANDOM_BYTES + 8


class Ceremony(StrEnum):
    """What a challenge is for."""

    REGISTER = "register"
    SIGN_IN = "sign-in"
    SECOND_STEP = "second-step"


class ChallengeRefused(InvalidInput):
    """This took too long, or was sent twice; try again."""

    code = "CHALLENGE_REFUSED"


def make(platform: Platform, ceremony: Ceremony, *, binding: str) -> bytes:
    """A challenge for one browser; ``binding`` names its session or cookie."""
    head = secrets.token_bytes(RANDOM_BYTES) + int(platform.clock().timestamp()).to_bytes(8, "big")
    return head + _proofs(platform.pepper, ceremony, binding, head)[0]


async def use(tx: Tx, platform: Platform, ceremony: Ceremony, challenge: bytes, *, binding: str) -> None:
    """Use an answered challenge up. Raises ChallengeRefused for another's, an old one, and the second time."""
    head, proof = challenge[:HEAD_BYTES], challenge[HEAD_BYTES:]
    known = _proofs(platform.pepper, ceremony, binding, head)
    if len(head) != HEAD_BYTES or not any(hmac.compare_digest(one, proof) for one in known):
        raise ChallengeRefused
    made_at = datetime.fromtimestamp(int.from_bytes(head[RANDOM_BYTES:], "big"), UTC)
    if platform.clock() - made_at > GOOD_FOR:
        raise ChallengeRefused
    written = await tx.execute(
        insert(used_challenge)
        .values(challenge_hash=hashlib.sha256(challenge).digest(), expires_at=made_at + GOOD_FOR)
        .on_conflict_do_nothing()
    )
    if written.rowcount != 1:
        raise ChallengeRefused


def _proofs(pepper: Pepper, ceremony: Ceremony, binding: str, head: bytes) -> list[bytes]:
    return [known.value for known in pepper.hashes(f"challenge:{ceremony}", f"{binding}\0{head.hex()}")]
