"""Which kinds of connected systems there are: one line each."""

from collections.abc import Callable, Mapping

from cdp.connectors.base import ConfigurationInvalid, Connector, Problem, System
from cdp.connectors.blobs.connector import BlobFiles
from cdp.connectors.gdpr_api.connector import GdprApi
from cdp.connectors.http.connector import Http
from cdp.connectors.mail.connector import Mail
from cdp.connectors.manual.connector import Manual
from cdp.connectors.opendsr.connector import OpenDsr
from cdp.connectors.own.connector import Own
from cdp.connectors.paper.connector import Paper
from cdp.connectors.sql.connector import Sql
from cdp.connectors.valkey.connector import Valkey
from cdp.connectors.webhook.connector import Webhook
from cdp.core.platform import Platform

KINDS: Mapping[str, Callable[[System, Platform], Connector]] = {
    "blobs": BlobFiles,
    "gdpr_api": GdprApi,
    "http": Http,
    "mail": Mail,
    "manual": Manual,
    "opendsr": OpenDsr,
    "own": Own,
    "paper": Paper,
    "sql": Sql,
    "valkey": Valkey,
    "webhook": Webhook,
}


def connect(system: System, platform: Platform) -> Connector:
    """Build the connector of a system; opens nothing yet. Raises ConfigurationInvalid or Unsealable."""
    if system.kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigurationInvalid(
            (Problem("UNKNOWN_KIND", "kind", f"There is no kind {system.kind}; known: {known}"),)
        )
    return KINDS[system.kind](system, platform)


async def problems(system: System, platform: Platform) -> tuple[Problem, ...]:
    """Everything wrong with a system's configuration, tried against the running system; empty means it will work."""
    try:
        connector = connect(system, platform)
    except ConfigurationInvalid as error:
        return error.problems
    return await connector.probe()
