"""OpenDSR as the controller, against a processor with an authority of its own: the suite, and answers that lie."""

import hashlib
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
from tests.connectors.opendsr_peer import DOMAIN, KEY, Processor, certificate, pem, served_processor
from tests.connectors.serving import Raw, answer

AUTHORITY = pem(certificate("authority", domain="authority"))
IDENTITIES = [
    {"type": "email", "identity_type": "email", "identity_format": "sha256"},
    {"type": "customer_number", "issuer": "ads", "identity_type": "controller_customer_id"},
]


def system_for(platform: Platform, url: str, held: dict[str, str] | None = None, **changes: Any) -> System:
    system_id = SystemId(new_id())
    held = {"key": KEY} if held is None else held
    sealed = platform.sealer.seal(json.dumps(held).encode(), f"system:{system_id}")
    configuration = {
        "url": url,
        "domain": DOMAIN,
        "controller_id": "platform",
        "authorities": AUTHORITY,
        "identities": IDENTITIES,
        "auth": {"type": "header"},
        "timeout_s": 5,
        "poll_s": 60,
        **changes,
    }
    return System(system_id, "ads", "opendsr", configuration, sealed)


class Ads:
    """The peer and a connector to it."""

    def __init__(self, platform: Platform, processor: Processor) -> None:
        self.platform, self.processor = platform, processor
        self.connector = self.connected()

    def connected(self, url: str = "", **changes: Any) -> Connector:
        return connect(system_for(self.platform, url or f"{self.processor.base}/v2", **changes), self.platform)

    async def person(self) -> Subject:
        mark = secrets.token_hex(5)
        identifiers = (
            Identifier("email", f"eve.{mark}@example.com", verified=True),
            Identifier("customer_number", f"n-{mark}", "ads", verified=True),
            Identifier("customer_number", "17", "another", verified=True),
        )
        subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING)
        self.processor.people[_hashed(subject)] = [{"clicked": f"shoes {mark}"}, {"clicked": f"hats {mark}"}]
        self.processor.people[f"n-{mark}"] = [{"bought": f"hats {mark}"}]
        return subject

    async def unreachable(self) -> Connector:
        return self.connected("http://127.0.0.1:1/v2")

    async def everything(self) -> object:
        return deepcopy(self.processor.people)

    async def held(self, subject: Subject) -> object:
        values = [_hashed(subject), subject.identifiers[1].value]
        return deepcopy([self.processor.people[value] for value in values if value in self.processor.people])

    async def come_back(self, subject: Subject) -> None:
        self.processor.people[_hashed(subject)] = [{"clicked": "again"}]

    def texts(self, subject: Subject) -> list[str]:
        mark = subject.identifiers[1].value.removeprefix("n-")
        return [f"shoes {mark}", f"hats {mark}"]


def _hashed(subject: Subject) -> str:
    return hashlib.sha256(subject.identifiers[0].value.encode()).hexdigest()


@pytest.fixture
def harness(platform: Platform) -> Iterator[Ads]:
    with served_processor() as processor:
        yield Ads(platform, processor)


class TestOpenDsr(SearchingConformance):
    pass


async def each_step(connector: Connector, subject: Subject) -> list[Outcome]:
    """How all four steps end."""
    outcomes = await steps(connector, subject)
    with pytest.raises(Unfinished) as stopped:
        await records_of(connector, subject)
    return [*outcomes, stopped.value.outcome]


async def test_only_what_was_agreed_leaves_the_house(harness: Ads) -> None:
    subject = await harness.person()
    await harness.connector.erase(subject, "k")
    assert [body["subject_request_type"] for body in harness.processor.opened] == ["access", "erasure"]
    for body in harness.processor.opened:
        assert body["subject_identities"] == [
            {"identity_type": "email", "identity_value": _hashed(subject), "identity_format": "sha256"},
            {
                "identity_type": "controller_customer_id",
                "identity_value": subject.identifiers[1].value,
                "identity_format": "raw",
            },
        ]
        assert str(subject.customer_id) not in json.dumps(body)
        assert str(subject.request_id) not in json.dumps(body)


