"""The described HTTP kind, against a running API: the conformance suite, signing in, paging, and answers that lie."""

import json
import secrets
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from cdp.connectors.base import (
    Change,
    Code,
    ConfigurationInvalid,
    Connector,
    Identifier,
    Outcome,
    State,
    Subject,
    System,
    Unfinished,
    Updates,
)
from cdp.connectors.registry import connect, problems
from cdp.core.http import Outbound
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.core.platform import Platform
from cdp.core.settings import Environment
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import SearchingConformance, key_of, records_of, steps
from tests.connectors.http_peer import (
    CLIENT,
    CLIENT_SECRET,
    KEY,
    NAME,
    PASSWORD,
    TOKEN,
    Crm,
    description,
    served_crm,
)
from tests.connectors.serving import Raw, answer

SECRETS = {
    "none": {},
    "header": {"key": KEY},
    "basic": {"username": NAME, "password": PASSWORD},
    "bearer": {"token": TOKEN},
    "client_credentials": {"client_id": CLIENT, "client_secret": CLIENT_SECRET},
}


def system_for(platform: Platform, configuration: dict[str, Any], held: dict[str, str] | None = None) -> System:
    system_id = SystemId(new_id())
    held = SECRETS["header"] if held is None else held
    sealed = platform.sealer.seal(json.dumps(held).encode(), f"system:{system_id}")
    return System(system_id, "crm", "http", configuration, sealed)


class CrmHarness:
    """The peer and a connector to it."""

    def __init__(self, platform: Platform, crm: Crm) -> None:
        self.platform, self.crm = platform, crm
        self.connector = self.connected()

    def connected(self, **changes: Any) -> Connector:
        return connect(system_for(self.platform, description(self.crm, **changes)), self.platform)

    async def person(self, *, email: str = "") -> Subject:
        mark = secrets.token_hex(5)
        email = email or f"eve+{mark}/../x?y#z%2f@example.com"
        number = f"c/{mark}"
        self.crm.add(email, number, mark)
        identifiers = (
            Identifier("email", email, verified=True),
            Identifier("customer_number", number, "crm", verified=True),
            Identifier("customer_number", "17", "another shop", verified=True),
        )
        return Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING)

    async def unreachable(self) -> Connector:
        return self.connected(url="http://127.0.0.1:1/api")

    async def everything(self) -> object:
        return deepcopy(self.crm.tables)

    async def held(self, subject: Subject) -> object:
        return deepcopy(self.crm.of(*(known.value for known in subject.identifiers[:2])))

    async def come_back(self, subject: Subject) -> None:
        self.crm.add(subject.identifiers[0].value, subject.identifiers[1].value, "again")

    def texts(self, subject: Subject) -> list[str]:
        email, number, _ = (known.value for known in subject.identifiers)
        mark = number.removeprefix("c/")
        return [email, f"customers {mark}", f"notes {mark}", f"tickets {mark}", f"invoices {mark}"]


@pytest.fixture
def harness(platform: Platform) -> Iterator[CrmHarness]:
    with served_crm() as crm:
        yield CrmHarness(platform, crm)


class TestHttp(SearchingConformance):
    pass


async def each_step(connector: Connector, subject: Subject) -> list[Outcome]:
    """How all four steps end while the peer gives one answer to everything."""
    outcomes = await steps(connector, subject)
    with pytest.raises(Unfinished) as stopped:
        await records_of(connector, subject)
    return [*outcomes, stopped.value.outcome]


async def test_every_page_is_read_whatever_size_was_asked_for(harness: CrmHarness) -> None:
    subject = await harness.person()
    await harness.person()
    found = await records_of(harness.connector, subject)
    assert {name: len(rows) for name, rows in found.items()} == {
        "customers": 3,
        "notes": 3,
        "tickets": 3,
        "invoices": 1,
    }
    check, erase, verify = await steps(harness.connector, subject)
    assert check.records == erase.records == {"customers": 3, "notes": 3, "tickets": 3}
    assert [(kept.collection, kept.records) for kept in verify.retained] == [("invoices", 1)]


