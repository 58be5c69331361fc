"""What we issued verifies offline, and one changed byte anywhere is noticed; run by the command as anybody would."""

import asyncio
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from cdp.core.keys import KeyStore
from cdp.core.sign import Signer, Verdict, canonical
from cdp.operations import pinned_keys, signing_keys, subjects
from cdp.operations.verification import names_subject, verify_certificate, verify_file, verify_package
from tests.engine import Engine
from tests.population import make_person

SEED = 11


class Issued:
    """A certificate and a package as somebody keeps them, with the keys to check them."""

    def __init__(self, folder: Path, certificate: bytes, package: bytes, keys: dict[str, str]) -> None:
        self.certificate, self.package, self.keys = certificate, package, keys
        self.certificate_file, self.package_file = folder / "certificate.json", folder / "package.zip"
        self.keys_file = folder / "keys.json"
        self.certificate_file.write_bytes(certificate)
        self.package_file.write_bytes(package)
        self.keys_file.write_text(json.dumps({"keys": keys}), encoding="utf-8")
        self.email = self.salt = ""


@pytest.fixture(scope="module")
async def issued(lasting_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Issued:
    engine = lasting_engine
    ada = await make_person(engine.platform.db)
    taken = await engine.open_export(ada)
    await engine.work()
    package = await engine.download(ada, taken.reference)
    opened = await engine.open_erasure(ada)
    await engine.work()
    certificate = (await engine.certificate(opened.reference)).document
    found = Issued(tmp_path_factory.mktemp("issued"), certificate, package, engine.platform.signer.keys())
    assert opened.status_key is not None
    found.email, found.salt = ada.email, subjects.salt_of(opened.status_key)
    return found


def strangers(tmp_path: Path) -> Signer:
    return Signer(KeyStore(tmp_path / "stranger"))


async def test_what_was_issued_verifies(issued: Issued) -> None:
    certificate, package = (
        verify_file(issued.certificate_file, issued.keys),
        verify_file(issued.package_file, issued.keys),
    )
    assert certificate.is_valid, certificate.problems
    assert package.is_valid, package.problems
    assert package.files > 30


async def test_every_byte_of_a_certificate_counts(issued: Issued) -> None:
    for place in range(len(issued.certificate)):
        for mask in (0x01, 0x20):
            changed = bytearray(issued.certificate)
            changed[place] ^= mask
            assert not verify_certificate(bytes(changed), issued.keys).is_valid, place


async def test_every_kind_of_byte_of_a_package_counts(issued: Issued, tmp_path: Path) -> None:
    """The first and last bytes (headers, directory, seal) one by one, the others by chance from a printed seed."""
    size = len(issued.package)
    chosen = {*range(120), *range(size - 700, size), *random.Random(SEED).sample(range(size), 250)}
    for place in sorted(chosen):
        changed = bytearray(issued.package)
        changed[place] ^= 1
        file = tmp_path / "changed.zip"
        file.write_bytes(changed)
        assert not verify_package(file, issued.keys).is_valid, (place, SEED)


Change = Callable[[bytes], bytes]
WHITE = {
    "longer": lambda raw: raw + b"\n",
    "cut": lambda raw: raw[:-1],
    "empty": lambda raw: b"",
    "doubled": lambda raw: raw + raw,
}


@pytest.mark.parametrize("change", WHITE.values(), ids=WHITE.keys())
async def test_other_lengths(issued: Issued, tmp_path: Path, change: Change) -> None:
    for raw in (issued.certificate, issued.package):
        file = tmp_path / "changed"
        file.write_bytes(change(raw))
        assert not verify_file(file, issued.keys).is_valid


async def test_another_spelling_of_the_same_certificate(issued: Issued) -> None:
    read = json.loads(issued.certificate)
    for other in (
        json.dumps(read).encode(),
        json.dumps(read, indent=1).encode(),
        issued.certificate.replace(b'{"', b'{ "', 1),
        issued.certificate.replace(b'"version":1}', b'"version":2,"version":1}'),
        canonical({**read, "signature": {**read["signature"], "note": "x"}}),
    ):
        assert not verify_certificate(other, issued.keys).is_valid


def rezipped(raw: bytes, **changes: bytes | None) -> bytes:
    """The same archive made anew, with some members replaced, added or (None) left out; comment kept."""
    source, target = zipfile.ZipFile(BytesIO(raw)), BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            content = changes.pop(name, source.read(name))
            if content is not None:
                archive.writestr(name, content)
        for name, content in changes.items():
            archive.writestr(name, content or b"")
        archive.comment = source.comment
    return target.getvalue()


async def test_a_package_made_anew(issued: Issued, tmp_path: Path) -> None:
    cases = {
        "is missing": {"data/profile.json": None},
        "is not in the manifest": {"data/more.json": b"[]"},
        "was changed": {"README.txt": b"hello"},
        "seal does not fit": {},
        "no manifest": {"manifest.json": None},
        "does not fit the manifest": {"manifest.sig": None},
    }
    for problem, changes in cases.items():
        file = tmp_path / "anew.zip"
        file.write_bytes(rezipped(issued.package, **changes))
        report = verify_package(file, issued.keys)
        assert not report.is_valid
        assert any(problem in one for one in report.problems), (problem, report.problems)


async def test_another_signer_is_unknown_never_valid(issued: Issued, tmp_path: Path) -> None:
    forged = canonical(strangers(tmp_path).sign(json.loads(issued.certificate)))
    report = verify_certificate(forged, issued.keys)
    assert (report.verdict, report.is_valid, report.is_consistent) == (Verdict.UNKNOWN_SIGNER, False, True)
    assert verify_package(issued.package_file, strangers(tmp_path).keys()).is_consistent


async def test_a_key_under_somebody_elses_name(issued: Issued, tmp_path: Path) -> None:
    (name,), (stranger,) = issued.keys, strangers(tmp_path).keys().values()
    forged = json.loads(canonical(strangers(tmp_path).sign(json.loads(issued.certificate))))
    forged["signature"]["keyId"] = name
    assert verify_certificate(canonical(forged), {name: stranger}).verdict is Verdict.INVALID


async def test_it_names_its_subject_only_to_who_has_the_salt(issued: Issued) -> None:
    assert names_subject(issued.certificate, issued.email, issued.salt)
    assert not names_subject(issued.certificate, "somebody@example.com", issued.salt)
    assert not names_subject(issued.certificate, issued.email, "00" * 16)
    assert not names_subject(issued.certificate, issued.email, "not hexadecimal")


@pytest.mark.parametrize(
    "garbage", [b"", b"null", b"[]", b"{}", b"PK", b"PK\x03\x04" + bytes(60), b"[" * 100_000, b"\xff"]
)
async def test_garbage_is_refused_calmly(tmp_path: Path, garbage: bytes) -> None:
    file = tmp_path / "garbage"
    file.write_bytes(garbage)
    assert not verify_file(file, {}).is_valid


def cdp(*arguments: str | Path, state: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cdp", *map(str, arguments)]
    environment = {"CDP_STATE_DIR": str(state), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


async def test_the_command(issued: Issued, tmp_path: Path) -> None:
    """Each call starts a program, so the calls run side by side."""
    state, keys = tmp_path / "state", ("--keys", issued.keys_file)
    changed = tmp_path / "changed.json"
    changed.write_bytes(issued.certificate.replace(b'"version":1', b'"version":2'))
    about = ("--identifier", issued.email, "--salt")
    calls = [
        (issued.certificate_file, *keys),
        (issued.package_file, "--json", *keys),
        (issued.certificate_file,),
        (changed, *keys),
        (tmp_path / "nothing", *keys),
        (issued.package_file, "--keys", tmp_path / "nothing"),
        (issued.certificate_file, *keys, *about, issued.salt),
        (issued.certificate_file, *keys, *about, "00"),
    ]
    ended = await asyncio.gather(*(asyncio.to_thread(cdp, "verify", *call, state=state) for call in calls))
    assert [one.returncode for one in ended] == [0, 0, 3, 1, 1, 1, 0, 1]
    assert json.loads(ended[1].stdout)["valid"] is True
    assert "signer unknown" in ended[2].stdout
    assert "not valid" in ended[3].stderr


async def test_keys_are_pinned_and_kept(engine: Engine) -> None:
    signing_keys.publish(engine.platform)
    path = pinned_keys.pinned(engine.platform.settings.state_dir)
    older = {"0123456789abcdef": "an older key"}
    path.write_text(json.dumps({"keys": older}), encoding="utf-8")
    signing_keys.publish(engine.platform)
    assert pinned_keys.read(path.read_bytes()) == {**older, **engine.platform.signer.keys()}
