"""The valkey kind, against a second server of its own: the suite, every type of value, and what must not be touched."""

import asyncio
import hashlib
import json
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cdp.connectors.base import Connector, Identifier, State, Subject, System, Unfinished
from cdp.connectors.registry import connect, problems
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.platform import Platform
from cdp.core.settings import Environment, Settings
from cdp.embedded.servers import servers
from tests.conftest import TESTS_STATE
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import SearchingConformance, records_of, steps

PLACES: list[dict[str, Any]] = [
    {"collection": "profile", "key": "profile:{email:sha256}"},
    {"collection": "basket", "key": "basket:{customer_number}", "issuer": "shop"},
    {"collection": "sessions", "index": "sessions-of:{email}", "key": "session:{member}"},
    {"collection": "newsletter", "key": "newsletter", "member": "{email}"},
    {"collection": "ranking", "key": "ranking", "member": "{customer_number}", "issuer": "shop"},
    {"collection": "flags", "key": "flags", "member": "seen-{email}"},
]


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A second server, not the platform's."""
    settings = Settings(env=Environment.TEST, state_dir=TESTS_STATE / f"kv-{secrets.token_hex(4)}")
    settings = settings.model_copy(update={"database_url": "postgresql://not-started", "redis_url": ""})
    with servers(settings) as running:
        yield running.redis_url


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as opened:
        opened.flushall()
        yield opened


def system_for(platform: Platform, url: str, held: dict[str, str] | None = None, **changes: Any) -> System:
    system_id = SystemId(new_id())
    sealed = platform.sealer.seal(json.dumps(held).encode(), f"system:{system_id}") if held else None
    return System(system_id, "cache", "valkey", {"url": url, "places": PLACES, **changes}, sealed)


class Cache:
    """The peer and a connector to it."""

    def __init__(self, platform: Platform, client: redis.Redis, url: str) -> None:
        self.platform, self.client, self.url = platform, client, url
        self.connector = self.connected()

    def connected(self, **changes: Any) -> Connector:
        return connect(system_for(self.platform, changes.pop("url", self.url), **changes), self.platform)

    async def person(self) -> Subject:
        mark = secrets.token_hex(5)
        identifiers = (
            Identifier("email", f"eve.{mark}@example.com", verified=True),
            Identifier("customer_number", f"n-{mark}", "shop", verified=True),
        )
        subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING)
        email = identifiers[0].value
        self.client.hset(_profile(subject), mapping={"name": f"Eve {mark}", "photo": b"\xff\xfe"})
        self.client.rpush(f"basket:n-{mark}", f"shoes {mark}", "hat")
        self.client.sadd(f"sessions-of:{email}", f"{mark}-1", f"{mark}-2", f"{mark}-ended")
        for number in (1, 2):
            self.client.set(f"session:{mark}-{number}", f"agent {mark}")
        self.client.sadd("newsletter", email)
        self.client.zadd("ranking", {f"n-{mark}": 0})
        self.client.hset("flags", f"seen-{email}", "1")
        return subject

    async def unreachable(self) -> Connector:
        return self.connected(url="redis://127.0.0.1:1/0")

    async def everything(self) -> object:
        return {key: self.client.dump(key) for key in self.client.keys("*")} | {
            name: sorted(values) for name, values in self._shared().items()
        }

    def _shared(self) -> dict[str, list[bytes]]:
        return {
            "newsletter": list(self.client.smembers("newsletter")),
            "ranking": list(self.client.zrange("ranking", 0, -1)),
            "flags": list(self.client.hkeys("flags")),
        }

    async def held(self, subject: Subject) -> object:
        email, number = (known.value for known in subject.identifiers)
        mark = number.removeprefix("n-")
        own = [_profile(subject), f"basket:{number}", f"sessions-of:{email}", *self.client.keys(f"session:{mark}-*")]
        held = {key: self.client.dump(key) for key in own if self.client.exists(key)}
        wanted = {email.encode(), number.encode(), f"seen-{email}".encode()}
        return held | {name: True for name, values in self._shared().items() if wanted & {*values}}

    async def come_back(self, subject: Subject) -> None:
        self.client.sadd("newsletter", subject.identifiers[0].value)

    def texts(self, subject: Subject) -> list[str]:
        mark = subject.identifiers[1].value.removeprefix("n-")
        return [f"Eve {mark}", f"shoes {mark}", f"agent {mark}", f"eve.{mark}@example.com", f"n-{mark}"]


def _profile(subject: Subject) -> str:
    # written out with hashlib so that the peer does not share the connector's idea of it
    return "profile:" + hashlib.sha256(subject.identifiers[0].value.encode()).hexdigest()


@pytest.fixture
def harness(platform: Platform, client: redis.Redis, server_url: str) -> Cache:
    return Cache(platform, client, server_url)


class TestValkey(SearchingConformance):
    pass


async def test_every_place_is_counted_read_and_emptied(harness: Cache) -> None:
    subject = await harness.person()
    found = await records_of(harness.connector, subject)
    assert {name: len(rows) for name, rows in found.items()} == {
        "profile": 1,
        "basket": 1,
        "sessions.index": 1,
        "sessions": 2,
        "newsletter": 1,
        "ranking": 1,
        "flags": 1,
    }
    assert found["profile"][0]["value"] == {"name": harness.texts(subject)[0], "photo": "//4="}
    _, erase, _ = await steps(harness.connector, subject)
    assert erase.records == {name: len(rows) for name, rows in found.items()}
    assert harness.client.dbsize() == 0