async def test_notes_stay_cut(harness: CrmHarness) -> None:
    subject = await harness.person()
    await steps(harness.connector, subject)
    assert [row["text"] for row in harness.crm.tables["notes"]] == ["erased"] * 3


@pytest.mark.parametrize("auth", list(SECRETS))
async def test_every_way_to_sign_in(harness: CrmHarness, platform: Platform, auth: str) -> None:
    subject = await harness.person()
    harness.crm.auth = auth
    more = {"token_url": f"{harness.crm.base}/token", "scope": "erase"} if auth == "client_credentials" else {}
    configuration = description(harness.crm, auth={"type": auth, **more})
    system = system_for(platform, configuration, SECRETS[auth])
    assert await problems(system, platform) == ()
    assert [outcome.state for outcome in await steps(connect(system, platform), subject)] == [State.DONE] * 3
    assert len(harness.crm.tokens) == (1 if auth == "client_credentials" else 0)
    if auth != "none":
        wrong = {name: f"{value}-not" for name, value in SECRETS[auth].items()}
        found = await problems(system_for(platform, configuration, wrong), platform)
        assert [problem.code for problem in found] == ["NOT_ALLOWED"]


async def test_a_token_taken_back_is_fetched_anew_once(harness: CrmHarness, platform: Platform) -> None:
    subject = await harness.person()
    harness.crm.auth = "client_credentials"
    auth = {"type": "client_credentials", "token_url": f"{harness.crm.base}/token", "scope": "s"}
    connector = connect(
        system_for(platform, description(harness.crm, auth=auth), SECRETS["client_credentials"]), platform
    )
    assert (await connector.check(subject, "k")).state is State.DONE
    harness.crm.tokens.append("the other side has forgotten")
    assert (await connector.check(subject, "k")).state is State.DONE
    assert len(harness.crm.tokens) == 3
    harness.crm.auth = "header"
    outcome = await connector.check(subject, "k")
    assert (outcome.state, outcome.code, len(harness.crm.tokens)) == (State.FAILED, "NOT_ALLOWED", 4)
    harness.crm.mode = "odd_tokens"
    outcome = await connector.check(subject, "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "BAD_TOKEN_ANSWER")


async def test_a_peer_that_deletes_nothing_and_says_204_is_found_out(harness: CrmHarness) -> None:
    subject = await harness.person()
    harness.crm.mode = "deletes_nothing"
    _, erase, verify = await steps(harness.connector, subject)
    assert erase.state is State.DONE
    assert (verify.state, verify.code) == (State.FAILED, "LEFT_BEHIND")
    assert verify.records == {"customers": 3, "notes": 0, "tickets": 3}


async def test_a_filter_the_peer_ignores_erases_nobody(harness: CrmHarness) -> None:
    bystander, subject = await harness.person(), await harness.person()
    harness.crm.mode = "ignores_filter"
    before = await harness.everything()
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, "WRONG_PERSON")}
    assert [p.code for p in await harness.connector.probe()] == ["WRONG_PERSON"]
    loose = description(harness.crm)["collections"]
    loose["customers"].pop("updates")
    loose["customers"]["read"].pop("match")
    loose["customers"]["erase"]["path"] = "/customers/{email}"
    assert [p.code for p in await harness.connected(collections=loose).probe()] == ["NOBODY_FOUND"]
    assert await harness.everything() == before
    assert await harness.held(bystander)


@pytest.mark.parametrize(
    ("mode", "code"),
    [("link_elsewhere", "LINK_ELSEWHERE"), ("circling", "PAGES_DO_NOT_END"), ("no_cursor", "BAD_ANSWER")],
)
async def test_pages_that_do_not_add_up_are_not_the_whole(harness: CrmHarness, mode: str, code: str) -> None:
    subject = await harness.person()
    harness.crm.mode = mode
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, code)}
    assert await harness.held(subject)


async def test_a_refusal_is_the_code_that_was_described(harness: CrmHarness) -> None:
    subject = await harness.person()
    harness.crm.mode = "contract"
    outcome = await harness.connector.erase(subject, "k")
    assert (outcome.state, outcome.code, outcome.evidence) == (State.REFUSED, "OPEN_TICKET", {})


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(harness: CrmHarness) -> None:
    subject = await harness.person()
    harness.crm.mode = "dropping"
    key = key_of(subject, "erase")
    tries = 0
    while (outcome := await harness.connector.erase(subject, key)).state is State.RETRY:
        tries += 1
        assert tries < 10
    assert outcome.state is State.DONE
    assert not await harness.held(subject)
    assert all(used.startswith(key) for used in harness.crm.effects)
    assert len(harness.crm.effects) == 7


