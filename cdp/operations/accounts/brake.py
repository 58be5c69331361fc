"""The brake on guessing passwords: the more failures, the longer the wait, and never a locked account.

Failures are counted per account and address together, per address, and per account; each count has its own patience and
its own longest wait, all of them short. A browser that signed in before carries a device token: it is counted by itself
and not with whoever attacks from elsewhere, so that the victim of an attack still gets in. A try is counted before the
password is looked at and given back when it was right; otherwise a hundred tries at once would all be the first one.
Keys are keyed hashes: the table names nobody. Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies",
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import DateTime, Float, Integer, Interval, case, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from cdp.core.db import Tx
from cdp.core.errors import RateLimited
from cdp.core.seal import Pepper
from cdp.tables.account import sign_in_brake

WINDOW = timedelta(minutes=15)


class TooManyTries(RateLimited):
    """Too many tries; wait a moment and try again."""

    code = "TOO_MANY_TRIES"


@dataclass(frozen=True)
class Count:
    """One count of failures: how many are free, and the longest wait after that."""

    key: bytes
    free: int
    longest: timedelta


def counts(pepper: Pepper, account: str, address: str, device: str | None) -> Sequence[Count]:
    """The counts a try belongs to. ``device`` is a proven device token of this account, or None."""

    def key(kind: str, value: str) -> bytes:
        return pepper.hash(f"brake:{kind}", value).value

    if device is not None:
        return [Count(key("device", f"{account}\0{device}"), 5, timedelta(seconds=60))]
    network = _network(address)
    return [
        Count(key("pair", f"{account}\0{network}"), 5, timedelta(seconds=60)),
        Count(key("address", network), 30, timedelta(seconds=30)),
        Count(key("account", account), 50, timedelta(seconds=5)),
    ]


def second_step_counts(pepper: Pepper, account: str, address: str, device: str | None) -> Sequence[Count]:
    """The counts of a second factor: six digits are few, so that the account as a whole is slowed to minutes."""

    def key(kind: str, value: str) -> bytes:
        return pepper.hash(f"brake:second-{kind}", value).value

    if device is not None:
        return [Count(key("device", f"{account}\0{device}"), 5, timedelta(seconds=60))]
    return [
        Count(key("account", account), 10, timedelta(minutes=5)),
        Count(key("address", _network(address)), 30, timedelta(seconds=30)),
    ]


def passkey_counts(pepper: Pepper, address: str) -> Sequence[Count]:
    """The count of a passkey used alone: nobody can guess a signature, but checking one is work."""
    return [Count(pepper.hash("brake:passkey-address", _network(address)).value, 30, timedelta(seconds=30))]


def registration_counts(pepper: Pepper, email: str, address: str) -> Sequence[Count]:
    """The counts a registration belongs to: nobody fills the disk, or the mailbox of somebody else."""
    return [
        Count(pepper.hash("brake:register", email).value, 3, timedelta(minutes=15)),
        Count(pepper.hash("brake:register-address", _network(address)).value, 30, timedelta(seconds=60)),
    ]


def letter_counts(pepper: Pepper, whose: str, address: str) -> Sequence[Count]:
    """The counts of a letter somebody asks us to send: nobody fills the mailbox of somebody else."""
    return [
        Count(pepper.hash("brake:letter", whose).value, 3, timedelta(minutes=15)),
        Count(pepper.hash("brake:letter-address", _network(address)).value, 30, timedelta(seconds=60)),
    ]


def code_counts(pepper: Pepper, kind: str, address: str) -> Sequence[Count]:
    """The count of short codes somebody types: guessing one takes longer than it lives."""
    return [Count(pepper.hash(f"brake:{kind}-address", _network(address)).value, 10, timedelta(seconds=60))]


def _network(address: str) -> str:
    """An IPv6 customer holds a /64, so that is what is counted."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


async def admit(tx: Tx, tries: Sequence[Count], now: datetime) -> None:
    """Count one try against every key, or raise TooManyTries with ``retryAfterS``; a refused try is not counted.

    Locks the rows in the order of their keys.
    """
    ordered = sorted(tries, key=lambda count: count.key)
    blocked = await tx.scalar(
        select(func.max(sign_in_brake.c.blocked_until)).where(
            sign_in_brake.c.key_hash.in_([count.key for count in ordered]), sign_in_brake.c.blocked_until > now
        )
    )
    if blocked is not None:
        raise TooManyTries(retryAfterS=math.ceil((blocked - now).total_seconds()))
    for count in ordered:  # one statement a key: each has its own patience, and the order keeps locks free of cycles
        await _count(tx, count, now)


async def _count(tx: Tx, count: Count, now: datetime) -> None:
    row, moment = sign_in_brake.c, DateTime(timezone=True)
    stale = row.first_failure_at < now - WINDOW
    failures = case((stale, 1), else_=row.failures + 1)
    doubled_s = func.power(literal(2.0, Float), func.least(failures - count.free, literal(30, Integer)))
    wait_s = func.least(doubled_s, literal(count.longest.total_seconds(), Float), type_=Float)
    until = literal(now, moment) + func.make_interval(0, 0, 0, 0, 0, 0, wait_s, type_=Interval)
    blocked = case((failures > count.free, until), else_=literal(now, moment))
    await tx.execute(
        insert(sign_in_brake)
        .values(key_hash=count.key, failures=1, first_failure_at=now, blocked_until=now)
        .on_conflict_do_update(
            index_elements=[row.key_hash],
            set_={
                "failures": failures,
                "first_failure_at": case((stale, literal(now, moment)), else_=row.first_failure_at),
                "blocked_until": blocked,
            },
        )
    )


async def forgive(tx: Tx, tries: Sequence[Count], now: datetime) -> None:
    """Forget the failures of the first, most specific count and give the try back to the others."""
    own, *others = tries
    await tx.execute(delete(sign_in_brake).where(sign_in_brake.c.key_hash == own.key))
    if others:
        await tx.execute(
            sign_in_brake.update()
            .where(sign_in_brake.c.key_hash.in_([count.key for count in others]))
            .values(
                failures=func.greatest(sign_in_brake.c.failures - 1, 0),
                blocked_until=func.least(sign_in_brake.c.blocked_until, literal(now, DateTime(timezone=True))),
            )
        )
