"""Read the settings at the door of a verb, and say in one line which of them is wrong."""

from pydantic import ValidationError

from cdp.core.errors import InvalidInput
from cdp.core.settings import Settings


class InvalidSettings(InvalidInput):
    """A setting is not valid."""

    code = "INVALID_SETTINGS"


def read_settings() -> Settings:
    """Settings of the environment.

    Raises InvalidSettings, which names the variable and the reason but never the value: it may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        reasons = [f"CDP_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        raise InvalidSettings("; ".join(reasons)) from None
    except OSError as error:
        raise InvalidSettings(f"a secret's file cannot be read: {error.filename}") from None
