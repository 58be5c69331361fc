"""The GDPR API as its caller, against a service that checks our tokens: the suite, and the negative cases."""

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
from cdp.operations.oauth.token_keys import TokenKeys
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import Conformance, SearchingConformance, key_of, records_of, steps
from tests.connectors.gdpr_api_peer import AUDIENCE, CLIENT, CLIENT_SECRET, Service, served_service
from tests.connectors.serving import Raw, answer

SIGNED = {"type": "signed", "audience": AUDIENCE}
BY_NUMBER = {"by": "customer_number", "issuer": "berths"}


def system_for(platform: Platform, url: str, held: dict[str, str] | None = None, **configuration: Any) -> System:
    system_id = SystemId(new_id())
    sealed = platform.sealer.seal(json.dumps(held).encode(), f"system:{system_id}") if held else None
    configuration = {"url": url, "auth": SIGNED, "timeout_s": 5, **BY_NUMBER, **configuration}
    return System(system_id, "berths", "gdpr_api", configuration, sealed)


class Berths:
    """The peer and a connector to it."""

    def __init__(self, platform: Platform, service: Service, **configuration: Any) -> None:
        self.platform, self.service, self.configuration = platform, service, configuration
        self.connector = self.connected()

    def connected(self, url: str = "", held: dict[str, str] | None = None, **changes: Any) -> Connector:
        url = url or f"{self.service.base}/gdpr-api/v1/user/$user_uuid"
        return connect(system_for(self.platform, url, held, **{**self.configuration, **changes}), self.platform)

    def of(self, subject: Subject) -> str:
        by_number = self.configuration.get("by") != "customer_id"
        return subject.identifiers[0].value if by_number else str(subject.customer_id)

    async def person(self) -> Subject:
        known = Identifier("customer_number", str(new_id()), "berths", verified=True)
        other = Identifier("customer_number", "17", "another", verified=True)
        subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), (known, other), DYING)
        mark = secrets.token_hex(5)
        self.service.people[self.of(subject)] = {"name": [f"Eve {mark}"], "reservations": [f"Boat {mark}"] * 2}
        return subject

    async def unreachable(self) -> Connector:
        return self.connected("http://127.0.0.1:1/")

    async def everything(self) -> object:
        return deepcopy(self.service.people)

    async def held(self, subject: Subject) -> object:
        return deepcopy(self.service.people.get(self.of(subject)))

    async def come_back(self, subject: Subject) -> None:
        self.service.people[self.of(subject)] = {"name": ["again"], "reservations": []}

    def texts(self, subject: Subject) -> list[str]:
        held = self.service.people.get(self.of(subject))
        return [held["name"][0], held["reservations"][0]] if held else []


@pytest.fixture
def service(platform: Platform) -> Iterator[Service]:
    keys = TokenKeys(platform.keys)
    with served_service(keys.public, platform.settings.url) as served:
        yield served


@pytest.fixture
def harness(platform: Platform, service: Service) -> Berths:
    return Berths(platform, service)


class TestGdprApi(SearchingConformance):
    pass


class TestGdprApiByOwnId(Conformance):
    """A service whose users are the subjects of our tokens."""

    @pytest.fixture
    def harness(self, platform: Platform, service: Service) -> Berths:
        return Berths(platform, service, by="customer_id", issuer="")


class TestGdprApiByTokenEndpoint(SearchingConformance):
    """A service whose tokens come from an authorization server."""

    @pytest.fixture
    def harness(self, platform: Platform, service: Service) -> Berths:
        auth = {"type": "client_credentials", "token_url": f"{service.base}/token"}
        held = {"client_id": CLIENT, "client_secret": CLIENT_SECRET}
        given = Berths.connected

        class WithSecrets(Berths):
            def connected(self, url: str = "", *_: Any, **changes: Any) -> Connector:
                return given(self, url, held, **changes)

        return WithSecrets(platform, service, auth=auth)

    async def test_an_unreachable_peer_is_never_done(self, harness: Berths) -> None:
        subject = await harness.person()
        assert {o.state for o in await steps(await harness.unreachable(), subject)} == {State.RETRY}


