"""House rules as small linters over the syntax tree; each says what it protects.

Sizes: a function fits a screen, a file one idea. Exceptions are listed here with their reason and nowhere else.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "cdp").rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 500
LONG_FUNCTIONS: dict[str, str] = {}
BANNED_NAMES = re.compile(r"(^|_)(manager|helper|helpers|util|utils|handler|misc|common)(_|$)")
# Third-party words that carry one of those.
ALLOWED_NAMES = {"exception_handlers", "add_exception_handler"}
LOCAL_IMPORTS: dict[str, str] = {
    "cdp/cli": "a verb imports what it runs, so that `cdp --help` starts at once",
    "cdp/connectors/sql": "drivers are imported when a system needs them",
    "cdp/operations/requests/certificate_pdf.py": "fonts take a quarter of a second, and most processes print nothing",
    "cdp/embedded/postgres.py": "`cdp status` need not pay for a driver it does not use",
}


def _parsed() -> Iterator[tuple[Path, ast.Module]]:
    for path in MODULES:
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_fit_a_screen() -> None:
    long = [
        f"{path}:{node.lineno} {node.name} has {length} lines"
        for path, tree in _parsed()
        for node in _functions(tree)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
        and f"{path}:{node.name}" not in LONG_FUNCTIONS
    ]
    assert not long, "\n".join(long)


def test_files_hold_one_idea() -> None:
    long = [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    ]
    assert not long, "\n".join(long)


def test_names_say_what_a_thing_is() -> None:
    found = [f"{path}" for path, _ in _parsed() if BANNED_NAMES.search(path.stem)]
    for path, tree in _parsed():
        found += [
            f"{path}:{node.lineno} {node.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and BANNED_NAMES.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name).lower())
            and node.name not in ALLOWED_NAMES
        ]
    assert not found, "\n".join(found)


def test_imports_stand_at_the_top() -> None:
    found = []
    for path, tree in _parsed():
        if any(str(path).startswith(prefix) for prefix in LOCAL_IMPORTS):
            continue
        found += [
            f"{path}:{inner.lineno}"
            for function in _functions(tree)
            for inner in ast.walk(function)
            if isinstance(inner, ast.Import | ast.ImportFrom)
        ]
    assert not found, "\n".join(found)


def test_one_place_commits() -> None:
    """A second commit site once let a request exist without its tasks."""
    pattern = re.compile(r"\.(commit|begin)\(")
    allowed = {
        "cdp/core/db.py",
        "cdp/connectors/sql/database.py",
        "cdp/connectors/sql/engine.py",
        "cdp/connectors/sql/connector.py",
    }
    found = [
        f"{path}:{number}"
        for path in (p.relative_to(ROOT) for p in MODULES)
        if str(path) not in allowed
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_clock_is_passed_in() -> None:
    """Time read inside a rule can not be tested; ``core.clock`` alone asks."""
    pattern = re.compile(r"datetime\.(now|utcnow|today)\(|date\.today\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        if path.name != "clock.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_jobs_stay_thin() -> None:
    long = [
        f"{path} has {len(lines)} lines of code"
        for path in MODULES
        if path.parent.name == "jobs"
        and path.name
        not in {"__init__.py", "bell.py", "claim.py", "gathering.py", "hands.py", "sweep.py", "workplace.py"}
        and len(lines := [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]) > 60
    ]
    assert not long, "\n".join(long)


def test_every_module_says_what_it_holds() -> None:
    silent = [str(path) for path, tree in _parsed() if not ast.get_docstring(tree)]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("pattern", ["unpkg", "jsdelivr", "cdnjs", "googleapis", "pypi[.]org", "npmjs", "pythonhosted"])
def test_nothing_names_an_outside_host(pattern: str) -> None:
    found = subprocess.run(
        ["git", "grep", "-nIiE", pattern, "--", ".", ":!tests/architecture"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""


def test_layers_hold() -> None:
    done = subprocess.run([ROOT / ".venv/bin/lint-imports"], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
