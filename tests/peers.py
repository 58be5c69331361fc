"""Which real peers took part in a test run: the closing table, and what to install for those that did not.

A test names the peer it really talked to (``peers.took_part("postgres 18.6")``) or, when it is not there, says so
(``peers.missing("chromium", "apt install chromium")``) and skips. With ``CDP_REQUIRE_ALL=1`` a missing peer fails the
run: the gate must not pass because something was absent. Works under xdist: workers hand their lists to the controller.
"""

import os
from typing import NoReturn

import pytest

_took_part: set[str] = set()
_missing: dict[str, str] = {}


def took_part(peer: str) -> None:
    """Name a peer that a test really talked to, with its version."""
    _took_part.add(peer)


def missing(peer: str, remedy: str) -> NoReturn:
    """Skip the test because a peer is not there; ``remedy`` is the command that brings it."""
    _missing[peer] = remedy
    text = f"{peer} is missing: {remedy}"
    if os.environ.get("CDP_REQUIRE_ALL") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def closing_lines() -> list[str]:
    """The table's lines; remedies of one program become one command."""
    lines = [f"took part: {', '.join(sorted(_took_part)) or 'none'}"]
    if _missing:
        apt = "apt install "
        packages = sorted({remedy.removeprefix(apt) for remedy in _missing.values() if remedy.startswith(apt)})
        others = sorted({remedy for remedy in _missing.values() if not remedy.startswith(apt)})
        remedies = ([f"as root: {apt}{' '.join(packages)}"] if packages else []) + others
        lines.append(f"did not take part: {', '.join(sorted(_missing))}; {'; '.join(remedies)}")
    return lines


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["took_part"] = sorted(_took_part)
        output["missing"] = dict(_missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    output = getattr(node, "workeroutput", None) or {}  # a crashed worker has none
    _took_part.update(output.get("took_part", ()))
    _missing.update(output.get("missing", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _took_part or _missing:
        terminalreporter.section("real peers")
        for line in closing_lines():
            terminalreporter.write_line(line)