async def each_step(connector: Connector, subject: Subject) -> list[Outcome]:
    """How all four steps end."""
    outcomes = await steps(connector, subject)
    with pytest.raises(Unfinished) as stopped:
        await records_of(connector, subject)
    return [*outcomes, stopped.value.outcome]


def errors(code: object, message: object = None) -> dict[str, Any]:
    return {"errors": [{"code": code, "message": {"en": "Eve has a contract"} if message is None else message}]}


async def test_nodes_become_records(harness: Berths) -> None:
    subject = await harness.person()
    name = harness.service.people[harness.of(subject)]["name"][0]
    found = await records_of(harness.connector, subject)
    boat = {"BOAT": name.replace("Eve", "Boat"), "LENGTH": 7.5}
    assert found == {"berths": [{"NAME": name, "RESERVATIONS": [{"RESERVATION": boat}] * 2}]}


async def test_the_older_form_of_scopes_is_understood(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.legacy_claim = "https://api.example/auth"
    auth = {
        **SIGNED,
        "scope_claim": "https://api.example/auth",
        "query_scope": "berths.gdprquery",
        "delete_scope": "berths.gdprdelete",
    }
    assert [o.state for o in await steps(harness.connected(auth=auth), subject)] == [State.DONE] * 3
    assert [o.code for o in await steps(harness.connector, await harness.person())] == ["NOT_ALLOWED"] * 3


@pytest.mark.parametrize(
    "change", [{"audience": "https://other.example"}, {"level": "low"}, {"query_scope": "gdprdelete"}], ids=str
)
async def test_a_service_that_does_not_take_our_token_is_found_at_once(
    harness: Berths, platform: Platform, change: dict[str, str]
) -> None:
    system = system_for(platform, f"{harness.service.base}/gdpr-api/v1/user/", auth={**SIGNED, **change})
    assert [problem.code for problem in await problems(system, platform)] == ["NOT_ALLOWED"]


async def test_probe_finds_a_service_that_checks_no_tokens_or_knows_everybody(harness: Berths) -> None:
    harness.service.mode = "trusting"
    assert [problem.code for problem in await harness.connector.probe()] == ["TOKEN_NOT_CHECKED"]
    harness.service.mode = "knows_everybody"
    assert [problem.code for problem in await harness.connector.probe()] == ["NOBODY_FOUND"]
    harness.service.mode = "honest"
    harness.service.delete_answer = answer(404, b"")
    assert [problem.code for problem in await harness.connector.probe()] == ["BAD_ANSWER"]


async def test_a_refusal_is_its_code_and_nothing_else(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.delete_answer = answer(403, errors("CONTRACT"))
    check, erase, verify = await steps(harness.connector, subject)
    for outcome in (check, erase):
        assert (outcome.state, outcome.code, outcome.evidence) == (
            State.REFUSED,
            "CONTRACT",
            {"codes": ["CONTRACT"]},
        )
        assert "Eve" not in repr(outcome)
    assert (verify.state, verify.code) == (State.FAILED, "LEFT_BEHIND")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("technical_error", "TECHNICAL_ERROR"),
        ("open-contract", "OPEN_CONTRACT"),
        ("404", "REFUSED"),
        ("ÄÖÜ" * 40, "REFUSED"),
    ],
)
async def test_codes_take_our_form(harness: Berths, code: str, expected: str) -> None:
    harness.service.delete_answer = answer(403, errors(code))
    outcome = await harness.connector.erase(await harness.person(), "k")
    assert (outcome.state, outcome.code) == (State.REFUSED, expected)


