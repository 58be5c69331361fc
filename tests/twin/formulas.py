"""What the schema computes in SQL, said again in Python, so that twin and compiler can disagree."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cdp.tables import request
from tests.twin.loaders import Loaders, Record


def _display_name(row: Record) -> str | None:
    full = " ".join(part for part in (row["given_name"], row["family_name"]) if part is not None)
    return row["organisation_name"] if row["organisation_name"] is not None else full or None


FORMULAS: Mapping[tuple[str, str], Callable[[Record], Any]] = {
    ("EmailAddress", "isVerified"): lambda row: row["verified_at"] is not None,
    ("PhoneNumber", "isVerified"): lambda row: row["verified_at"] is not None,
    ("OrderItem", "total"): lambda row: row["quantity"] * row["unit_price"],
    ("Customer", "displayName"): _display_name,
    ("Consent", "purposeCode"): lambda row: row["purpose"],
    ("PrivacyRequest", "isSettled"): lambda row: row["status"] in request.SETTLED,
    ("PrivacyRequest", "isOverdue"): lambda row: (
        row["status"] not in request.SETTLED and row["due_at"] < datetime.now(UTC)
    ),
    ("Export", "sha256"): lambda row: row["sha256"].hex() if row["sha256"] is not None else None,
}

SORT_KEYS: Mapping[tuple[str, str], Callable[[Record], Any]] = {
    ("Customer", "NAME"): lambda row: (
        row["family_name"] if row["family_name"] is not None else row["organisation_name"] or ""
    ).lower(),
}


def search_name(row: Record) -> str:
    """All names of a customer, as searched."""
    return " ".join(row[name] or "" for name in ("given_name", "family_name", "organisation_name")).lower()


async def newest_consents(rows: list[Record], loaders: Loaders) -> list[Record]:
    """The last decision per purpose and channel."""
    newest: dict[tuple[Any, Any], Record] = {}
    for row in sorted(rows, key=lambda row: (row["recorded_at"], row["id"])):
        newest[row["purpose"], row["channel"]] = row
    return list(newest.values())


async def ordered_tasks(rows: list[Record], loaders: Loaders) -> list[Record]:
    """Tasks by step, then by the position of their system."""
    from cdp.tables.system import system

    steps = list(request.TaskStep)
    places = {row["id"]: (await loaders.by_id(system, row["system_id"]) or {}).get("position") for row in rows}
    return sorted(rows, key=lambda row: (steps.index(row["step"]), places[row["id"]], row["id"]))


def email_mask(value: str) -> str:
    domain = value.split("@")[1] if "@" in value else ""
    return f"{value[:1]}***@{domain[:1]}***.{domain.split('.')[-1]}"


MASKS: Mapping[str, Callable[[str], str]] = {
    "email": email_mask,
    "phone": lambda value: "***" + value[-2:],
    "text": lambda value: value[:1] + "***",
}
