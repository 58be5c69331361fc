"""The tree of errors a caller can meet. A leaf lives beside its operation.

The docstring is the public sentence, ``code`` is stable API, ``status`` is the HTTP status an edge answers with.
Neither may hold anything about a person. Anything that is not a PlatformError is a bug and is shown as INTERNAL.
"""

from typing import Any, ClassVar


class PlatformError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    is_audited: bool = False  # whether the audit log has this refusal already

    def __init__(self, message: str | None = None, **extensions: Any) -> None:  # noqa: ANN401
        self.message = message or (type(self).__doc__ or "").split("\n")[0]
        self.extensions = extensions
        super().__init__(self.message)


class InvalidInput(PlatformError):
    """The input is not valid."""

    code = "BAD_USER_INPUT"
    status = 400


class Unauthenticated(PlatformError):
    """Sign in first."""

    code = "UNAUTHENTICATED"
    status = 401


class StepUpRequired(Unauthenticated):
    """Sign in again: this needs a fresh sign-in."""

    code = "STEP_UP_REQUIRED"

    @property
    def challenge(self) -> str:
        """What the next sign-in has to be, in the words of RFC 9470 section 3."""
        asked = f'max_age={self.extensions.get("max_age", 0)}, acr_values="{self.extensions.get("acr_values", "")}"'
        return f'Bearer error="insufficient_user_authentication", error_description="{self.message}", {asked}'


class Forbidden(PlatformError):
    """You may not do this."""

    code = "FORBIDDEN"
    status = 403


class NotFound(PlatformError):
    """There is nothing here, or it is not yours."""

    code = "NOT_FOUND"
    status = 404


class Conflict(PlatformError):
    """This no longer fits the current state."""

    code = "CONFLICT"
    status = 409


class TooLarge(PlatformError):
    """The request is too large."""

    code = "TOO_LARGE"
    status = 413


class RateLimited(PlatformError):
    """Too many tries; wait a moment."""

    code = "RATE_LIMITED"
    status = 429


class Unavailable(PlatformError):
    """A part this needs is not reachable; nothing was changed."""

    code = "UNAVAILABLE"
    status = 503