async def test_a_code_that_names_the_person_is_not_kept(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.delete_answer = answer(403, errors(f"USER_{harness.of(subject)}"))
    outcome = await harness.connector.erase(subject, "k")
    assert (outcome.state, outcome.code) == (State.REFUSED, "REFUSED")


@pytest.mark.parametrize(
    "raw",
    [
        answer(403, b""),
        answer(403, b"<html>blocked</html>"),
        answer(403, {"errors": []}),
        answer(403, errors("")),
        answer(403, errors(7)),
        answer(403, errors("CONTRACT", {})),
        answer(403, errors("CONTRACT", "no")),
        answer(403, errors("CONTRACT", {"en": 7})),
        answer(403, {"errors": [{"code": "CONTRACT"}]}),
        answer(403, {"errors": [{"code": "CONTRACT", "message": {"en": "x"}, "more": 1}]}),
        answer(403, {"errors": [{"code": "A", "message": {"en": "x"}}, {"code": "B"}]}),
    ],
    ids=lambda raw: raw[2].decode(),
)
async def test_a_refusal_of_another_form_is_no_refusal(harness: Berths, raw: Raw) -> None:
    harness.service.delete_answer = raw
    outcome = await harness.connector.erase(await harness.person(), "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "NOT_ALLOWED")


@pytest.mark.parametrize("status", [200, 201, 202, 205, 206, 400, 404, 410, 418])
async def test_only_204_is_a_deletion(harness: Berths, status: int) -> None:
    subject = await harness.person()
    harness.service.delete_answer = answer(status, b"")
    for outcome in (await steps(harness.connector, subject))[:2]:
        assert (outcome.state, outcome.code) == (State.FAILED, "BAD_ANSWER")
    assert await harness.held(subject)


async def test_404_is_nothing_there_once_a_query_says_so(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "forgets_and_404"
    _, erase, verify = await steps(harness.connector, subject)
    assert (erase.code, verify.state) == ("ERASED", State.DONE)
    again = await harness.connector.erase(subject, "k2")
    assert (again.state, again.code) == (State.DONE, "NOTHING_FOUND")


async def test_a_service_that_deletes_nothing_and_says_204_is_found_out(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "deletes_nothing"
    _, erase, verify = await steps(harness.connector, subject)
    assert erase.state is State.DONE
    assert (verify.state, verify.code, verify.records) == (State.FAILED, "LEFT_BEHIND", {"berths": 1})


async def test_a_dry_run_that_erases_is_found_out(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "ignores_dry_run"
    outcome = await harness.connector.check(subject, "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "DRY_RUN_ERASED")


async def test_a_node_that_failed_makes_the_copy_incomplete(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "half"
    with pytest.raises(Unfinished, match="INCOMPLETE_ANSWER"):
        await records_of(harness.connector, subject)


async def test_a_lost_answer_is_asked_for_again(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "dropping"
    key = key_of(subject, "erase")
    assert (await harness.connector.erase(subject, key)).state is State.RETRY
    assert (await harness.connector.erase(subject, key)).state is State.DONE


@pytest.mark.parametrize(
    ("raw", "state", "code", "wait_s"),
    [
        (answer(200, b""), State.FAILED, "BAD_ANSWER", None),
        (answer(200, b"[" * 100_000), State.FAILED, "BAD_ANSWER", None),
        (answer(200, []), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {"key": "A"}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {"key": "A", "value": "x", "children": []}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {"key": "A", "children": [1]}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {"key": 7, "value": "x"}), State.FAILED, "BAD_ANSWER", None),
        (answer(200, {"key": "A", "children": [{"key": "B", "more": 1}]}), State.FAILED, "BAD_ANSWER", None),
        (answer(404, b""), State.FAILED, "BAD_ANSWER", None),
        (answer(400, errors("X")), State.FAILED, "BAD_ANSWER", None),
        (answer(401, b""), State.FAILED, "NOT_ALLOWED", None),
        (answer(500, errors("DOWN")), State.RETRY, "SERVER_ERROR", None),
        (answer(503, b"", **{"retry-after": "9"}), State.RETRY, "BUSY", 9.0),
        (answer(429, b"", **{"retry-after": "9"}), State.RETRY, "BUSY", 9.0),
        (answer(302, b"", location="http://127.0.0.1/"), State.FAILED, "REDIRECTED", None),
        (answer(200, b" " * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
    ],
    ids=lambda value: f"{value[0]} {value[2][:40]!r}" if isinstance(value, tuple) else None,
)
async def test_other_answers_become_the_state_they_mean(
    harness: Berths, raw: Raw, state: State, code: str, wait_s: float | None
) -> None:
    subject = await harness.person()
    harness.service.answer = raw
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code, o.retry_after_s) for o in outcomes} == {(state, code, wait_s)}
    assert await harness.held(subject)


async def test_a_service_that_hangs_is_asked_again(harness: Berths) -> None:
    subject = await harness.person()
    harness.service.mode = "hanging"
    outcomes = await each_step(harness.connected(timeout_s=0.2), subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.RETRY, "TIMED_OUT")}


async def test_private_addresses_are_refused_where_they_are_forbidden(harness: Berths, platform: Platform) -> None:
    subject = await harness.person()
    guarded = replace(platform, outbound=Outbound(allow_private=False))
    connector = connect(system_for(platform, f"{harness.service.base}/gdpr-api/v1/user/"), guarded)
    assert {(o.state, o.code) for o in await each_step(connector, subject)} == {(State.FAILED, "TARGET_FORBIDDEN")}
    assert harness.service.calls == []
    await guarded.outbound.close()


@pytest.mark.parametrize("path", ["", "$profile_id", "$user_uuid"])
async def test_the_id_finds_its_place_in_the_address(harness: Berths, path: str) -> None:
    subject = await harness.person()
    await harness.connected(f"{harness.service.base}/gdpr-api/v1/user/{path}").check(subject, "k")
    person = harness.of(subject)
    asked = [("GET", person, ""), ("DELETE", person, "dry_run=true"), ("GET", person, "")]
    assert harness.service.calls == asked


async def test_an_id_that_is_none_is_not_sent(harness: Berths) -> None:
    subject = await harness.person()
    odd = replace(subject, identifiers=(Identifier("customer_number", "../admin", "berths", verified=True),))
    assert {o.code for o in await each_step(harness.connector, odd)} == {"VALUE_NOT_USABLE"}
    assert harness.service.calls == []


@pytest.mark.parametrize(
    ("url", "changes", "code"),
    [
        ("https://example.com/user", {}, "VALUE_INVALID"),
        ("https://example.com/user/?id=1", {}, "VALUE_INVALID"),
        ("https://$user_uuid.example.com/", {}, "VALUE_INVALID"),
        ("ftp://example.com/", {}, "VALUE_INVALID"),
        ("https://a:b@example.com/", {}, "SECRET_IN_CONFIGURATION"),
        ("https://example.com/", {"auth": {"type": "signed"}}, "VALUE_INVALID"),
        ("https://example.com/", {"auth": {"type": "basic"}}, "VALUE_INVALID"),
        ("https://example.com/", {"auth": {**SIGNED, "audience": "http://localhost:8000/graphql"}}, "VALUE_INVALID"),
        ("https://example.com/", {"by": "email"}, "VALUE_INVALID"),
        (
            "https://example.com/",
            {"auth": {"type": "client_credentials", "token_url": "https://example.com/t"}},
            "SECRET_MISSING",
        ),
    ],
    ids=str,
)
async def test_a_configuration_that_can_not_work_is_refused(
    platform: Platform, url: str, changes: dict[str, Any], code: str
) -> None:
    system = system_for(platform, url, **changes)
    assert {problem.code for problem in await problems(system, platform)} == {code}


async def test_production_speaks_https_alone(platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"env": Environment.PRODUCTION})
    live = replace(platform, settings=settings)
    with pytest.raises(ConfigurationInvalid):
        connect(system_for(platform, "http://example.com/"), live)
    connect(system_for(platform, "https://example.com/"), live)