@pytest.mark.parametrize(
    "raw",
    [
        answer(204, b""),
        answer(200, b""),
        answer(200, b"<html>maintenance</html>"),
        answer(200, b"[" * 100_000),
        answer(200, b'{"items": [], "data": [1e999]}'),
        answer(200, {"items": None}),
        answer(200, {"items": [1]}),
        answer(200, {"items": "none"}),
        answer(200, {"data": []}),
        answer(404, {"error": {"code": "NO_SUCH_CUSTOMER"}}),
        answer(404, b"no such page"),
        answer(410, b""),
        answer(200, b"", **{"content-encoding": "gzip"}),
    ],
    ids=lambda raw: f"{raw[0]} {raw[2][:30]!r}",
)
async def test_an_answer_of_another_shape_has_failed(harness: CrmHarness, raw: Raw) -> None:
    subject = await harness.person()
    harness.crm.answer = raw
    assert {(o.state, o.code) for o in await each_step(harness.connector, subject)} == {(State.FAILED, "BAD_ANSWER")}


@pytest.mark.parametrize(
    "said",
    [
        {"errors": [{"message": "Eve's shard is away"}]},
        {"error": "timeout"},
        {"ok": False},
        {"success": False},
        {"status": "Error"},
    ],
    ids=str,
)
async def test_an_empty_list_beside_an_error_is_not_nothing(harness: CrmHarness, said: dict[str, Any]) -> None:
    subject = await harness.person()
    harness.crm.answer = answer(200, {"items": [], **said})
    assert {(o.state, o.code) for o in await each_step(harness.connector, subject)} == {(State.FAILED, "ERROR_IN_BODY")}
    harness.crm.answer = answer(200, {"items": [], "errors": [], "error": None, "ok": True, "status": "ok"})
    assert "ERROR_IN_BODY" not in {o.code for o in await steps(harness.connector, subject)}


async def test_a_sign_that_is_an_error_by_description_means_nothing(harness: CrmHarness) -> None:
    customers = description(harness.crm)["collections"]["customers"]
    unknown = {"status": 200, "at": "/error/code", "equals": "UNKNOWN"}
    customers["read"]["nothing"] = [unknown]
    connector = harness.connected(collections={"customers": customers})
    subject = await harness.person()
    harness.crm.answer = answer(200, {"error": {"code": "UNKNOWN"}})
    assert (await connector.verify(subject, "k")).state is State.DONE
    harness.crm.answer = answer(200, {"error": {"code": "UNKNOWN"}, "errors": ["half of it"]})
    assert (await connector.verify(subject, "k")).code == "ERROR_IN_BODY"


async def test_a_change_whose_answer_says_that_it_was_none(harness: CrmHarness) -> None:
    tickets = description(harness.crm)["collections"]["tickets"]
    tickets["erase"] |= {"path": "/tickets/say", "done": [{"status": 200}]}
    subject = await harness.person()
    before = await harness.everything()
    outcome = await harness.connected(collections={"tickets": tickets}).erase(subject, "k")
    assert (outcome.state, outcome.code) == (State.FAILED, "ERROR_IN_BODY")
    assert await harness.everything() == before


