"""The verifier of one file: it knows nothing of the platform, catches what the platform's own catches, and agrees."""

import ast
import asyncio
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cdp.core.db import Role
from cdp.core.keys import KeyStore
from cdp.core.sign import Signer, canonical
from cdp.operations.requests import certificates
from cdp.operations.residual import addenda
from cdp.operations.verification import Report, verify_addendum, verify_certificate
from tests.engine import Engine
from tests.population import make_person

SEED = 12
PROJECT = Path(__file__).parents[2]


class Issued:
    """Two people's documents as they keep them, and the keys."""

    def __init__(self, certificate: bytes, addendum: bytes, other: bytes, signer: Signer) -> None:
        self.certificate, self.addendum, self.other, self.signer = certificate, addendum, other, signer
        self.keys = signer.keys()


@pytest.fixture(scope="module")
async def issued(lasting_engine: Engine) -> Issued:
    engine, found = lasting_engine, []
    for _ in range(2):
        opened = await engine.open_erasure(await make_person(engine.platform.db))
        await engine.work()
        issued = await engine.certificate(opened.reference)
        async with engine.platform.db.transaction(Role.WORKER) as tx:
            addendum = await addenda.of_request(tx, opened.id)
        assert addendum is not None
        found.append((issued.document, addendum.document))
    return Issued(*found[0], found[1][0], engine.platform.signer)


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The file as it is handed out, somewhere else, under a name of its own."""
    path = tmp_path_factory.mktemp("alone") / certificates.VERIFIER
    path.write_bytes(certificates.verifier())
    spec = importlib.util.spec_from_file_location("somebody_elses_verifier", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_of(report: Report) -> int:
    return 0 if report.is_valid else 3 if report.is_consistent else 1


def both(standalone: ModuleType, issued: Issued, certificate: bytes, addendum: bytes, keys: dict[str, str]) -> set[int]:
    """What each of the two says about certificate and addendum; one number where they agree."""
    of_certificate = {
        code_of(verify_certificate(certificate, keys)),
        standalone.check_certificate(certificate, keys).code,
    }
    report = verify_addendum(addendum, keys, certificate=certificate)
    of_addendum = {code_of(report), standalone.check_addendum(addendum, keys, certificate).code}
    assert len(of_certificate) == len(of_addendum) == 1, (of_certificate, of_addendum, report.problems)
    return {max(of_certificate | of_addendum, key=lambda code: {0: 0, 3: 1, 1: 2}[code])}


def test_it_needs_nothing_of_ours() -> None:
    source = certificates.verifier().decode()
    tree = ast.parse(source, feature_version=(3, 9))
    named = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    named |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert named - {"cryptography"} <= sys.stdlib_module_names
    assert "cdp." not in source.replace("cdp.erasure", "").replace("cdp.audit", "")


async def test_what_was_issued_is_valid(standalone: ModuleType, issued: Issued) -> None:
    assert both(standalone, issued, issued.certificate, issued.addendum, issued.keys) == {0}
    assert both(standalone, issued, issued.certificate, issued.addendum, {}) == {3}


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, Change] = {
    "a count": lambda c: c["systems"][0]["erased"]["records"].update(customer=7),
    "a system left out": lambda c: c["systems"].pop(),
    "something kept left out": lambda c: c["systems"][0].update(retained=[]),
    "another day": lambda c: c.update(issuedAt="2020-01-01T00:00:00.000000Z"),
    "another subject": lambda c: c["subject"].update(hash="0" * 64),
    "another request": lambda c: c["request"].update(reference="ER-2222-2222"),
    "a word more": lambda c: c.update(note="all is well"),
    "nothing unread": lambda c: c.update(notScanned=[]),
    "a newer version": lambda c: c.update(version=2),
    "no proof": lambda c: c.pop("log"),
    "another place in the log": lambda c: c["log"].update(index=c["log"]["index"] + 1),
    "another head": lambda c: c["log"]["head"].update(size=c["log"]["head"]["size"] + 1),
    "another path": lambda c: c["log"]["path"].reverse() or c["log"]["path"].append("0" * 64),
    "another entry": lambda c: c["log"]["entry"].update(action="certificate.revoked"),
    "no signature": lambda c: c.pop("signature"),
    "an algorithm of no worth": lambda c: c["signature"].update(algorithm="none"),
    "another key's name": lambda c: c["signature"].update(keyId="0" * 15),
}
OF_THE_ADDENDUM: dict[str, Change] = {
    "something found": lambda a: a["found"].append({"table": "customer"}),
    "nothing looked for": lambda a: a.update(lookedFor={}),
    "fewer rows": lambda a: a["pass"].update(rows=a["pass"]["rows"] - 1),
    "no canaries": lambda a: a["pass"].pop("canaries"),
    "another certificate's name": lambda a: a["certificate"].update(reference="CE-2222-2222"),
    "another certificate's hash": lambda a: a["certificate"].update(sha256="0" * 64),
    "another's entry": lambda a: a["log"]["entry"]["object"].update(type="Certificate"),
    "a newer version": lambda a: a.update(version=2),
    "no proof": lambda a: a.pop("log"),
    "no signature": lambda a: a.pop("signature"),
}


def changed(document: bytes, change: Change) -> bytes:
    read = json.loads(document)
    change(read)
    return canonical(read)


@pytest.mark.parametrize("is_signed_anew", [False, True])
async def test_every_tampering_is_caught_by_both(
    standalone: ModuleType, issued: Issued, *, is_signed_anew: bool
) -> None:
    """Also by the holder of the key: the log does not know what was changed afterwards."""
    sign = issued.signer.sign if is_signed_anew else dict
    unsigned = {"no signature", "an algorithm of no worth", "another key's name"} if is_signed_anew else set()
    for name in CHANGES.keys() - unsigned:
        forged = canonical(sign(json.loads(changed(issued.certificate, CHANGES[name]))))
        assert both(standalone, issued, forged, issued.addendum, issued.keys) == {1}, name
    for name in OF_THE_ADDENDUM.keys() - unsigned:
        forged = canonical(sign(json.loads(changed(issued.addendum, OF_THE_ADDENDUM[name]))))
        assert both(standalone, issued, issued.certificate, forged, issued.keys) == {1}, name


async def test_documents_of_somebody_else(standalone: ModuleType, issued: Issued, tmp_path: Path) -> None:
    assert both(standalone, issued, issued.other, issued.addendum, issued.keys) == {1}
    assert both(standalone, issued, issued.addendum, issued.certificate, issued.keys) == {1}
    stranger = Signer(KeyStore(tmp_path / "stranger"))
    forged = canonical(stranger.sign(json.loads(issued.certificate)))
    # The addendum no longer belongs to these bytes; the certificate alone is consistent under an unknown name.
    assert standalone.check_certificate(forged, issued.keys).code == 3
    (name,), (key,) = issued.keys, stranger.keys().values()
    assert both(standalone, issued, issued.certificate, issued.addendum, {name: key}) == {1}


GARBAGE = [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"a":1.5}', b'{"kind":"cdp.erasure-certificate"}']


async def test_they_agree_about_everything(standalone: ModuleType, issued: Issued) -> None:
    """Bytes changed, cut, doubled and spelled otherwise, by chance from a printed seed."""
    chance = random.Random(SEED)
    cases = list(GARBAGE)
    for document in (issued.certificate, issued.addendum):
        cases += [document[: chance.randrange(len(document))] for _ in range(10)]
        cases += [
            document + b"\n",
            json.dumps(json.loads(document)).encode(),
            document.replace(b'{"', b'{"version":1,"', 1),
        ]
        for _ in range(120):
            raw = bytearray(document)
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            cases.append(bytes(raw))
    for case in cases:
        assert both(standalone, issued, case, issued.addendum, issued.keys) == {1}, (case[:80], SEED)
        assert both(standalone, issued, issued.certificate, case, issued.keys) == {1}, (case[:80], SEED)


def test_what_a_certificate_leaves_out_is_said(standalone: ModuleType) -> None:
    done = {"state": "done", "code": "ERASED"}
    systems = [
        {"title": "CRM", "erased": done, "verified": done},
        {"title": "News\x1bletter", "erased": {"state": "unsupported", "code": "NO_IDENTIFIER"}},
        {"title": "Shop", "erased": done, "verified": {"state": "unsupported", "code": None}},
        {"title": "Till", "erased": done},
        "garbage",
    ]
    assert standalone.left_out({"systems": systems}) == [
        "Newsletter: not erased (NO_IDENTIFIER)",
        "Shop: not verified",
        "Till: not verified",
        "None: not erased",
    ]
    assert standalone.left_out({"systems": 7}) == standalone.left_out({}) == []


async def test_both_commands(issued: Issued, tmp_path: Path) -> None:
    """Each call starts a program, so the calls run side by side. The file runs isolated, in an empty folder."""
    files = {"certificate.json": issued.certificate, "addendum.json": issued.addendum, "other.json": issued.other}
    files["forged.json"] = changed(issued.addendum, OF_THE_ADDENDUM["something found"])
    files["keys.json"] = json.dumps({"keys": issued.keys}).encode()
    files[certificates.VERIFIER] = certificates.verifier()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    alone = [sys.executable, "-I", certificates.VERIFIER]
    ours = [sys.executable, "-m", "cdp", "verify"]
    environment = {"PYTHONPATH": str(PROJECT), "CDP_STATE_DIR": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    keys = ["--keys", "keys.json"]
    cases = {
        0: ["certificate.json", "--addendum", "addendum.json", *keys],
        3: ["certificate.json", "--addendum", "addendum.json"],
        1: ["certificate.json", "--addendum", "forged.json", *keys],
    }

    def run(command: list[str]) -> int:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False
        ).returncode

    calls = [[*program, *arguments] for arguments in cases.values() for program in (alone, ours)]
    calls += [
        [*alone, "other.json", "--addendum", "addendum.json", *keys],
        [*alone, "nothing.json"],
        [*ours, "addendum.json", *keys],
    ]
    ended = await asyncio.gather(*(asyncio.to_thread(run, call) for call in calls))
    assert ended == [0, 0, 3, 3, 1, 1, 1, 2, 0]
