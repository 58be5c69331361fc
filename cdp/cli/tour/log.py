"""The end of the tour: the audit log of it all, exported, checked offline, agreeing with the certificate's head."""

import json
from pathlib import Path

from cdp.cli.audit import LOG_FILE, write_log
from cdp.cli.tour.steps import Tour
from cdp.cli.tour.visitor import TourFailed
from cdp.core.sign import canonical
from cdp.operations.verification import verify_log

HEAD_FILE = "audit-head.json"


async def check_log(tour: Tour) -> None:
    """Export the log and check it as anybody would. Raises TourFailed where it does not hold, or holds and must not."""
    tour.console.rule("What happened is in the audit log, and stays there")
    keys, path, head = tour.platform.signer.keys(), tour.out / LOG_FILE, tour.out / HEAD_FILE
    await write_log(tour.platform, path)
    certificate = json.loads((tour.out / "certificate.json").read_bytes())
    head.write_bytes(canonical(certificate["log"]["head"]))
    report = verify_log(path, keys, witnesses=[head])
    if not report.is_valid:
        raise TourFailed(f"the audit log does not verify: {'; '.join(report.problems)}")
    tour.say(f"exported to {path}: {report.entries} entries verified offline, under signed heads")
    tour.say(f"the certificate is entry {certificate['log']['index'] + 1}; its head agrees with the log")
    for alter, what in ((_without_one, "one entry missing"), (_swapped, "two entries changed round")):
        altered = alter(path)
        if verify_log(altered, keys).is_valid:
            raise TourFailed(f"a log with {what} was accepted")
        altered.unlink()
        tour.say(f"the same log with {what} is rejected")


def _without_one(path: Path) -> Path:
    *rest, _, last = path.read_bytes().splitlines(keepends=True)
    return _altered(path, [*rest, last])


def _swapped(path: Path) -> Path:
    *rest, one, other = path.read_bytes().splitlines(keepends=True)
    return _altered(path, [*rest, other, one])


def _altered(path: Path, lines: list[bytes]) -> Path:
    altered = path.with_name("altered.ndjson")
    altered.write_bytes(b"".join(lines))
    return altered