@pytest.mark.parametrize(
    ("raw", "state", "code", "wait_s"),
    [
        (answer(401, b""), State.FAILED, "NOT_ALLOWED", None),
        (answer(403, {"who": "Eve"}), State.FAILED, "NOT_ALLOWED", None),
        (answer(429, b"", **{"retry-after": "7"}), State.RETRY, "BUSY", 7.0),
        (answer(503, b"", **{"retry-after": "whenever"}), State.RETRY, "BUSY", None),
        (answer(500, b"Traceback: Eve"), State.RETRY, "SERVER_ERROR", None),
        (answer(200, b" " * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
        (answer(500, b"x" * 10_000_000), State.FAILED, "ANSWER_TOO_LARGE", None),
    ],
    ids=lambda value: f"{value[0]} {value[2][:20]!r}" if isinstance(value, tuple) else None,
)
async def test_other_answers_become_the_state_they_mean(
    harness: CrmHarness, raw: Raw, state: State, code: str, wait_s: float | None
) -> None:
    subject = await harness.person()
    harness.crm.answer = raw
    outcomes = await each_step(harness.connector, subject)
    assert {(o.state, o.code, o.retry_after_s) for o in outcomes} == {(state, code, wait_s)}
    assert await harness.held(subject)


async def test_an_erasure_answered_otherwise_has_failed(harness: CrmHarness, platform: Platform) -> None:
    subject = await harness.person()
    collections = description(harness.crm)["collections"]
    collections = {"tickets": collections["tickets"]}
    for done in ({"status": 200}, {"status": 204, "at": "/erased", "equals": True}):
        collections["tickets"]["erase"]["done"] = [done]
        harness.crm.mode = "deletes_nothing"
        outcome = await harness.connected(collections=collections).erase(subject, "k")
        assert (outcome.state, outcome.code, outcome.evidence) == (State.FAILED, "BAD_ANSWER", {"status": 204})


async def test_a_verification_of_its_own_needs_its_sign(harness: CrmHarness) -> None:
    subject = await harness.person()
    collections = description(harness.crm)["collections"]
    sign = {"status": 404, "at": "/error/code", "equals": "NO_SUCH_CUSTOMER"}
    invoices = collections["invoices"]
    own = {"path": "/invoices/{customer_number}", "nothing": [sign]}
    erase = {"path": "/invoices/{customer_number}"}
    changed = {"read": invoices["read"], "issuer": "crm", "verify": own, "erase": erase}
    connector = harness.connected(collections={"invoices": changed})
    outcome = await connector.verify(subject, "k")
    assert (outcome.state, outcome.code, outcome.records) == (State.FAILED, "LEFT_BEHIND", {"invoices": 1})
    harness.crm.tables["invoices"].clear()
    assert (await connector.verify(subject, "k")).state is State.DONE
    harness.crm.answer = answer(404, {"error": {"code": "NO_SUCH_PAGE"}})
    assert (await connector.verify(subject, "k")).code == "BAD_ANSWER"


async def test_a_peer_that_hangs_is_asked_again(harness: CrmHarness) -> None:
    subject = await harness.person()
    harness.crm.mode = "hanging"
    outcomes = await each_step(harness.connected(timeout_s=0.2), subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.RETRY, "TIMED_OUT")}


async def test_redirects_are_not_followed(harness: CrmHarness) -> None:
    subject = await harness.person()
    harness.crm.answer = answer(307, b"", location=f"{harness.crm.base}/canary")
    assert {(o.state, o.code) for o in await each_step(harness.connector, subject)} == {(State.FAILED, "REDIRECTED")}
    assert harness.crm.canary_calls == 0


async def test_private_addresses_are_refused_where_they_are_forbidden(harness: CrmHarness, platform: Platform) -> None:
    subject = await harness.person()
    guarded = replace(platform, outbound=Outbound(allow_private=False))
    connector = connect(system_for(platform, description(harness.crm)), guarded)
    outcomes = await each_step(connector, subject)
    assert {(o.state, o.code) for o in outcomes} == {(State.FAILED, "TARGET_FORBIDDEN")}
    assert harness.crm.calls == []
    await guarded.outbound.close()


async def test_no_identifier_can_leave_its_place_in_the_address(harness: CrmHarness) -> None:
    subject = await harness.person()
    await harness.connector.check(subject, "k")
    assert {call.path for call in harness.crm.calls} == {
        "/api/customers",
        "/api/notes",
        "/api/tickets/search",
        "/api/invoices/" + subject.identifiers[1].value.replace("/", "%2F"),
    }
    for value in (".", ".."):
        climbing = replace(subject, identifiers=(Identifier("customer_number", value, "crm", verified=True),))
        outcome = await harness.connector.check(climbing, "k")
        assert (outcome.state, outcome.code) == (State.FAILED, "VALUE_NOT_USABLE")


async def test_calls_keep_to_the_rate(harness: CrmHarness) -> None:
    subject = await harness.person()
    slow = harness.connected(rate={"requests": 1, "per_s": 3600})
    outcome = await slow.check(subject, "k")
    assert (outcome.state, outcome.code) == (State.RETRY, "BUSY")
    assert outcome.retry_after_s is not None
    assert len(harness.crm.calls) == 1
    brisk = harness.connected(rate={"requests": 100, "per_s": 1})
    assert (await brisk.check(subject, "k")).state is State.DONE


def wrong(crm: Crm, change: str) -> dict[str, Any]:
    """A description with one thing wrong."""
    given = description(crm)
    read = given["collections"]["customers"]["read"]
    erase = given["collections"]["customers"]["erase"]
    invoices = given["collections"]["invoices"]
    match change:
        case "placeholder":
            read["query"]["x"] = "{shoe_size}"
        case "record in a search":
            read["query"]["x"] = "{record/id}"
        case "brace":
            read["path"] = "/customers/{email"
        case "nobody":
            read["query"] = {}
        case "two types":
            read["query"]["phone"] = "{phone}"
        case "other type":
            erase["path"] = "/customers/{phone}"
        case "everybody":
            erase["path"] = "/customers"
        case "match":
            del read["match"]
        case "records":
            del read["records"]
        case "pointer":
            read["records"] = "items"
        case "bare 404":
            invoices["read"]["nothing"] = [{"status": 404}]
        case "bare 200":
            invoices["read"]["nothing"] = [{"status": 200}]
        case "proves nothing":
            invoices["verify"] = {"path": "/invoices/{customer_number}"}
        case "keeps and erases":
            invoices["erase"] = {"path": "/invoices/{customer_number}"}
        case "neither":
            del invoices["keeps"]
        case "get with a body":
            read["body"] = {}
        case "header":
            given["headers"] = {"Authorization": "Bearer x"}
        case "header break":
            given["headers"] = {"X-A": "a\r\nb"}
        case "query in the address":
            given["url"] += "?key=1"
        case "password in the address":
            given["url"] = "https://a:b@example.com"
        case "path elsewhere":
            read["path"] = "@example.com/"
        case "state":
            erase["otherwise"] = [{"status": 404, "state": "done", "code": "GONE"}]
        case "unknown field":
            given["retries"] = 3
    return given


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("placeholder", "PLACEHOLDER_UNKNOWN"),
        ("record in a search", "PLACEHOLDER_UNKNOWN"),
        ("brace", "PLACEHOLDER_UNKNOWN"),
        ("nobody", "IDENTIFIER_NEEDED"),
        ("two types", "IDENTIFIER_NEEDED"),
        ("other type", "IDENTIFIER_DIFFERS"),
        ("everybody", "IDENTIFIER_NEEDED"),
        ("match", "MATCH_MISSING"),
        ("records", "VALUE_MISSING"),
        ("pointer", "VALUE_INVALID"),
        ("bare 404", "PROVES_NOTHING"),
        ("bare 200", "PROVES_NOTHING"),
        ("proves nothing", "PROVES_NOTHING"),
        ("keeps and erases", "VALUE_INVALID"),
        ("neither", "VALUE_INVALID"),
        ("get with a body", "VALUE_INVALID"),
        ("header", "VALUE_INVALID"),
        ("header break", "VALUE_INVALID"),
        ("query in the address", "VALUE_INVALID"),
        ("password in the address", "SECRET_IN_CONFIGURATION"),
        ("path elsewhere", "VALUE_INVALID"),
        ("state", "VALUE_INVALID"),
        ("unknown field", "VALUE_INVALID"),
    ],
)
async def test_a_description_that_can_not_work_is_refused(
    harness: CrmHarness, platform: Platform, change: str, code: str
) -> None:
    system = system_for(platform, wrong(harness.crm, change))
    assert code in {problem.code for problem in await problems(system, platform)}
    with pytest.raises(ConfigurationInvalid):
        connect(system, platform)
    assert harness.crm.calls == []


