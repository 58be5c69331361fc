"""The command line ``cdp``: verbs of a person at a terminal, one module a group of verbs.

A verb's module is imported when the verb is called: ``cdp status`` must not wait for the API's imports. Exit codes: 0
done, 1 failed, 2 usage, 3 refused. Errors are one line on stderr, ``error: sentence (CODE)``; never a stack, never
somebody's data (``CDP_LOG_LEVEL=debug`` shows the stack of a bug).
"""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer

from cdp.cli.environment import InvalidSettings
from cdp.core.errors import Forbidden, PlatformError, Unauthenticated

FAILED = 1
USAGE = 2
REFUSED = 3
# Imports and the schema make half a million objects that all stay. Looking through them for rubbish after every 700
# was a fifth of a start.
COLLECT_AFTER = (50_000, 20, 20)

# verb -> module with an ``app: typer.Typer`` that has it: a command of a nameless app, or the name of the app itself.
VERBS = {
    "up": "cdp.cli.stack",
    "down": "cdp.cli.stack",
    "status": "cdp.cli.stack",
    "doctor": "cdp.cli.stack",
    "api": "cdp.cli.serve",
    "worker": "cdp.cli.serve",
    "migrate": "cdp.cli.serve",
    "print-schema": "cdp.cli.serve",
    "audit": "cdp.cli.audit",
    "backup": "cdp.cli.backup",
    "client": "cdp.cli.client",
    "demo": "cdp.cli.demo",
    "demo-transfer": "cdp.cli.demo",
    "documents": "cdp.cli.documents",
    "explain": "cdp.cli.explain",
    "controller": "cdp.cli.controller",
    "export": "cdp.cli.export",
    "import": "cdp.cli.load",
    "seed": "cdp.cli.load",
    "login": "cdp.cli.login",
    "logout": "cdp.cli.login",
    "whoami": "cdp.cli.login",
    "keys": "cdp.cli.keys",
    "paper": "cdp.cli.paper",
    "partner": "cdp.cli.partner",
    "request": "cdp.cli.request",
    "residual": "cdp.cli.residual",
    "restore": "cdp.cli.backup",
    "retention": "cdp.cli.retention",
    "staff": "cdp.cli.staff",
    "system": "cdp.cli.system",
    "token": "cdp.cli.token",
    "transfer": "cdp.cli.handover",
    "verify": "cdp.cli.verify",
}


def build(verbs: Mapping[str, str]) -> typer.Typer:
    """The command line with the modules of these verbs."""
    app = typer.Typer(
        name="cdp",
        help="GraphQL customer data platform with self-service data export and deletion.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for module in dict.fromkeys(verbs.values()):
        app.add_typer(importlib.import_module(module).app)
    return app


def main(arguments: Sequence[str] | None = None, *, verbs: Mapping[str, str] = VERBS) -> NoReturn:
    """Run one verb and exit with its code."""
    gc.set_threshold(*COLLECT_AFTER)
    given = list(sys.argv[1:] if arguments is None else arguments)
    called = {verb: home for verb, home in verbs.items() if verb in given[:1]}
    try:
        build(called or verbs)(args=given, prog_name="cdp")
    except PlatformError as error:
        sys.exit(_report(error))
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever comes is a bug of ours
        sys.exit(_report_bug(error))
    sys.exit(0)


def _report(error: PlatformError) -> int:
    print(f"error: {error.message.rstrip('.')} ({error.code})", file=sys.stderr)
    if isinstance(error, InvalidSettings):
        return USAGE
    return REFUSED if isinstance(error, Forbidden | Unauthenticated) else FAILED


def _report_bug(error: Exception) -> int:
    """The text of an unexpected error may quote values, so only its type and place are shown."""
    if os.environ.get("CDP_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"error: Something went wrong: {type(error).__name__} in {place.name} (INTERNAL)", file=sys.stderr)
    return FAILED
