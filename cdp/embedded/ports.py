"""TCP ports: the one that is asked for, or a free one when only the default was asked for and it is taken."""

import errno
import socket

from cdp.core.errors import Conflict
from cdp.core.settings import Settings


class PortTaken(Conflict):
    """The port is taken by another process."""

    code = "PORT_TAKEN"


def choose_port(settings: Settings) -> int:
    """The port of the API.

    Raises PortTaken when a port was set explicitly: whoever set it has told others about it.
    """
    if is_free(settings.host, settings.port):
        return settings.port
    if "port" in settings.model_fields_set:
        raise PortTaken(f"Port {settings.port} is taken; set CDP_PORT to another, or stop what listens there.")
    with socket.socket(_family(settings.host)) as probe:
        probe.bind((settings.host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there; for IPv4 also not on ::1, where a browser looks first for ``localhost``."""
    addresses = [host] if _family(host) == socket.AF_INET6 else [host, "::1"]
    return all(_can_bind(address, port) for address in addresses)


def _can_bind(host: str, port: int) -> bool:
    try:
        with socket.socket(_family(host)) as probe:
            # Otherwise connections in TIME_WAIT of our own last run would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _family(host) == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