@pytest.mark.parametrize(
    "held",
    [{}, {"key": ""}, {"key": "a\r\nX-Admin: yes"}, {"key": "schlüssel"}, {"key": KEY, "token": TOKEN}],
    ids=str,
)
async def test_secrets_that_do_not_fit_are_refused(
    harness: CrmHarness, platform: Platform, held: dict[str, str]
) -> None:
    found = await problems(system_for(platform, description(harness.crm), held), platform)
    assert {problem.code for problem in found} <= {"SECRET_MISSING", "FIELD_UNKNOWN"}
    assert found


async def test_production_speaks_https_alone(harness: CrmHarness, platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"env": Environment.PRODUCTION})
    live = replace(platform, settings=settings)
    with pytest.raises(ConfigurationInvalid):
        connect(system_for(platform, description(harness.crm)), live)
    connect(system_for(platform, description(harness.crm, url="https://example.com/api")), live)


def correction(harness: CrmHarness, subject: Subject, new: str | None = "Quine") -> list[Change]:
    """What the peer's customers say, and what they should."""
    email = subject.identifiers[0].value
    said = next(row["text"] for row in harness.crm.tables["customers"] if row["email"] == email)
    return [Change("Customer", "familyName", said, new)]


async def test_a_correction_reaches_every_record_of_the_person_alone(harness: CrmHarness) -> None:
    subject, bystander = await harness.person(), await harness.person()
    before = await harness.held(bystander)
    connector, wanted = harness.connector, correction(harness, subject)
    assert isinstance(connector, Updates)
    done = await connector.update(subject, key_of(subject, "update"), wanted)
    assert (done.state, done.code, done.records) == (State.DONE, Code.CORRECTED, {"values": 3})
    assert [row["text"] for row in harness.crm.tables["customers"]].count("Quine") == 3
    assert await harness.held(bystander) == before
    assert set(harness.crm.effects.values()) == {1}
    again = await connector.update(subject, key_of(subject, "update"), wanted)
    assert (again.state, again.code) == (State.DONE, Code.NOTHING_FOUND)