async def test_streams_and_sorted_sets_are_read(harness: Cache) -> None:
    subject = await harness.person()
    number = subject.identifiers[1].value
    harness.client.delete(f"basket:{number}")
    harness.client.xadd(f"basket:{number}", {"bought": "hat"})
    [record] = (await records_of(harness.connector, subject))["basket"]
    assert "hat" in json.dumps(record)
    harness.client.delete(f"basket:{number}")
    harness.client.zadd(f"basket:{number}", {"hat": 2})
    assert (await records_of(harness.connector, subject))["basket"][0]["value"] == ["hat"]


async def test_no_identifier_can_name_another_persons_key(harness: Cache) -> None:
    harness.client.set("basket:7:orders", "of somebody else")
    for value in ("7:orders", "{member}", "a/b", "a\r\nb"):
        known = (Identifier("customer_number", value, "shop", verified=True),)
        subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), known, DYING)
        for outcome in await steps(harness.connector, subject):
            assert (outcome.state, outcome.code) == (State.FAILED, "VALUE_NOT_USABLE")
    assert harness.client.exists("basket:7:orders")


async def test_an_index_that_changes_meanwhile_is_read_again(harness: Cache, server_url: str) -> None:
    subject = await harness.person()
    email = subject.identifiers[0].value
    # members enough that another client is served between the reading and the transaction
    harness.client.sadd(f"sessions-of:{email}", *(f"x-{number}" for number in range(300)))
    with redis.Redis.from_url(server_url) as other:
        erasing = asyncio.create_task(harness.connector.erase(subject, "k"))
        while not erasing.done():
            other.sadd(f"sessions-of:{email}", secrets.token_hex(4))
            await asyncio.sleep(0)
        outcome = await erasing
    assert (outcome.state, outcome.code) == (State.RETRY, "BUSY")
    assert await harness.held(subject)
    assert (await harness.connector.erase(subject, "k")).state is State.DONE


async def test_a_key_of_an_unexpected_type_has_failed(harness: Cache) -> None:
    subject = await harness.person()
    harness.client.delete("newsletter")
    harness.client.set("newsletter", "not a set")
    for outcome in await steps(harness.connector, subject):
        assert (outcome.state, outcome.code) == (State.FAILED, "CONTENT_NOT_READABLE")
    with pytest.raises(Unfinished, match="CONTENT_NOT_READABLE"):
        await records_of(harness.connector, subject)


async def test_a_user_who_may_not_write_is_found_at_once(harness: Cache, platform: Platform) -> None:
    harness.client.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@read", "+@connection", "+role")
    reader = {"username": "reader", "password": "word"}
    system = system_for(platform, harness.url, reader)
    assert [problem.code for problem in await problems(system, platform)] == ["NOT_ALLOWED"]
    subject = await harness.person()
    check, erase, _ = await steps(connect(system, platform), subject)
    assert (check.state, erase.state, erase.code) == (State.DONE, State.FAILED, "NOT_ALLOWED")
    wrong = system_for(platform, harness.url, {"username": "reader", "password": "wrong"})
    assert [problem.code for problem in await problems(wrong, platform)] == ["NOT_ALLOWED"]


async def test_a_server_that_is_silent_or_speaks_otherwise_is_never_done(harness: Cache) -> None:
    subject = await harness.person()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        for outcome in await steps(harness.connected(url=url, timeout_s=0.2), subject):
            assert (outcome.state, outcome.code) == (State.RETRY, "TIMED_OUT")


def place(**changes: Any) -> list[dict[str, Any]]:
    return [{"collection": "c", "key": "k:{email}", **changes}]


@pytest.mark.parametrize(
    ("changes", "held", "code"),
    [
        ({"places": place(key="k:{shoe_size}")}, None, "PLACEHOLDER_UNKNOWN"),
        ({"places": place(key="everything")}, None, "IDENTIFIER_NEEDED"),
        ({"places": place(key="{email}:{phone}")}, None, "IDENTIFIER_NEEDED"),
        ({"places": place(key="s:{member}", index="all-sessions")}, None, "IDENTIFIER_NEEDED"),
        ({"places": place(key="shared", member="everybody")}, None, "IDENTIFIER_NEEDED"),
        ({"places": place(index="i:{email}")}, None, "VALUE_INVALID"),
        ({"places": place(key="s:{email}:{member}")}, None, "VALUE_INVALID"),
        ({"places": place(member="{email}")}, None, "VALUE_INVALID"),
        ({"places": []}, None, "VALUE_INVALID"),
        ({"url": "http://127.0.0.1/"}, None, "VALUE_INVALID"),
        ({"url": "redis://127.0.0.1:99999/"}, None, "VALUE_INVALID"),
        ({"url": "redis://:word@127.0.0.1/0"}, None, "SECRET_IN_CONFIGURATION"),
        ({}, {"token": "x"}, "FIELD_UNKNOWN"),
    ],
    ids=str,
)
async def test_a_layout_that_can_not_work_is_refused(
    platform: Platform, changes: dict[str, Any], held: dict[str, str] | None, code: str
) -> None:
    system = system_for(platform, changes.pop("url", "redis://127.0.0.1:1/0"), held, **changes)
    assert code in {problem.code for problem in await problems(system, platform)}
