"""``cdp transfer receive | follow | verify | custody`` and ``cdp verify`` as an acquirer and a seller run them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdp.access.viewer import SYSTEM
from cdp.cli import handover
from cdp.cli import verify as checking
from cdp.core.age import recipient_of
from cdp.core.sign import canonical
from cdp.operations.delivery import custody
from tests.delivery.factory import Deal, Seller, sold
from tests.population import make_person


class Had:
    """What an acquirer has on disk after a deal of three people."""

    def __init__(self, deal: Deal, folder: Path) -> None:
        self.deal, self.folder = deal, folder
        self.bag = folder / deal.reference / "bag"
        self.chain, self.keys, self.identity = (folder / name for name in ("chain.json", "keys.json", "identity.txt"))


@pytest.fixture(scope="module")
async def had(seller: Seller, tmp_path_factory: pytest.TempPathFactory) -> Had:
    for _ in range(3):
        await make_person(seller.platform.db)
    found = Had(await sold(seller), tmp_path_factory.mktemp("acquirer"))
    await seller.floor.drain()
    async with found.deal.buyer.at(seller, found.folder) as receiver:
        await receiver.receive(found.deal.reference)
    found.chain.write_bytes(canonical(await custody.write(seller.platform, SYSTEM, found.deal.id)))
    found.keys.write_text(json.dumps({"keys": seller.platform.signer.keys()}))
    identity = found.deal.buyer.identity
    found.identity.write_text(f"# public key: {recipient_of(identity)}\n{identity}\n")
    return found


def run(*arguments: object, app: object = handover.app) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [str(one) for one in arguments])  # type: ignore[arg-type]
    return answer.exit_code, answer.output


def test_a_package_and_a_chain_are_verified_offline(had: Had) -> None:
    for path in (had.bag, had.bag / "package.json", had.chain):
        assert run("verify", path, "--keys", had.keys)[0] == 0
        assert run(path, "--keys", had.keys, app=checking.app)[0] == 0
    assert run("verify", had.bag, "--keys", had.keys, "--identity", had.identity)[0] == 0


def test_an_unknown_signer_is_never_valid(had: Had, tmp_path: Path) -> None:
    nobody = tmp_path / "nobody.json"
    nobody.write_text('{"keys": {}}')
    for path in (had.bag, had.chain):
        code, said = run("verify", path, "--keys", nobody)
        assert code == 3
        assert "signer unknown" in said


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(one for one in folder.rglob("*") if one.is_file())


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :])


@pytest.mark.parametrize("tamper", [_cut, _flip, Path.unlink], ids=["cut", "changed", "removed"])
def test_whatever_file_is_touched_it_is_seen(tamper: Callable[[Path], object], had: Had, tmp_path: Path) -> None:
    for place, original in enumerate(_files(had.bag)):
        folder = tmp_path / str(place)
        shutil.copytree(had.bag, folder)
        tamper(folder / original.relative_to(had.bag))
        assert run("verify", folder, "--keys", had.keys)[0] == 1, original.name
        shutil.rmtree(folder)


def test_a_file_too_many_is_seen(had: Had, tmp_path: Path) -> None:
    shutil.copytree(had.bag, tmp_path / "bag")
    (tmp_path / "bag" / "data" / "more.age").write_bytes(b"x")
    assert run("verify", tmp_path / "bag", "--keys", had.keys)[0] == 1


def test_another_identity_does_not_open_it(had: Had, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("AGE-SECRET-KEY-1NOTAKEY\n")
    assert run("verify", had.bag, "--keys", had.keys, "--identity", other)[0] == 1


def test_a_key_that_is_none_is_refused(had: Had, tmp_path: Path) -> None:
    wrong = tmp_path / "key.json"
    wrong.write_text(json.dumps(had.deal.buyer.key.as_dict(private=False)))
    mine = ("--url", "http://127.0.0.1:9", "--client-id", "x", "--key", wrong, "--identity", had.identity)
    answer = CliRunner().invoke(
        handover.app, [str(one) for one in ("receive", "TR-2222-2222", *mine, "--keys", had.keys)]
    )
    assert answer.exit_code == 1
    assert "PRIVATE_KEY_UNREADABLE" in repr(getattr(answer.exception, "code", ""))