@pytest.mark.parametrize(
    ("mode", "field", "old", "state", "code"),
    [
        ("corrects_nothing", "familyName", "as it is", State.FAILED, Code.LEFT_BEHIND),
        ("ignores_filter", "familyName", "as it is", State.FAILED, "WRONG_PERSON"),
        ("honest", "locale", "as it is", State.UNSUPPORTED, Code.NOT_OFFERED),
        ("honest", "familyName", None, State.FAILED, "AMBIGUOUS"),
        ("hanging", "familyName", "as it is", State.RETRY, Code.TIMED_OUT),
    ],
)
async def test_corrections_that_do_not_work(
    harness: CrmHarness, mode: str, field: str, old: str | None, state: State, code: str
) -> None:
    subject = await harness.person()
    await harness.person()
    wanted = [replace(one, field=field) for one in correction(harness, subject)]
    if old is None:
        wanted = [replace(one, old=None) for one in wanted]
        for row in harness.crm.tables["customers"]:
            row["text"] = ""
    before = await harness.everything()
    harness.crm.mode = mode
    connector = harness.connected(timeout_s=0.3)
    assert isinstance(connector, Updates)
    outcome = await connector.update(subject, key_of(subject, "update"), wanted)
    assert (outcome.state, outcome.code) == (state, code)
    assert await harness.everything() == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": {"text": "Quine"}}, "VALUE_MISSING"),
        ({"path": "/customers"}, "IDENTIFIER_NEEDED"),
        ({"path": "/customers/{record/id}/{phone}"}, "IDENTIFIER_DIFFERS"),
        ({"path": "/customers/{record/id}/{old}"}, "PLACEHOLDER_UNKNOWN"),
    ],
)
def test_a_correction_that_could_hit_others_is_refused(harness: CrmHarness, change: dict[str, Any], code: str) -> None:
    configuration = description(harness.crm)
    configuration["collections"]["customers"]["updates"]["Customer.familyName"] |= change
    with pytest.raises(ConfigurationInvalid) as refused:
        connect(system_for(harness.platform, configuration), harness.platform)
    assert [problem.code for problem in refused.value.problems] == [code]
