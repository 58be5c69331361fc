"""The one place that asks what time it is; everything else is handed the answer."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, with the UTC zone attached."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Format as the API does everywhere: ``2026-01-31T12:00:00.000000Z`` (RFC 3339, UTC, microseconds)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
