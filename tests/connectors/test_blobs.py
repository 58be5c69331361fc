"""The blobs kind, against a folder and a running S3 service: the suite, versions, locks, unfinished uploads."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from cdp.connectors.base import ConfigurationInvalid, Connector, Identifier, State, Subject, System, Unfinished
from cdp.connectors.registry import connect, problems
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.platform import Platform
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import SearchingConformance, key_of, records_of, steps
from tests.seaweed import Seaweed, seaweed

PLACES: list[dict[str, Any]] = [
    {"collection": "documents", "folder": "customers/{customer_number}/", "issuer": "shop"},
    {"collection": "avatar", "key": "avatars/{username}"},
]
PHOTO = bytes(range(256))


@pytest.fixture(scope="module")
def server() -> Iterator[Seaweed]:
    with seaweed() as running:
        yield running


def system_for(platform: Platform, url: str, held: dict[str, str] | None = None, **changes: Any) -> System:
    system_id = SystemId(new_id())
    sealed = platform.sealer.seal(json.dumps(held).encode(), f"system:{system_id}") if held else None
    return System(system_id, "files", "blobs", {"url": url, "places": PLACES, **changes}, sealed)


def somebody() -> tuple[Subject, str]:
    mark = secrets.token_hex(5)
    identifiers = (
        Identifier("customer_number", f"n-{mark}", "shop", verified=True),
        Identifier("username", f"eve-{mark}", verified=True),
    )
    return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING), mark


class Files:
    """What both harnesses share: which files a person has, by path."""

    connector: Connector

    async def put(self, path: str, content: bytes) -> None:
        raise AssertionError(path, content)

    async def listed(self) -> dict[str, Any]:
        raise AssertionError

    async def person(self) -> Subject:
        subject, mark = somebody()
        await self.put(f"customers/n-{mark}/letters/2026 März.txt", f"Dear Eve {mark}".encode())
        await self.put(f"customers/n-{mark}/id.jpg", PHOTO + mark.encode())
        await self.put(f"customers/n-{mark}9/letter.txt", b"somebody with a longer number")
        await self.put(f"avatars/eve-{mark}", b"\x89PNG" + mark.encode())
        await self.put(f"avatars/eve-{mark}.old", b"somebody with a longer name")
        return subject

    async def everything(self) -> object:
        return await self.listed()

    async def held(self, subject: Subject) -> object:
        number, name = (known.value for known in subject.identifiers)
        mine = (f"customers/{number}/", f"avatars/{name}")
        return {k: v for k, v in (await self.listed()).items() if k.startswith(mine[0]) or k.split("?")[0] == mine[1]}

    async def come_back(self, subject: Subject) -> None:
        await self.put(f"customers/{subject.identifiers[0].value}/again.txt", b"again")

    def texts(self, subject: Subject) -> list[str]:
        mark = subject.identifiers[0].value.removeprefix("n-")
        return [f"Dear Eve {mark}", b64encode(PHOTO + mark.encode()).decode(), f"n-{mark}/", f"avatars/eve-{mark}"]


class Folder(Files):
    """A folder on disk."""

    def __init__(self, platform: Platform, root: Path) -> None:
        self.platform, self.root = platform, root
        self.connector = connect(system_for(platform, f"file://{root}"), platform)

    async def unreachable(self) -> Connector:
        return connect(system_for(self.platform, f"file://{self.root}-unmounted"), self.platform)

    async def put(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    async def listed(self) -> dict[str, Any]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


class Objects(Files):
    """A bucket that keeps versions."""

    def __init__(self, platform: Platform, server: Seaweed, bucket: str) -> None:
        self.platform, self.server, self.bucket = platform, server, bucket
        self.url = f"{server.url}/{bucket}"
        self.credentials = {
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
        }
        self.store = server.store(bucket)
        self.connector = self.connected(self.url)

    def connected(self, url: str, **changes: Any) -> Connector:
        return connect(system_for(self.platform, url, self.credentials, **changes), self.platform)

    async def unreachable(self) -> Connector:
        return self.connected("http://127.0.0.1:1/files")

    async def put(self, path: str, content: bytes) -> None:
        await obstore.put_async(self.store, path, b"an older version of it " + content)
        await obstore.put_async(self.store, path, content)

    async def listed(self) -> dict[str, Any]:
        text = self.server.call("GET", f"/{self.bucket}?versions=").text
        found = {}
        for kind in ("Version", "DeleteMarker"):
            for part in text.split(f"<{kind}>")[1:]:
                key = part.split("<Key>")[1].split("</Key>")[0]
                version = part.split("<VersionId>")[1].split("</VersionId>")[0]
                found[f"{key}?{version}"] = part.split(f"</{kind}>")[0]
        return found


class TestFolder(SearchingConformance):
    @pytest.fixture
    def harness(self, platform: Platform, tmp_path: Path) -> Folder:
        root = tmp_path / "files"
        root.mkdir()
        return Folder(platform, root)


@pytest.fixture(scope="module")
def versioned(server: Seaweed) -> str:
    """One bucket for all: every bucket takes volumes of the server for itself."""
    server.bucket("versioned", versioned=True)
    return "versioned"


@pytest.fixture
def objects(platform: Platform, server: Seaweed, versioned: str) -> Objects:
    return Objects(platform, server, versioned)


class TestBucket(SearchingConformance):
    @pytest.fixture
    def harness(self, objects: Objects) -> Objects:
        return objects


async def test_versions_marks_and_unfinished_uploads_go_too(objects: Objects) -> None:
    subject, bystander = await objects.person(), await objects.person()
    number = subject.identifiers[0].value
    await obstore.delete_async(objects.store, f"customers/{number}/id.jpg")
    objects.server.call("POST", f"/{objects.bucket}/customers/{number}/half.bin?uploads=").raise_for_status()
    assert any("half.bin" in line for line in uploads(objects))
    check, erase, verify = await steps(objects.connector, subject)
    assert (check.records, erase.records) == ({"documents": 6, "avatar": 2},) * 2
    assert verify.state is State.DONE
    assert not await objects.held(subject)
    assert uploads(objects) == []
    assert len(await objects.held(bystander)) == 6  # type: ignore[arg-type]  # a mapping here


def uploads(objects: Objects) -> list[str]:
    return objects.server.call("GET", f"/{objects.bucket}?uploads=").text.split("<Upload>")[1:]


async def test_old_versions_are_read_and_large_files_come_in_parts(objects: Objects) -> None:
    subject = await objects.person()
    number = subject.identifiers[0].value
    large = secrets.token_bytes(2 * 1024 * 1024 + 5)
    await obstore.put_async(objects.store, f"customers/{number}/scan.tiff", large)
    found = await records_of(objects.connector, subject)
    letters = [record for record in found["documents"] if str(record["key"]).endswith(".txt")]
    assert sorted("older" in str(record["text"]) for record in letters) == [False, True]
    parts = [record for record in found["documents"] if str(record["key"]).endswith("scan.tiff")]
    assert [(record["part"], record["parts"]) for record in parts] == [(1, 3), (2, 3), (3, 3)]
    assert parts[0]["base64"] == b64encode(large[: 1024 * 1024]).decode()


async def test_a_locked_version_holds_the_erasure_and_nothing_goes(platform: Platform, server: Seaweed) -> None:
    name = f"locked-{secrets.token_hex(4)}"
    server.bucket(name, lockable=True)
    objects = Objects(platform, server, name)
    subject = await objects.person()
    lock = {
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z",
    }
    target = f"/{name}/customers/{subject.identifiers[0].value}/contract.txt"
    server.call("PUT", target, content=b"a contract", headers=lock).raise_for_status()
    before = await objects.everything()
    check, erase, verify = await steps(objects.connector, subject)
    assert [(one.state, one.code) for one in (check, erase)] == [(State.HELD, "OBJECT_LOCKED")] * 2
    assert check.evidence == {"locked": 1}
    assert (verify.state, verify.code) == (State.FAILED, "LEFT_BEHIND")
    assert await objects.everything() == before


async def test_a_wrong_secret_or_bucket_is_found_at_registration(platform: Platform, objects: Objects) -> None:
    wrong = {**objects.credentials, "secret_access_key": "not the secret"}
    system = system_for(platform, objects.url, wrong)
    assert [one.code for one in await problems(system, platform)] == ["NOT_ALLOWED"]
    elsewhere = system_for(platform, f"{objects.server.url}/no-such-bucket", objects.credentials)
    assert [one.code for one in await problems(elsewhere, platform)] == ["MISCONFIGURED"]


async def test_a_prefix_in_the_address_is_where_everything_stands(objects: Objects) -> None:
    subject, mark = somebody()
    await objects.put(f"shop/customers/n-{mark}/letter.txt", b"inside")
    await objects.put(f"customers/n-{mark}/letter.txt", b"outside")
    connector = objects.connected(f"{objects.url}/shop/")
    found = await records_of(connector, subject)
    assert {record["key"] for record in found["documents"]} == {f"customers/n-{mark}/letter.txt"}
    assert (await connector.erase(subject, key_of(subject, "erase"))).records["documents"] == 2
    assert len(await objects.held(subject)) == 2  # type: ignore[arg-type]  # a mapping here


async def test_no_identifier_leads_into_another_folder(platform: Platform, tmp_path: Path) -> None:
    folder = Folder(platform, tmp_path)
    other = await folder.person()
    for value in ("..", ".", f"x/../{other.identifiers[0].value}", "a:b", "a\0b"):
        known = (Identifier("customer_number", value, "shop", verified=True),)
        subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), known, DYING)
        for outcome in await steps(folder.connector, subject):
            assert (outcome.state, outcome.code) == (State.FAILED, "VALUE_NOT_USABLE")
    assert len(await folder.held(other)) == 3  # type: ignore[arg-type]  # a mapping here


async def test_links_are_removed_and_never_followed(platform: Platform, tmp_path: Path) -> None:
    root, outside = tmp_path / "files", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("of the house")
    folder = Folder(platform, root)
    subject = await folder.person()
    own = root / "customers" / subject.identifiers[0].value
    (own / "linked-folder").symlink_to(outside)
    (own / "linked-file").symlink_to(outside / "secret.txt")
    assert "of the house" not in json.dumps(await records_of(folder.connector, subject))
    assert (await folder.connector.erase(subject, "k")).records["documents"] == 4
    assert (outside / "secret.txt").read_text() == "of the house"
    stranger, mark = somebody()
    (root / "customers" / f"n-{mark}").symlink_to(outside)
    assert (await folder.connector.check(stranger, "k")).code == "NOTHING_FOUND"


async def test_a_folder_that_is_a_file_has_failed_or_found_nothing(platform: Platform, tmp_path: Path) -> None:
    folder = Folder(platform, tmp_path)
    gone = await folder.unreachable()
    subject, _ = somebody()
    with pytest.raises(Unfinished, match="UNREACHABLE"):
        await records_of(gone, subject)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"places": [{"collection": "x", "folder": "customers/{customer_number}"}]}, "VALUE_INVALID"),
        ({"places": [{"collection": "x", "key": "avatars/{username}/"}]}, "VALUE_INVALID"),
        ({"places": [{"collection": "x", "key": "avatars/all"}]}, "IDENTIFIER_NEEDED"),
        ({"places": [{"collection": "x", "key": "{username}-{email}"}]}, "IDENTIFIER_NEEDED"),
        ({"places": [{"collection": "x", "key": "../{username}"}]}, "VALUE_INVALID"),
        ({"places": [{"collection": "x", "key": "a/{nonsense}"}]}, "PLACEHOLDER_UNKNOWN"),
        ({"places": [{"collection": "x"}]}, "VALUE_INVALID"),
        ({"places": []}, "VALUE_INVALID"),
        ({"url": "file://relative/folder"}, "VALUE_INVALID"),
        ({"url": "ftp://example.com/files"}, "VALUE_INVALID"),
        ({"url": "http://user:word@127.0.0.1/files"}, "SECRET_IN_CONFIGURATION"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_configuration_that_can_not_work_is_refused(platform: Platform, change: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        connect(system_for(platform, change.pop("url", "file:///tmp"), **change), platform)
    assert code in {one.code for one in refused.value.problems}
