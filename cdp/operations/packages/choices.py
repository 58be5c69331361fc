"""What somebody chose when they asked for a copy: which data, in which forms, in parts of which size, and locked how.

Nothing chosen means everything, in every form, in one file; the law owes no less (GDPR art. 15(1) and (3), art. 20).
A package that holds less says so itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cdp.core import age
from cdp.core.errors import InvalidInput

SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 12, 200
SMALLEST_PART_BYTES = 1024 * 1024
LARGEST_PART_BYTES = 1024**4


class ExportCategory(StrEnum):
    """Data of one kind; the account pages group it the same way."""

    PROFILE = "profile"
    CONTACT = "contact"
    ORDERS = "orders"
    SUPPORT = "support"
    CHOICES = "choices"
    MESSAGES = "messages"
    DEVICES = "devices"
    SIGN_INS = "sign-ins"
    KEPT = "kept"
    SYSTEMS = "systems"


class ExportFormat(StrEnum):
    """A form in which a package holds what it holds."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"


C = ExportCategory
OPERATIONS: Mapping[ExportCategory, frozenset[str]] = {
    category: frozenset(names.split())
    for category, names in {
        C.PROFILE: "profile account identities merges providers passkeys authenticators recoveryCodes",
        C.CONTACT: "emails phones addresses",
        C.ORDERS: "orders quotations",
        C.SUPPORT: "inquiries surveys",
        C.CHOICES: "preferences consents policies",
        C.MESSAGES: "messages",
        C.DEVICES: "devices activity",
        C.SIGN_INS: "sessions applications disclosures links transfers requests exports log",
        C.KEPT: "paper holds",
        C.SYSTEMS: "",
    }.items()
}
"""Operations of ``subject_access.graphql`` by category; what connected systems hold is one of its own."""


class NothingChosen(InvalidInput):
    """Choose at least one kind of data and one form."""

    code = "NOTHING_CHOSEN"


class PartSizeInvalid(InvalidInput):
    """A part has between 1 MB and 1 TB."""

    code = "PART_SIZE_INVALID"


class PassphraseWeak(InvalidInput):
    """A passphrase has 12 to 200 characters; use several words."""

    code = "PASSPHRASE_WEAK"


class LockedTwice(InvalidInput):
    """Lock the copy with a passphrase or with an age key, not with both."""

    code = "LOCKED_TWICE"


@dataclass(frozen=True)
class Choices:
    """What was chosen; None and empty mean everything."""

    categories: frozenset[ExportCategory] = frozenset(ExportCategory)
    formats: frozenset[ExportFormat] = frozenset(ExportFormat)
    part_bytes: int | None = None
    age_key: str | None = None
    passphrase: str | None = field(default=None, repr=False)

    def check(self) -> "Choices":
        """Raises NothingChosen, PartSizeInvalid, PassphraseWeak, LockedTwice, AgeKeyInvalid."""
        if not self.categories or not self.formats:
            raise NothingChosen
        if self.part_bytes is not None and not SMALLEST_PART_BYTES <= self.part_bytes <= LARGEST_PART_BYTES:
            raise PartSizeInvalid
        if self.passphrase is not None and self.age_key is not None:
            raise LockedTwice
        if self.passphrase is not None and not SHORTEST_PASSPHRASE <= len(self.passphrase) <= LONGEST_PASSPHRASE:
            raise PassphraseWeak
        if self.age_key is not None:
            age.public_key(self.age_key)
        return self

    @property
    def is_everything(self) -> bool:
        """Whether the copy holds all there is."""
        return self.categories == frozenset(ExportCategory)

    @property
    def lock(self) -> str | None:
        """How the copy is locked: ``passphrase``, ``age`` or not at all."""
        return "passphrase" if self.passphrase is not None else "age" if self.age_key is not None else None

    def takes(self, operation: str) -> bool:
        """Whether an operation of ``subject_access.graphql`` belongs in it."""
        return any(operation in OPERATIONS[category] for category in self.categories)

    def document(self) -> dict[str, Any]:
        """As a row and a manifest keep it: everything but the passphrase."""
        return {
            "categories": [one.value for one in ExportCategory if one in self.categories],
            "formats": [one.value for one in ExportFormat if one in self.formats],
            "partBytes": self.part_bytes,
            "lock": self.lock,
            "ageKey": self.age_key,
        }


EVERYTHING = Choices()


def read(document: Mapping[str, Any] | None, passphrase: str | None) -> Choices:
    """Read what ``document`` wrote; nothing written is everything."""
    if document is None:
        return EVERYTHING
    return Choices(
        frozenset(ExportCategory(one) for one in document["categories"]),
        frozenset(ExportFormat(one) for one in document["formats"]),
        document["partBytes"],
        document["ageKey"],
        passphrase,
    )
