"""How strong a sign-in is: its method references, and the context class they add up to.

Sources: RFC 8176 (authentication method reference values), RFC 9470 (step-up: ``acr_values`` of what is missing).
"""

from collections.abc import Collection
from enum import StrEnum

PASSWORD = ("pwd",)
PASSWORD_AND_CODE = ("pwd", "otp", "mfa")
PASSWORD_AND_KEY = ("pwd", "pop", "mfa")
# A passkey alone: possession of the key, and a person proven to the device that holds it.
PASSKEY = ("pop", "user", "mfa")


class Strength(StrEnum):
    """Context classes, weakest first; values of ``acr``."""

    SINGLE_FACTOR = "urn:cdp:acr:single-factor"
    MULTI_FACTOR = "urn:cdp:acr:multi-factor"


def strength_of(amr: Collection[str]) -> Strength:
    """What these methods add up to."""
    return Strength.MULTI_FACTOR if "mfa" in amr else Strength.SINGLE_FACTOR


def at_least(wanted: Strength) -> str:
    """Every class that is strong enough, best first, as ``acr_values`` lists them."""
    order = list(Strength)
    return " ".join(reversed(order[order.index(wanted) :]))


def is_enough(acr: Strength, wanted: Collection[str]) -> bool:
    """Whether a sign-in answers ``acr_values``: one of the classes or a stronger one; foreign names ask for nothing."""
    order = list(Strength)
    known = [order.index(Strength(one)) for one in wanted if one in set(Strength)]
    return not known or order.index(acr) >= min(known)
