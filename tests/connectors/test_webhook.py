"""The webhook kind, against a real server: the conformance suite, and every answer a peer must not get away with."""

import json
import secrets
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from cdp.connectors.base import ConfigurationInvalid, Connector, Identifier, Outcome, State, Subject, System, Unfinished
from cdp.connectors.registry import connect, problems
from cdp.core.http import Outbound
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.platform import Platform
from cdp.core.settings import Environment
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import SearchingConformance, key_of, records_of, steps
from tests.connectors.webhook_peer import SECRET, Peer, Raw, served


def system_for(platform: Platform, url: str, *, secret: str = SECRET, **configuration: Any) -> System:
    system_id = SystemId(new_id())
    sealed = platform.sealer.seal(json.dumps({"secret": secret}).encode(), f"system:{system_id}")
    return System(system_id, "newsletter", "webhook", {"url": url, "timeout_s": 5, **configuration}, sealed)


class Newsletter:
    """The peer and a connector to it."""

    def __init__(self, platform: Platform, peer: Peer) -> None:
        self.platform, self.peer = platform, peer
        self.connector = connect(system_for(platform, peer.url), platform)

    async def person(self) -> Subject:
        mark = secrets.token_hex(5)
        email = f"Eve.{mark}@example.com".lower()
        self.peer.people[email] = {
            "profile": [{"email": email, "name": f"Eve {mark}", "score": 1.5}],
            "mailings": [{"subject": f"Hello {mark}", "opened": None}] * 3,
        }
        identifiers = (Identifier("email", email, verified=True), Identifier("phone", f"+4915{mark}", verified=True))
        return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING)

    async def unreachable(self) -> Connector:
        return connect(system_for(self.platform, "http://127.0.0.1:1/hook"), self.platform)

    async def everything(self) -> object:
        return deepcopy(self.peer.people)

    async def held(self, subject: Subject) -> object:
        return deepcopy(self.peer.people.get(subject.identifiers[0].value))

    async def come_back(self, subject: Subject) -> None:
        self.peer.people[subject.identifiers[0].value] = {"profile": [{"email": "again"}]}

    def texts(self, subject: Subject) -> list[str]:
        mark = subject.identifiers[0].value.split("@")[0].removeprefix("eve.")
        return [subject.identifiers[0].value, f"Eve {mark}", f"Hello {mark}"]


@pytest.fixture
def harness(platform: Platform) -> Iterator[Newsletter]:
    with served() as peer:
        yield Newsletter(platform, peer)


class TestWebhook(SearchingConformance):
    pass


def answer(status: int, value: object = None, **headers: str) -> Raw:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return status, {"content-type": "application/json", **headers}, body


async def each_step(connector: Connector, subject: Subject) -> list[Outcome]:
    """How all four steps end while the peer gives one answer to everything."""
    outcomes = await steps(connector, subject)
    with pytest.raises(Unfinished) as stopped:
        await records_of(connector, subject)
    return [*outcomes, stopped.value.outcome]


async def test_a_peer_that_deletes_nothing_and_says_done_is_found_out(harness: Newsletter) -> None:
    subject = await harness.person()
    harness.peer.mode = "deletes_nothing"
    _, erase, verify = await steps(harness.connector, subject)
    assert erase.state is State.DONE
    assert (verify.state, verify.code, verify.evidence) == (State.FAILED, "LEFT_BEHIND", {"found": 4})


@pytest.mark.parametrize(
    "raw",
    [
        answer(204, b""),
        answer(200, b""),
        answer(200, b"OK"),
        answer(200, b"\xff\xfe"),
        answer(200, b"[" * 100_000),
        answer(200, []),
        answer(200, None),
        answer(200, {}),
        answer(200, {"state": "done"}),
        answer(200, {"state": "done", "key": "another:key", "records": {}, "found": 0}),
        answer(200, {"state": "gone", "code": "GONE"}),
        answer(202, {"state": "done"}),
        answer(202, {"state": "waiting", "retryAfter": -1}),
        answer(202, {"state": "waiting", "retryAfter": "soon"}),
        answer(404, {"state": "done"}),
        answer(410, b"gone"),
        answer(409, {"state": "refused", "code": "not a code"}),
        answer(409, {"state": "refused"}),
        answer(403, b"forbidden"),
    ],
    ids=lambda raw: f"{raw[0]} {raw[2][:30]!r}",
)
async def test_an_answer_of_another_shape_has_failed(harness: Newsletter, raw: Raw) -> None:
    subject = await harness.person()
    harness.peer.answer = raw
    assert {(o.state, o.code) for o in await each_step(harness.connector, subject)} == {(State.FAILED, "BAD_ANSWER")}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("check", {"found": 0}),
        ("check", {"records": {"profile": -1}}),
        ("check", {"records": {"profile": True}}),
        ("check", {"records": {"profile": 1.0}}),
        ("check", {"records": {"profile": [{}]}}),
        ("check", {"records": {"a profile": 1}}),
        ("check", {"records": {"profile": 1}, "extra": 1}),
        ("check", {"records": {}, "retained": [{"collection": "bills", "records": 1}]}),
        ("check", {"records": {}, "evidence": {"name": "Eve"}}),
        ("erase", {}),
        ("erase", {"found": 0}),
        ("verify", {}),
        ("verify", {"found": False}),
        ("verify", {"found": "0"}),
        ("verify", {"found": None}),
        ("verify", {"records": {}}),
        ("verify", {"found": 0, "records": {}}),
        ("read", {}),
        ("read", {"records": {"profile": 1}}),
        ("read", {"records": {"profile": [1]}}),
        ("read", b'"records": {"profile": [{"score": NaN}]}'),
    ],
    ids=str,
)
async def test_done_without_the_figures_of_its_step_has_failed(harness: Newsletter, step: str, said: Any) -> None:
    subject = await harness.person()
    key = key_of(subject, step)
    whole = json.dumps({"key": key, "state": "done"} | (said if isinstance(said, dict) else {})).encode()
    if isinstance(said, bytes):
        whole = whole[:-1] + b", " + said + b"}"
    harness.peer.answer = answer(200, whole)
    if step == "read":
        with pytest.raises(Unfinished, match="BAD_ANSWER"):
            await records_of(harness.connector, subject)
    else:
        outcome = await getattr(harness.connector, step)(subject, key)
        assert (outcome.state, outcome.code) == (State.FAILED, "BAD_ANSWER")


