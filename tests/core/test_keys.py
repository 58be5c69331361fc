"""The key store: keys that two processes agree on, and that are gone when they are destroyed."""

import subprocess
import sys
from pathlib import Path

import pytest

from cdp.core.keys import KeyGone, KeyStore

RACER = """
import sys, time
from pathlib import Path
from cdp.core.keys import KeyStore
store = KeyStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(" ".join(store.create(f"key-{n}").hex() for n in range(200)), flush=True)
"""


def test_a_key_is_made_once_and_read_again(tmp_path: Path):
    store = KeyStore(tmp_path / "keys")
    made = store.create("export-1")
    assert len(made) == 32
    assert store.create("export-1") == made == store.get("export-1")
    assert KeyStore(tmp_path / "keys").get("export-1") == made
    assert store.create("given", b"x" * 5) == b"x" * 5


def test_only_its_owner_can_read_a_key(tmp_path: Path):
    store = KeyStore(tmp_path / "keys")
    store.create("a")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "a.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["a.key"]


def test_a_destroyed_key_is_gone_and_so_is_its_material(tmp_path: Path):
    store = KeyStore(tmp_path)
    material = store.create("export-1")
    bystander = store.create("export-2")
    with (tmp_path / "export-1.key").open("rb") as still_open:
        store.destroy("export-1")
        assert still_open.read() != material
    assert not store.exists("export-1")
    with pytest.raises(KeyGone) as gone:
        store.get("export-1")
    assert gone.value.code == "KEY_GONE"
    store.destroy("export-1")
    assert store.get("export-2") == bystander
    assert store.names("export-") == ["export-2"]
    assert store.create("export-1") != material


@pytest.mark.parametrize("name", ["", "../a", "a/b", "A", ".hidden", "a b", "a\n", "ä", "a" * 101, "-a"])
def test_a_name_is_no_path(tmp_path: Path, name: str):
    store = KeyStore(tmp_path)
    for use in (store.create, store.get, store.exists, store.destroy):
        with pytest.raises(ValueError, match="name"):
            use(name)


def test_processes_that_race_agree_on_every_key(tmp_path: Path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(answers) == 1
    assert len(KeyStore(tmp_path).names("key-")) == 200
