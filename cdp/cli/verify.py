"""``cdp verify``: check a certificate, an export package or the audit log, offline, against pinned keys."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import httpx
import typer

from cdp.cli.environment import read_settings
from cdp.core.errors import InvalidInput
from cdp.core.sign import Verdict
from cdp.embedded.layout import layout_of
from cdp.operations import pinned_keys
from cdp.operations.verification import Keys, Kind, Report, names_subject, verify_addendum, verify_file, verify_log

app = typer.Typer()

FAILED = 1
UNKNOWN_SIGNER = 3
LARGEST_KEYS_BYTES = 1024 * 1024


class KeysUnreadable(InvalidInput):
    """The keys can not be read."""

    code = "KEYS_UNREADABLE"


class FileUnreadable(InvalidInput):
    """The file can not be read."""

    code = "FILE_UNREADABLE"


class WitnessUnreadable(InvalidInput):
    """What was given as a witness holds no signed head."""

    code = "WITNESS_UNREADABLE"


@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A certificate, a package, an audit log, a chain of custody …")
    ],
    *,
    keys: Annotated[
        str, typer.Option("--keys", metavar="FILE|URL", help="Public keys; default: the pinned ones.")
    ] = "",
    log: Annotated[bool, typer.Option("--log", help="The file must be an audit log.")] = False,
    witness: Annotated[
        list[Path] | None,
        typer.Option(help="Heads kept outside: a JSON file, a mail, another export, or a folder of these. Repeatable."),
    ] = None,
    addendum: Annotated[
        Path | None, typer.Option(help="The addendum: is it genuine too, and of this certificate?")
    ] = None,
    identifier: Annotated[str, typer.Option(help="Is the certificate about this identifier? Needs --salt.")] = "",
    salt: Annotated[str, typer.Option(help="The salt from the person's last letter, hexadecimal.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Check that a file is what was issued, to the byte, and by whom.

    Exit code 0 when it is, 1 when it is not, 3 when it is consistent but nobody whose key is known signed it.
    """
    known = keys_of(keys)
    try:
        report = verify_log(file, known, witnesses=witness or []) if log or witness else verify_file(file, known)
        reports = [report, *_addenda(addendum, file, known)]
    except OSError as error:
        raise FileUnreadable(f"The file can not be read: {error.strerror}") from None
    except ValueError as error:
        raise WitnessUnreadable(f"The witness can not be read: {error}") from None
    about = None
    if identifier and report.kind is Kind.CERTIFICATE:
        about = names_subject(file.read_bytes(), identifier, salt)
    for one in reports:
        show(one, about if one is report else None, as_json=as_json)
    end(reports, is_refuted=about is False)


def end(reports: Sequence[Report], *, is_refuted: bool = False) -> None:
    """Leave with the code that these checks deserve."""
    if is_refuted or any(one.problems or one.verdict is Verdict.INVALID for one in reports):
        raise typer.Exit(FAILED)
    if any(one.is_consistent for one in reports):
        raise typer.Exit(UNKNOWN_SIGNER)


def _addenda(addendum: Path | None, certificate: Path, keys: Keys) -> list[Report]:
    """What checking the addendum finds, where there is one."""
    if addendum is None:
        return []
    return [verify_addendum(addendum.read_bytes(), keys, certificate=certificate.read_bytes())]


def keys_of(given: str) -> Keys:
    """Keys of a file or a URL, else those pinned in the state folder, else none."""
    try:
        if given.startswith(("http://", "https://")):
            answer = httpx.get(given, timeout=15, follow_redirects=False)
            answer.raise_for_status()
            return pinned_keys.read(answer.content[:LARGEST_KEYS_BYTES])
        if given:
            return pinned_keys.read(Path(given).read_bytes())
        pinned = pinned_keys.pinned(layout_of(read_settings()).state)
        return pinned_keys.read(pinned.read_bytes()) if pinned.exists() else {}
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise KeysUnreadable(f"The keys can not be read: {type(error).__name__}") from None


def show(report: Report, about: bool | None = None, *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        found = {
            "kind": report.kind,
            "verdict": report.verdict,
            "valid": report.is_valid,
            "reference": report.reference,
            "keyId": report.signer,
            "files": report.files,
            "entries": report.entries,
            "problems": report.problems,
            "leftOut": report.left_out,
        }
        print(json.dumps(found if about is None else {**found, "aboutIdentifier": about}))
        return
    named = f"{report.kind} {report.reference}" + (f", {report.entries} entries" if report.entries else "")
    if report.is_valid:
        print(f"valid: {named}, signed by key {report.signer}")
    elif report.is_consistent:
        print(f"consistent, signer unknown: {named}, key {report.signer}")
    for line in report.left_out if report.is_valid or report.is_consistent else ():
        print(f"it leaves out {line}")
    for problem in report.problems:
        print(f"not valid: {problem}", file=sys.stderr)
    if about is not None:
        print("it is about this identifier" if about else "it is not about this identifier")
