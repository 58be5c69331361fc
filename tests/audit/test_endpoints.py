"""Anybody gets the newest head and proofs about it, by hash and number alone; nothing else."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from cdp.cli.audit import write_log
from cdp.core import merkle
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.core.sign import Verdict, check
from cdp.operations.audit import sequencer
from tests.audit.conftest import happen
from tests.browser import serving, visitor
from tests.conftest import fresh_place

HEAD, INCLUSION, CONSISTENCY = (f"/.well-known/cdp-audit-{name}" for name in ("head", "inclusion", "consistency"))


@pytest.fixture(scope="module")
async def fresh_app(running: Settings, worker_name: str) -> AsyncIterator[Starlette]:
    with fresh_place(running, worker_name) as settings:
        async with serving(settings) as app:
            yield app


@pytest.fixture
async def stranger(fresh_app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(fresh_app) as client:
        client.headers["accept"] = "application/json"
        yield client


async def test_anybody_follows_the_log(fresh_app: Starlette, stranger: httpx.AsyncClient) -> None:
    platform: Platform = fresh_app.state.platform
    nothing = await stranger.get(HEAD)
    assert (nothing.status_code, nothing.json()["code"]) == (404, "NO_AUDIT_HEAD")
    heads = []
    for count in (3, 6):
        await happen(platform, count)
        await sequencer.sequence(platform)
        heads.append((await stranger.get(HEAD)).json())
        assert check(heads[-1], platform.signer.keys()) is Verdict.VALID
    first, second = (head["size"] for head in heads)
    answer = await stranger.get(CONSISTENCY, params={"first": first, "second": second})
    path = [bytes.fromhex(one) for one in answer.json()["path"]]
    roots = bytes.fromhex(heads[0]["root"]), bytes.fromhex(heads[1]["root"])
    assert merkle.is_consistent(first, second, roots, path)
    assert not merkle.is_consistent(first, second, roots[::-1], path)
    assert "immutable" in answer.headers["cache-control"]


async def test_an_entry_is_proven_by_its_hash(fresh_app: Starlette, stranger: httpx.AsyncClient) -> None:
    platform: Platform = fresh_app.state.platform
    await happen(platform, 4)
    await sequencer.sequence(platform)
    file = platform.settings.state_dir / "log.ndjson"
    await write_log(platform, file)
    entry = file.read_bytes().splitlines()[-3]
    head, leaf = (await stranger.get(HEAD)).json(), merkle.leaf_hash(entry)
    answer = await stranger.get(INCLUSION, params={"hash": leaf.hex(), "size": head["size"]})
    found = answer.json()
    path = [bytes.fromhex(one) for one in found["path"]]
    assert merkle.is_included(leaf, found["index"], head["size"], path, bytes.fromhex(head["root"]))
    assert set(found) == {"index", "size", "path"}
    assert json.loads(entry)["id"] not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{INCLUSION}?hash={'0' * 64}&size=1", 404, "NOT_IN_THE_LOG"),
        (f"{INCLUSION}?hash={'0' * 63}&size=1", 400, "NOT_A_HASH_OR_SIZE"),
        (f"{INCLUSION}?hash={'G' * 64}&size=1", 400, "NOT_A_HASH_OR_SIZE"),
        (f"{INCLUSION}?size=1", 400, "NOT_A_HASH_OR_SIZE"),
        (f"{INCLUSION}?hash={'0' * 64}&size=-1", 400, "NOT_A_HASH_OR_SIZE"),
        (f"{CONSISTENCY}?first=1&second=9999999", 400, "NO_SUCH_TREE"),
        (f"{CONSISTENCY}?first=2&second=1", 400, "NO_SUCH_TREE"),
        (f"{CONSISTENCY}?first=1&second={'9' * 40}", 400, "NOT_A_HASH_OR_SIZE"),
        (f"{CONSISTENCY}?first=%D9%A1&second=1", 400, "NOT_A_HASH_OR_SIZE"),
        (CONSISTENCY, 400, "NOT_A_HASH_OR_SIZE"),
    ],
)
async def test_other_questions_are_refused(stranger: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await stranger.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
