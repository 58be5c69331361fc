"""``cdp`` itself: verbs, usage, exit codes."""

import importlib
import subprocess
import sys

import pytest
import typer

from cdp.cli import VERBS, build, main


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cdp", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def _names(app: typer.Typer) -> set[str]:
    if isinstance(app.info.name, str):
        return {app.info.name}
    return {info.name or info.callback.__name__.replace("_", "-") for info in app.registered_commands}


@pytest.mark.parametrize("module", sorted(set(VERBS.values())))
def test_every_verb_is_registered_for_the_module_that_has_it(module: str):
    registered = {verb for verb, home in VERBS.items() if home == module}
    assert _names(importlib.import_module(module).app) == registered


def test_help_names_every_verb():
    done = _run("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("up", "--nonsense"), ("status", "surplus")])
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...]):
    assert _run(*arguments).returncode == 2


def test_a_bug_shows_its_type_and_place_and_no_value(capsys: pytest.CaptureFixture[str], tmp_path, monkeypatch):
    (tmp_path / "broken_verb.py").write_text(
        "import typer\napp = typer.Typer()\n"
        "@app.command()\ndef broken() -> None:\n    raise ValueError('ada@example.org')\n"
        "@app.command()\ndef other() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["broken"], verbs={"broken": "broken_verb"})
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == "error: Something went wrong: ValueError in broken (INTERNAL)\n"


def test_only_the_called_verb_is_imported():
    code = "import sys, cdp.cli as c; c.build({'status': 'cdp.cli.stack'}); print('cdp.cli.serve' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    assert build(VERBS).registered_groups
