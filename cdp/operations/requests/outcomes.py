"""What an error out of a connector, or out of our own code around it, means for a step."""

import structlog

from cdp.connectors.base import Code, ConfigurationInvalid, Outcome, State, Unfinished
from cdp.core.errors import PlatformError, Unavailable

INTERNAL = "INTERNAL"

log = structlog.get_logger()


def outcome_of(error: Exception) -> Outcome:
    """Trouble that may pass is tried again; what can not get better by itself has failed.

    A bug is tried again too: it ends in needs_attention, where a person sees it, and the log names its place.
    """
    match error:
        case Unfinished():
            return error.outcome
        case ConfigurationInvalid():
            return Outcome(State.FAILED, Code.MISCONFIGURED)
        case Unavailable():
            return Outcome(State.RETRY, error.code)
        case PlatformError():
            return Outcome(State.FAILED, error.code)
        case OSError():
            return Outcome(State.RETRY, Code.TIMED_OUT if isinstance(error, TimeoutError) else Code.UNREACHABLE)
    log.error("step.crashed", exc_info=error)
    return Outcome(State.RETRY, INTERNAL)
