"""An exported log is checked offline: tampering, dropping, reordering, truncating and forking are each seen."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdp.cli.audit import LOG_FILE, write_log
from cdp.core.keys import KeyStore
from cdp.core.merkle import Tree, leaf_hash
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.core.sign import Signer, canonical
from cdp.operations import pinned_keys
from cdp.operations.audit import sequencer
from cdp.operations.verification import Report, verify_file, verify_log
from tests.audit.conftest import ROUNDS, Exported, happen

HEADS = len(ROUNDS) + 1
ENTRIES = sum(ROUNDS) + 1


def changed(exported: Exported, folder: Path, change: Callable[[list[bytes]], object]) -> Report:
    lines = exported.lines
    change(lines)
    file = folder / "changed.ndjson"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return verify_file(file, exported.keys) if lines and b"audit-log" in lines[0] else verify_log(file, exported.keys)


def entry(number: int) -> int:
    """Line of the entry with this number, from 1."""
    return HEADS + number


def header(lines: list[bytes], **values: object) -> None:
    lines[0] = canonical({**json.loads(lines[0]), **values})


def edit(lines: list[bytes], at: int, change: Callable[[dict[str, Any]], object]) -> None:
    read = json.loads(lines[at])
    change(read)
    lines[at] = canonical(read)


def swap(lines: list[bytes], one: int, other: int) -> None:
    lines[one], lines[other] = lines[other], lines[one]


def cut(lines: list[bytes], left: int) -> None:
    """Truncate to so many entries, with a header that says so."""
    del lines[entry(left) + 1 :]
    header(lines, entries=left)


def drop_heads(lines: list[bytes], kept: int) -> None:
    """Truncate to the first heads and what they cover: an older export, nothing in itself wrong with it."""
    size = json.loads(lines[kept])["size"]
    del lines[entry(size) + 1 :]
    del lines[kept + 1 : HEADS + 1]
    header(lines, entries=size, heads=kept)


Lines = list[bytes]
ATTACKS: dict[str, tuple[Callable[[Lines], object], str]] = {
    "another actor": (lambda x: edit(x, entry(2), lambda e: e["actor"].update(kind="staff")), "Entries 1 to 3 are not"),
    "another time": (lambda x: edit(x, entry(17), lambda e: e.update(occurredAt="2020")), "Entries 10 to 17 are not"),
    "one byte": (lambda x: x.__setitem__(entry(4), x[entry(4)].replace(b"test", b"tesu")), "Entries 4 to 4 are not"),
    "another spelling": (lambda x: x.__setitem__(entry(1), b" " + x[entry(1)]), "Entry 1 has another form"),
    "dropped": (lambda x: (x.pop(entry(5)), header(x, entries=ENTRIES - 1)), "Entries are missing"),
    "dropped unsaid": (lambda x: x.pop(entry(5)), "announces 18 entries and holds 17"),
    "dropped and doubled": (lambda x: x.__setitem__(entry(5), x[entry(6)]), "Entries 5 to 9 are not"),
    "reordered": (lambda x: swap(x, entry(1), entry(2)), "Entries 1 to 3 are not"),
    "reordered far": (lambda x: swap(x, entry(1), entry(18)), "Entries 1 to 3 are not"),
    "added at the end": (
        lambda x: (x.append(x[-1]), header(x, entries=ENTRIES + 1)),
        "No head covers the entries after 18",
    ),
    "inserted": (lambda x: (x.insert(entry(3), x[-1]), header(x, entries=ENTRIES + 1)), "No head covers"),
    "truncated": (lambda x: cut(x, 12), "Entries are missing: the last head counts 18, the log holds 12"),
    "truncated to a head": (lambda x: cut(x, 9), "Entries are missing: the last head counts 18, the log holds 9"),
    "emptied": (lambda x: cut(x, 0), "Entries are missing"),
    "without its heads": (lambda x: (x.__delitem__(slice(1, HEADS + 1)), header(x, heads=0)), "No head is signed"),
    "nothing left": (lambda x: (x.__delitem__(slice(1, None)), header(x, heads=0, entries=0)), "No head is signed"),
    "a head dropped": (lambda x: (x.pop(2), header(x, heads=HEADS - 1)), "does not follow the one before it"),
    "heads reordered": (lambda x: swap(x, 2, 3), "out of order"),
    "a head's root": (lambda x: edit(x, 2, lambda h: h.update(root="0" * 64)), "signature of the head of 4 entries"),
    "a head's time": (lambda x: edit(x, 2, lambda h: h.update(time="2020")), "signature of the head of 4 entries"),
    "a head's form": (lambda x: edit(x, 2, lambda h: h.update(note="x")), "Head 2 has another form"),
    "fewer heads": (lambda x: header(x, heads=2), "another form"),
    "more heads": (lambda x: header(x, heads=100), "another form"),
    "another version": (lambda x: header(x, version=2), "not an audit log"),
    "no header": (lambda x: x.pop(0), "not an audit log"),
    "empty": (list.clear, "not an audit log"),
}


def test_what_was_exported_holds(exported: Exported) -> None:
    report = verify_file(exported.file, exported.keys)
    assert report.is_valid, report.problems
    assert report.entries == ENTRIES
    assert len([line for line in exported.lines if b"cdp.audit-head" in line]) == HEADS
    assert json.loads(exported.lines[-1])["action"] == "audit.exported"
    assert verify_file(exported.file, {}).is_consistent


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_seen(exported: Exported, tmp_path: Path, name: str) -> None:
    attack, problem = ATTACKS[name]
    report = changed(exported, tmp_path, attack)
    assert not report.is_valid
    assert not report.is_consistent
    assert any(problem in one for one in report.problems), report.problems


def test_every_byte_of_an_entry_and_a_head_counts(exported: Exported, tmp_path: Path) -> None:
    for at in (entry(7), 3):
        for place in range(len(exported.lines[at])):

            def flip(lines: Lines, at: int = at, place: int = place) -> None:
                raw = bytearray(lines[at])
                raw[place] ^= 1
                lines[at] = bytes(raw)

            assert not changed(exported, tmp_path, flip).is_valid, (at, place)


def signed_anew(exported: Exported, signer: Signer, change: Callable[[Lines], object]) -> list[bytes]:
    """What an operator with the key makes of the log: changed entries under one new head of their own."""
    lines = exported.lines
    entries = lines[HEADS + 1 :]
    change(entries)
    tree = Tree()
    for one in entries:
        list(tree.append(leaf_hash(one)))
    head = {**json.loads(lines[HEADS]), "size": tree.size, "root": tree.root().hex(), "previous": None}
    made = [canonical({**json.loads(lines[0]), "heads": 1, "entries": tree.size}), canonical(signer.sign(head))]
    return made + entries


@pytest.fixture
def kept(exported: Exported, tmp_path: Path) -> Path:
    """A head that somebody outside has kept: the one of 9 entries."""
    file = tmp_path / "kept.json"
    file.write_bytes(exported.lines[3])
    return file


REWRITES: dict[str, tuple[Callable[[Lines], object], str]] = {
    "an entry changed": (lambda x: edit(x, 1, lambda e: e.update(outcome="refused")), "was rewritten"),
    "an entry dropped": (lambda x: x.pop(4), "was rewritten"),
    "cut back": (lambda x: x.__delitem__(slice(8, None)), "was cut back"),
}


@pytest.mark.parametrize("name", REWRITES)
def test_a_fork_by_the_keys_holder_is_seen_by_a_witness(
    exported: Exported, kept: Path, tmp_path: Path, name: str
) -> None:
    change, problem = REWRITES[name]
    file = tmp_path / "forked.ndjson"
    file.write_bytes(b"\n".join(signed_anew(exported, exported.platform.signer, change)) + b"\n")
    assert verify_log(file, exported.keys).is_valid, "nothing in the file itself tells"
    for witness in (kept, exported.file, kept.parent / "folder"):
        if not witness.exists():
            witness.mkdir()
            (witness / "head.json").write_bytes(exported.lines[3])
        report = verify_log(file, exported.keys, witnesses=[witness])
        assert not report.is_valid
        assert any(problem in one for one in report.problems), report.problems


def test_what_happened_later_is_no_fork(exported: Exported, kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "forked.ndjson"
    later = signed_anew(exported, exported.platform.signer, lambda x: edit(x, 12, lambda e: e.update(outcome="x")))
    file.write_bytes(b"\n".join(later) + b"\n")
    assert verify_log(file, exported.keys, witnesses=[kept]).is_valid


def test_an_older_export_is_caught_by_a_newer_head(exported: Exported, kept: Path, tmp_path: Path) -> None:
    report = changed(exported, tmp_path, lambda lines: drop_heads(lines, 2))
    assert report.is_valid
    report = verify_log(tmp_path / "changed.ndjson", exported.keys, witnesses=[kept])
    assert any("was cut back" in one for one in report.problems)


def test_a_witness_nobody_signed(exported: Exported, tmp_path: Path) -> None:
    stranger, file = Signer(KeyStore(tmp_path / "stranger")), tmp_path / "head.json"
    file.write_bytes(canonical(stranger.sign(json.loads(exported.lines[3]))))
    assert verify_log(exported.file, exported.keys, witnesses=[file]).is_consistent
    file.write_bytes(exported.lines[3].replace(b'"size":9', b'"size":8'))
    assert not verify_log(exported.file, exported.keys, witnesses=[file]).is_consistent
    for garbage in (b"", b"{}", b"\xff\xfe", b"hello", b'{"kind":"cdp.audit-head"}'):
        file.write_bytes(garbage)
        with pytest.raises(ValueError, match="no signed head"):
            verify_log(exported.file, exported.keys, witnesses=[file])


def test_a_head_alone(exported: Exported, kept: Path) -> None:
    assert verify_file(kept, exported.keys).is_valid
    assert verify_file(kept, {}).is_consistent
    kept.write_bytes(kept.read_bytes().replace(b'"size":9', b'"size":8'))
    assert not verify_file(kept, exported.keys).is_valid


async def test_history_rewritten_in_the_database_is_caught(fresh_platform: Platform, tmp_path: Path) -> None:
    """By the owner of the database who also holds the signing key: all of it is made again, and verifies, alone."""
    before, after = tmp_path / "before.ndjson", tmp_path / "after.ndjson"
    await happen(fresh_platform, 6)
    await write_log(fresh_platform, before)
    with psycopg.connect(fresh_platform.settings.database_owner_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_event NO FORCE ROW LEVEL SECURITY")
        for table in ("audit_event", "audit_leaf", "audit_node", "audit_head"):
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only")
        owner.execute("UPDATE audit_event SET outcome = 'refused' WHERE details ->> 'number' = '2'")
        await happen(fresh_platform, 1)
        await write_log(fresh_platform, after)
        report = verify_log(after, fresh_platform.signer.keys())
        assert any("Entries 1 to 7 are not" in one for one in report.problems), "the row no longer fits its leaf"
        for table in ("audit_leaf", "audit_node", "audit_head"):
            owner.execute(f"DELETE FROM {table}")
        owner.execute("INSERT INTO audit_pending SELECT id FROM audit_event")
    await sequencer.sequence(fresh_platform)
    await write_log(fresh_platform, after)
    assert verify_log(after, fresh_platform.signer.keys()).is_valid
    report = verify_log(after, fresh_platform.signer.keys(), witnesses=[before])
    assert any("was rewritten" in one for one in report.problems)


def cdp(*arguments: str | Path, settings: Settings, state: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "CDP_STATE_DIR": str(state),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": settings.redis_url,
        "CDP_KEY_STORE_DIR": str(settings.keys_dir),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "cdp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


async def test_the_commands(exported: Exported, kept: Path, tmp_path: Path) -> None:
    """Each call starts a program, so they run side by side."""
    settings, state, folder = exported.platform.settings, tmp_path / "state", tmp_path / "out"

    async def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(cdp, *arguments, settings=settings, state=state)

    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": exported.keys}), encoding="utf-8")
    bad = tmp_path / "bad.ndjson"
    bad.write_bytes(b"\n".join(exported.lines[:-1]) + b"\n")
    ended = await asyncio.gather(
        run("verify", "--log", exported.file, "--keys", keys, "--json"),
        run("verify", exported.file),
        run("verify", "--log", bad, "--keys", keys),
        run("verify", exported.file, "--keys", keys, "--witness", kept),
        run("verify", exported.file, "--keys", keys, "--witness", keys),
        run("audit", "export", folder),
    )
    assert [one.returncode for one in ended] == [0, 3, 1, 0, 1, 0], [one.stderr for one in ended]
    assert json.loads(ended[0].stdout)["entries"] == ENTRIES
    assert f"{ENTRIES} entries" in ended[1].stdout
    assert "not valid" in ended[2].stderr
    assert "WITNESS_UNREADABLE" in ended[4].stderr
    keys_of = pinned_keys.read((folder / pinned_keys.FILE).read_bytes())
    assert verify_file(folder / LOG_FILE, keys_of).is_valid


async def test_an_event_taken_out_of_the_queue_is_missed(fresh_platform: Platform, tmp_path: Path) -> None:
    await happen(fresh_platform, 2)
    with psycopg.connect(fresh_platform.settings.database_owner_url, autocommit=True) as owner:
        owner.execute("DELETE FROM audit_pending")
    found = await asyncio.to_thread(
        cdp, "audit", "status", "--json", settings=fresh_platform.settings, state=tmp_path / "state"
    )
    assert (found.returncode, json.loads(found.stdout)["lost"]) == (1, 2)