async def test_a_slow_processor_is_waited_for(harness: Ads) -> None:
    subject = await harness.person()
    harness.processor.pace = 2
    key = key_of(subject, "erase")
    seen = []
    while (outcome := await harness.connector.erase(subject, key)).state is State.WAITING:
        seen.append((outcome.code, outcome.retry_after_s))
        assert len(seen) < 10
    assert (outcome.state, outcome.code, outcome.records) == (State.DONE, "ERASED", {"results": 3})
    assert set(seen) == {("UNDER_WAY", 60.0)}
    assert len(harness.processor.opened) == 2
    with pytest.raises(Unfinished, match="UNDER_WAY") as stopped:
        await records_of(harness.connector, subject)
    assert stopped.value.outcome.state is State.WAITING


async def test_a_lost_answer_opens_no_second_request(harness: Ads) -> None:
    subject = await harness.person()
    harness.processor.mode = "dropping"
    key = key_of(subject, "erase")
    assert (await harness.connector.erase(subject, key)).state is State.RETRY
    assert (await harness.connector.erase(subject, key)).state is State.DONE
    assert len(harness.processor.opened) == 2


async def test_where_nothing_is_counted_a_signed_completion_is_the_proof(harness: Ads) -> None:
    subject, bystander = await harness.person(), await harness.person()
    harness.processor.types = ["erasure"]
    connector = harness.connected(proof="status")
    assert await connector.probe() == ()
    check, erase, verify = await steps(connector, subject)
    assert [(o.state, o.code) for o in (check, erase, verify)] == [
        (State.DONE, "ERASURE_OFFERED"),
        (State.DONE, "COMPLETED"),
        (State.DONE, "CONFIRMED"),
    ]
    assert erase.evidence == verify.evidence
    assert not await harness.held(subject)
    assert await harness.held(bystander)
    assert len(harness.processor.opened) == 1
    unknown = await connector.verify(bystander, key_of(bystander, "verify"))
    assert (unknown.state, unknown.code) == (State.FAILED, "REQUEST_UNKNOWN")
    harness.processor.mode = "unsigned"
    unproven = await connector.verify(subject, key_of(subject, "verify"))
    assert (unproven.state, unproven.code) == (State.FAILED, "SIGNATURE_REFUSED")


async def test_a_second_round_is_another_request(harness: Ads) -> None:
    subject = await harness.person()
    connector = harness.connected(proof="status")
    await connector.erase(subject, key_of(subject, "erase"))
    await connector.erase(subject, key_of(subject, "erase") + ":2")
    assert len({body["subject_request_id"] for body in harness.processor.opened}) == 2
    assert (await connector.verify(subject, key_of(subject, "verify") + ":2")).state is State.DONE


@pytest.mark.parametrize("mode", ["unsigned", "wrong_domain", "garbled", "changed"])
async def test_an_answer_that_is_not_proven_is_not_read(harness: Ads, mode: str) -> None:
    subject = await harness.person()
    harness.processor.mode = mode
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, "SIGNATURE_REFUSED")}


async def test_a_signature_of_another_key_is_refused(harness: Ads) -> None:
    harness.processor.signing_key = "another"
    outcome = await harness.connector.erase(await harness.person(), "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "SIGNATURE_REFUSED")


@pytest.mark.parametrize(
    "presented",
    [
        lambda: pem(certificate("authority", domain="another.example")),
        lambda: pem(certificate("authority", days=(-30, -1))),
        lambda: pem(certificate("authority", days=(1, 30))),
        lambda: pem(certificate("unknown authority")),
        lambda: pem(certificate(DOMAIN)),
        lambda: pem(certificate("leaf", domain=DOMAIN)),
        lambda: "no certificate",
        lambda: "",
    ],
    ids=["domain", "expired", "not yet", "authority", "self-signed", "self-signed leaf", "garbage", "empty"],
)
async def test_a_certificate_that_does_not_hold_is_refused(harness: Ads, presented: Any) -> None:
    subject = await harness.person()
    harness.processor.certificate = presented()
    assert [p.code for p in await harness.connector.probe()] == ["CERTIFICATE_REFUSED"]
    outcomes = await each_step(harness.connected(), subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, "CERTIFICATE_REFUSED")}


