"""Constraint names turned into the errors callers know: the database decides, the name says which rule it was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from cdp.core.errors import PlatformError


def constraint_of(error: IntegrityError) -> str | None:
    """The name of the violated constraint or unique index."""
    cause = error.orig.__cause__ if error.orig is not None else None
    name = getattr(cause, "constraint_name", None)
    return name if isinstance(name, str) else None


@contextmanager
def refusing(refusals: Mapping[str, type[PlatformError]]) -> Iterator[None]:
    """Run statements; raise ``refusals[name]`` when the constraint ``name`` is violated, anything else as it came.

    The transaction is lost either way, and the database's own sentence, which quotes the value, is not passed on.
    """
    try:
        yield
    except IntegrityError as error:
        refusal = refusals.get(constraint_of(error) or "")
        if refusal is None:
            raise
    else:
        return
    raise refusal