@pytest.mark.parametrize(
    ("raw", "state", "code", "wait_s"),
    [
        (answer(403, {"state": "refused", "code": "OPEN_CONTRACT"}), State.REFUSED, "OPEN_CONTRACT", None),
        (answer(409, {"state": "held", "code": "LITIGATION"}), State.HELD, "LITIGATION", None),
        (answer(200, {"state": "unsupported", "code": "READ_ONLY"}), State.UNSUPPORTED, "READ_ONLY", None),
        (answer(202, {"state": "waiting", "retryAfter": 90}), State.WAITING, "UNDER_WAY", 90.0),
        (answer(202, {"state": "waiting"}), State.WAITING, "UNDER_WAY", 30.0),
        (answer(401, b""), State.FAILED, "NOT_ALLOWED", None),
        (answer(429, b"", **{"retry-after": "7"}), State.RETRY, "BUSY", 7.0),
        (answer(429, b"", **{"retry-after": "9" * 40}), State.RETRY, "BUSY", 86400.0),
        (answer(503, b"", **{"retry-after": "whenever"}), State.RETRY, "BUSY", None),
        (
            answer(
                503,
                b"",
                **{"date": "Sun, 01 Mar 2026 12:00:00 GMT", "retry-after": "Sun, 01 Mar 2026 12:01:00 GMT"},
            ),
            State.RETRY,
            "BUSY",
            60.0,
        ),
        (answer(500, b"Traceback: Eve"), State.RETRY, "SERVER_ERROR", None),
        (answer(500, b"x" * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
        (answer(200, b" " * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
        (answer(200, b"", **{"content-encoding": "gzip"}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, b"no gzip", **{"content-encoding": "gzip"}), State.FAILED, "BAD_ANSWER", None),
    ],
    ids=lambda value: f"{value[0]} {value[2][:40]!r}" if isinstance(value, tuple) else None,
)
async def test_other_answers_become_the_state_they_mean(
    harness: Newsletter, raw: Raw, state: State, code: str, wait_s: float | None
) -> None:
    subject = await harness.person()
    harness.peer.answer = raw
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code, o.retry_after_s) for o in outcomes} == {(state, code, wait_s)}
    assert await harness.held(subject)


async def test_a_peer_that_hangs_is_asked_again(harness: Newsletter, platform: Platform) -> None:
    subject = await harness.person()
    harness.peer.mode = "hanging"
    impatient = connect(system_for(platform, harness.peer.url, timeout_s=0.2), platform)
    outcomes = await each_step(impatient, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.RETRY, "TIMED_OUT")}


async def test_a_lost_answer_is_asked_for_again_and_takes_effect_once(harness: Newsletter) -> None:
    subject = await harness.person()
    harness.peer.mode = "dropping"
    key = key_of(subject, "erase")
    assert (await harness.connector.erase(subject, key)).state is State.RETRY
    again = await harness.connector.erase(subject, key)
    assert (again.state, again.records) == (State.DONE, {"profile": 1, "mailings": 3})
    assert harness.peer.effects == {key: 1}


async def test_redirects_are_not_followed(harness: Newsletter) -> None:
    subject = await harness.person()
    canary = harness.peer.url.replace("/hook", "/canary")
    harness.peer.answer = answer(307, b"", location=canary)
    assert {(o.state, o.code) for o in await each_step(harness.connector, subject)} == {(State.FAILED, "REDIRECTED")}
    assert harness.peer.canary_calls == 0


async def test_private_addresses_are_refused_where_they_are_forbidden(harness: Newsletter, platform: Platform) -> None:
    subject = await harness.person()
    guarded = replace(platform, outbound=Outbound(allow_private=False))
    connector = connect(system_for(platform, harness.peer.url), guarded)
    outcomes = await each_step(connector, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, "TARGET_FORBIDDEN")}
    assert harness.peer.calls == []
    await guarded.outbound.close()