async def test_without_authorities_those_of_the_machine_decide(harness: Ads) -> None:
    assert [p.code for p in await harness.connected(authorities="").probe()] == ["CERTIFICATE_REFUSED"]


async def test_a_certificate_is_fetched_from_the_processor_alone(harness: Ads) -> None:
    harness.processor.mode = "certificate_elsewhere"
    outcome = await harness.connector.erase(await harness.person(), "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "CERTIFICATE_ELSEWHERE")


@pytest.mark.parametrize(
    ("extension", "state", "code"),
    [
        ({"outcome": "refused", "code": "OPEN_CONTRACT"}, State.REFUSED, "OPEN_CONTRACT"),
        ({"outcome": "refused"}, State.REFUSED, "REFUSED"),
        ({"outcome": "failed", "code": "DISK"}, State.FAILED, "DISK"),
        ({"outcome": "partial"}, State.HELD, "PARTIAL"),
        ({"outcome": "held", "code": "LITIGATION"}, State.HELD, "LITIGATION"),
        ({"outcome": "unsupported"}, State.UNSUPPORTED, "UNSUPPORTED"),
        ({"outcome": "done"}, State.FAILED, "BAD_ANSWER"),
        ({"outcome": "refused", "code": "Eve has a contract"}, State.FAILED, "BAD_ANSWER"),
    ],
    ids=str,
)
async def test_extensions_outweigh_the_status(harness: Ads, extension: object, state: State, code: str) -> None:
    subject = await harness.person()
    harness.processor.extension = extension
    outcome = await harness.connector.erase(subject, "k")
    assert (outcome.state, outcome.code) == (state, code)
    assert await harness.held(subject)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("cancels", "CANCELLED"),
        ("misreads", "REQUEST_MISREAD"),
        ("another", "ANSWER_OF_ANOTHER_REQUEST"),
        ("counts_nothing", "NOT_COUNTED"),
    ],
)
async def test_an_erasure_that_does_not_add_up_has_failed(harness: Ads, mode: str, code: str) -> None:
    subject = await harness.person()
    harness.processor.mode = mode
    outcome = await harness.connector.erase(subject, "k")
    assert (outcome.state, outcome.code) == (State.FAILED, code)


async def test_a_processor_that_deletes_nothing_and_says_completed_is_found_out(harness: Ads) -> None:
    subject = await harness.person()
    harness.processor.mode = "deletes_nothing"
    _, erase, verify = await steps(harness.connector, subject)
    assert erase.state is State.DONE
    assert (verify.state, verify.code, verify.records) == (State.FAILED, "LEFT_BEHIND", {"results": 3})


@pytest.mark.parametrize(("mode", "code"), [("miscounts", "BAD_ANSWER"), ("results_elsewhere", "RESULTS_ELSEWHERE")])
async def test_results_that_do_not_add_up_are_no_copy(harness: Ads, mode: str, code: str) -> None:
    subject = await harness.person()
    harness.processor.mode = mode
    with pytest.raises(Unfinished, match=code):
        await records_of(harness.connector, subject)