async def test_only_what_was_asked_for_leaves_the_house(harness: Newsletter, platform: Platform) -> None:
    subject = await harness.person()
    email, phone = subject.identifiers
    await steps(harness.connector, subject)
    assert [call["step"] for call in harness.peer.calls] == ["check", "erase", "verify"]
    for call in harness.peer.calls:
        assert call["subject"] == {"identifiers": [{"type": "email", "value": email.value, "issuer": ""}]}
        assert call["request"] == str(subject.request_id)
        assert str(subject.customer_id) not in json.dumps(call)
    both = connect(system_for(platform, harness.peer.url, identifiers=["email", "phone"]), platform)
    await both.check(subject, "k")
    assert [one["value"] for one in harness.peer.calls[-1]["subject"]["identifiers"]] == [email.value, phone.value]


async def test_an_answer_that_names_the_person_stays_out_of_the_evidence(harness: Newsletter) -> None:
    subject = await harness.person()
    email = subject.identifiers[0].value
    named = {"key": "k", "state": "done", "found": 0}
    for kept in (
        [{"collection": "bills", "records": 1, "basis": f"Contract of {email.upper()}"}],
        [{"collection": "bills", "records": 1, "basis": "Contract of another@example.com"}],
    ):
        harness.peer.answer = answer(200, {**named, "retained": kept})
        outcome = await harness.connector.verify(subject, "k")
        assert (outcome.state, outcome.code, outcome.retained) == (State.FAILED, "BAD_ANSWER", ())
    lawful = [{"collection": "bills", "records": 2, "basis": "Tax law", "until": "2036-12-31"}]
    harness.peer.answer = answer(200, {**named, "retained": lawful})
    outcome = await harness.connector.verify(subject, "k")
    assert (outcome.state, [held.basis for held in outcome.retained]) == (State.DONE, ["Tax law"])


async def test_probe_finds_a_peer_that_does_not_check_signatures(harness: Newsletter, platform: Platform) -> None:
    harness.peer.mode = "trusting"
    assert [p.code for p in await harness.connector.probe()] == ["SIGNATURE_NOT_CHECKED"]
    harness.peer.mode = "honest"
    other = system_for(platform, harness.peer.url, secret="another secret of the right length")
    assert [p.code for p in await problems(other, platform)] == ["NOT_ALLOWED"]


@pytest.mark.parametrize(
    ("configuration", "secret", "code"),
    [
        ({"url": "ftp://example.com/hook"}, SECRET, "VALUE_INVALID"),
        ({"url": "https://"}, SECRET, "VALUE_INVALID"),
        ({"url": "https://[::bad/hook"}, SECRET, "VALUE_INVALID"),
        ({"url": "https://example.com:99999/hook"}, SECRET, "VALUE_INVALID"),
        ({"url": "https://user:word@example.com/hook"}, SECRET, "SECRET_IN_CONFIGURATION"),
        ({"url": 7}, SECRET, "VALUE_INVALID"),
        ({"url": "https://example.com/hook", "timeout_s": 0}, SECRET, "VALUE_INVALID"),
        ({"url": "https://example.com/hook", "identifiers": ["shoe_size"]}, SECRET, "VALUE_INVALID"),
        ({"url": "https://example.com/hook", "retries": 3}, SECRET, "VALUE_INVALID"),
        ({"url": "https://example.com/hook"}, "short", "SECRET_MISSING"),
    ],
    ids=str,
)
async def test_a_configuration_that_can_not_work_is_refused(
    platform: Platform, configuration: dict[str, Any], secret: str, code: str
) -> None:
    system = system_for(platform, configuration.pop("url"), secret=secret, **configuration)
    assert {problem.code for problem in await problems(system, platform)} == {code}
    with pytest.raises(ConfigurationInvalid):
        connect(system, platform)


async def test_production_speaks_https_alone(platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"env": Environment.PRODUCTION})
    live = replace(platform, settings=settings)
    with pytest.raises(ConfigurationInvalid):
        connect(system_for(platform, "http://example.com/hook"), live)
    connect(system_for(platform, "https://example.com/hook"), live)


async def test_a_missing_secret_and_an_unknown_kind_are_refused(platform: Platform) -> None:
    bare = System(SystemId(new_id()), "newsletter", "webhook", {"url": "https://example.com/hook"})
    assert [p.code for p in await problems(bare, platform)] == ["SECRET_MISSING"]
    assert [p.code for p in await problems(replace(bare, kind="telegraph"), platform)] == ["UNKNOWN_KIND"]