@pytest.mark.parametrize(
    ("raw", "state", "code", "wait_s"),
    [
        (answer(200, {"request_status": "completed"}), State.FAILED, None, None),
        (answer(200, b""), State.FAILED, None, None),
        (answer(204, b""), State.FAILED, "BAD_ANSWER", None),
        (answer(400, {"error": {"code": 400, "message": "Eve"}}), State.FAILED, "BAD_ANSWER", None),
        (answer(404, b""), State.FAILED, "BAD_ANSWER", None),
        (answer(401, b""), State.FAILED, "NOT_ALLOWED", None),
        (answer(403, b""), State.FAILED, "NOT_ALLOWED", None),
        (answer(429, b"", **{"retry-after": "9"}), State.RETRY, "BUSY", 9.0),
        (answer(500, b"Eve"), State.RETRY, "SERVER_ERROR", None),
        (answer(308, b"", location="http://127.0.0.1/"), State.FAILED, "REDIRECTED", None),
        (answer(200, b" " * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
    ],
    ids=lambda value: f"{value[0]} {value[2][:20]!r}" if isinstance(value, tuple) else None,
)
async def test_other_answers_become_the_state_they_mean(
    harness: Ads, raw: Raw, state: State, code: str | None, wait_s: float | None
) -> None:
    subject = await harness.person()
    harness.processor.answer = raw
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.retry_after_s) for o in outcomes} == {(state, wait_s)}
    if code:
        assert {o.code for o in outcomes} == {code}
    assert await harness.held(subject)


async def test_a_processor_that_hangs_is_asked_again(harness: Ads) -> None:
    subject = await harness.person()
    harness.processor.mode = "hanging"
    outcomes = await each_step(harness.connected(timeout_s=0.2), subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.RETRY, "TIMED_OUT")}


async def test_private_addresses_are_refused_where_they_are_forbidden(harness: Ads, platform: Platform) -> None:
    subject = await harness.person()
    guarded = replace(platform, outbound=Outbound(allow_private=False))
    connector = connect(system_for(platform, f"{harness.processor.base}/v2"), guarded)
    assert {(o.state, o.code) for o in await each_step(connector, subject)} == {(State.FAILED, "TARGET_FORBIDDEN")}
    await guarded.outbound.close()


async def test_probe_finds_what_the_processor_does_not_offer(harness: Ads) -> None:
    harness.processor.types = ["access"]
    assert [p.code for p in await harness.connector.probe()] == ["NOT_OFFERED"]
    harness.processor.types = ["erasure"]
    assert [p.code for p in await harness.connector.probe()] == ["NOT_OFFERED"]
    check = await harness.connected(proof="status").check(await harness.person(), "k")
    assert check.state is State.DONE
    harness.processor.types = ["access", "erasure"]
    raw = [{"type": "email", "identity_type": "email", "identity_format": "raw"}]
    assert [p.code for p in await harness.connected(identities=raw).probe()] == ["IDENTITY_NOT_SUPPORTED"]
    harness.processor.answer = answer(200, {"api_version": "3.0"})
    assert [p.code for p in await harness.connector.probe()] == ["BAD_ANSWER"]


@pytest.mark.parametrize(
    ("changes", "held", "code"),
    [
        ({"url": "ftp://example.com"}, None, "VALUE_INVALID"),
        ({"authorities": "no PEM"}, None, "VALUE_INVALID"),
        ({"identities": []}, None, "VALUE_INVALID"),
        ({"identities": [{"type": "shoe_size", "identity_type": "email"}]}, None, "VALUE_INVALID"),
        ({"regulation": "lgpd"}, None, "VALUE_INVALID"),
        ({"controller_id": ""}, None, "VALUE_INVALID"),
        ({"proof": "none"}, None, "VALUE_INVALID"),
        ({}, {}, "SECRET_MISSING"),
    ],
    ids=str,
)
async def test_a_configuration_that_can_not_work_is_refused(
    platform: Platform, changes: dict[str, Any], held: dict[str, str] | None, code: str
) -> None:
    system = system_for(platform, changes.pop("url", "https://example.com/v2"), held, **changes)
    assert {problem.code for problem in await problems(system, platform)} == {code}


async def test_production_speaks_https_alone(platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"env": Environment.PRODUCTION})
    live = replace(platform, settings=settings)
    with pytest.raises(ConfigurationInvalid):
        connect(system_for(platform, "http://example.com/v2"), live)
    connect(system_for(platform, "https://example.com/v2"), live)
