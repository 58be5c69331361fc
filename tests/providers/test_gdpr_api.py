"""The GDPR API as it is called: our connector against our provider, and what the public tester leaves out.

Tokens that must not count, rehearsals that must change nothing, second deletions, queries after deletions, the form of
every answer. Callers take 204 alone for success, so each other case is seen not to be 204.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx
import jsonschema
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import func, insert, select, update

from cdp.connectors.base import Connector, Subject, System
from cdp.connectors.registry import connect
from cdp.core.db import Role
from cdp.core.http import Outbound
from cdp.core.ids import SystemId, new_id
from cdp.core.settings import Environment
from cdp.core.sign import encode
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.packages.subject_access import operations
from cdp.operations.providers.gdpr_api import nodes
from cdp.operations.providers.gdpr_api.answers import Answered, Verdict
from cdp.operations.providers.gdpr_api.keys import IssuerKeys, IssuerUnavailable
from cdp.operations.providers.gdpr_api.service import ServiceMisconfigured, service_of
from cdp.operations.requests import cases
from cdp.tables.base import Category
from cdp.tables.federation import external_identity
from cdp.tables.request import RequestStatus, privacy_request
from cdp.tables.system import system
from tests.connectors.conformance import SearchingConformance
from tests.connectors.serving import Call, Raw, answer, serving
from tests.connectors.webhook_peer import Peer, served
from tests.engine import until
from tests.holds.desk import staffed
from tests.population import Person, audited, make_person
from tests.providers.two import AUDIENCE, NUMBERING, Two
from tests.site import listening

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "key": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
                "value": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1},
            },
            "required": ["key"],
            "oneOf": [{"required": ["value"]}, {"required": ["children"]}],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
ERRORS = {
    "type": "object",
    "required": ["errors"],
    "additionalProperties": False,
    "properties": {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "additionalProperties": False,
                "properties": {
                    "code": {"type": "string", "minLength": 1},
                    "message": {
                        "type": "object",
                        "required": ["en", "fi", "sv"],
                        "additionalProperties": {"type": "string", "minLength": 1},
                    },
                },
            },
        }
    },
}


def code_of(found: httpx.Response) -> str:
    """The code of an error response, whose form is checked as callers check it."""
    jsonschema.validate(found.json(), ERRORS)
    assert found.headers["cache-control"] == "no-store"
    return str(found.json()["errors"][0]["code"])


async def refs(two: Two, person: Person) -> list[tuple[RequestStatus, str]]:
    async with two.home.db.transaction(Role.WORKER) as tx:
        found = select(privacy_request.c.status, privacy_request.c.channel)
        rows = await tx.all(found.where(privacy_request.c.subject_ref == person.audit_ref))
    return [(row.status, row.channel) for row in rows]


class Ours:
    """Our provider as the peer of the connectors' suite."""

    def __init__(self, two: Two) -> None:
        self.two = two
        self.connector = self.connected(f"{two.url}/gdpr-api/v1/$user_uuid")

    def connected(self, url: str) -> Connector:
        configuration = {
            "url": url,
            "auth": {"type": "signed", "audience": AUDIENCE},
            "by": "customer_number",
            "issuer": NUMBERING,
            "timeout_s": 30,
        }
        return connect(System(SystemId(new_id()), "home", "gdpr_api", configuration), self.two.caller)

    async def person(self) -> Subject:
        number, _ = await self.two.person()
        return self.two.subject(number)

    async def unreachable(self) -> Connector:
        return self.connected("http://127.0.0.1:1/")

    async def everything(self) -> object:
        return [await self.two.held(person) for person in self.two.people.values()]

    async def held(self, subject: Subject) -> object:
        held = await self.two.held(self.two.people[subject.identifiers[0].value])
        return deepcopy({name: rows for name, rows in held.items() if name != "sales_order"})

    async def come_back(self, subject: Subject) -> None:
        await self.two.number(await make_person(self.two.home.db), subject.identifiers[0].value)

    def texts(self, subject: Subject) -> list[str]:
        person = self.two.people[subject.identifiers[0].value]
        return [person.email, person.email.split("@")[0].removeprefix("ada.")]


class TestRoundTrip(SearchingConformance):
    """The suite of connectors: ours calls ours."""

    @pytest.fixture
    async def harness(self, two: Two) -> Any:
        async with two.working():
            yield Ours(two)


async def test_a_query_shows_everything_as_nodes(two: Two) -> None:
    number, person = await two.person()
    _, bystander = await two.person()
    found = await two.ask("GET", number)
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    jsonschema.validate(found.json(), NODE)
    assert person.email in found.text
    assert bystander.email not in found.text
    names = {node["key"] for node in found.json()["children"]}
    assert {"PROFILE", "EMAILS", "ORDERS", "CONSENTS", "IDENTITIES"} <= names
    (emails,) = [node for node in found.json()["children"] if node["key"] == "EMAILS"]
    assert [one["key"] for one in emails["children"]] == ["EMAIL"]
    assert {"key": "IS_VERIFIED", "value": "true"} in emails["children"][0]["children"]
    assert "customer.shown_to_service" in await audited(two.home.db, person)


def test_every_collection_of_the_document_has_a_name_for_one_of_it() -> None:
    names = {name: nodes.one_of(name) for name in operations() if name not in nodes.ALONE}
    assert {name: one for name, one in names.items() if one == nodes.key(name)} == {}
    assert (names["addresses"], names["identities"], names["policies"]) == ("ADDRESS", "IDENTITY", "POLICY")


async def test_a_deletion_goes_through_every_system_without_delay(two: Two, peer: Peer) -> None:
    number, person = await two.person()
    _, bystander = await two.person()
    others = await two.held(bystander)
    for one in (person, bystander):
        peer.people[one.email] = {"profile": [{"email": one.email}]}
    async with two.working():
        done = await two.ask("DELETE", number)
    assert (done.status_code, done.content) == (204, b"")
    assert set(peer.people) == {bystander.email}
    assert await refs(two, person) == [(RequestStatus.COMPLETED, "gdpr_api")]
    assert await two.held(bystander) == others
    actions = await audited(two.home.db, person)
    assert [one for one in actions if one.startswith("request.")][:2] == ["request.opened", "request.cooling_off"]
    assert "request.completed" in actions
    told = two.engine.letters(person)
    assert len(told) == 2
    assert "is under way" in told[0]
    assert "undo" not in told[0]
    again, query = await two.ask("DELETE", number), await two.ask("GET", number)
    assert (again.status_code, query.status_code, query.content) == (204, 204, b"")
    assert (await two.ask("DELETE", number, query="?dry_run=true")).status_code == 204


@pytest.mark.parametrize("number", ["0e9b5f0e-7a4e-4d57-9f0f-1d7a6f4f3b52", "a%00b", "%F0%9F%90%9F", "x" * 300])
async def test_somebody_unknown_is_nothing_to_show_or_delete(two: Two, number: str) -> None:
    token = two.token(httpx.URL(f"http://x/{number}").path[1:])
    for method, query in (("GET", ""), ("DELETE", "?dry_run=true"), ("DELETE", "")):
        assert (await two.ask(method, number, token=token, query=query)).status_code == 204


async def test_a_sign_in_of_the_issuer_finds_its_customer(two: Two) -> None:
    person, subject = await make_person(two.home.db), str(new_id())
    mine = {"customer_id": person.customer_id, "issuer": two.caller.settings.url, "subject": subject}
    at = two.home.clock()
    async with two.home.db.transaction(Role.WORKER) as tx:
        await tx.execute(insert(external_identity).values(id=new_id(), **mine, created_at=at, last_sign_in_at=at))
    assert person.email in (await two.ask("GET", subject)).text
    number, _ = await two.person()
    async with two.home.db.transaction(Role.WORKER) as tx:
        same = update(external_identity).where(external_identity.c.subject == subject)
        await tx.execute(same.values(subject=number))
    for method in ("GET", "DELETE"):
        found = await two.ask(method, number)
        assert (found.status_code, code_of(found)) == (500, "TECHNICAL_ERROR")
    assert await two.held(person)


NONE, BY_SECRET = b'{"alg":"none","typ":"JWT"}', b'{"alg":"HS256","typ":"JWT"}'


def forged(two: Two, number: str, key: RSAKey) -> str:
    claims = jwt.decode(two.token(number), issuer_of(two.caller).keys.key_set).claims
    return jwt.encode({"alg": "RS256", "kid": str(issuer_of(two.caller).keys.signing.kid)}, claims, key, ["RS256"])


def by_secret(token: str, secret: bytes) -> str:
    """The same claims, "signed" with the public key as a shared secret."""
    said = f"{encode(BY_SECRET)}.{token.split('.')[1]}"
    return f"{said}.{encode(hmac.digest(secret, said.encode(), 'sha256'))}"


def unsigned(token: str) -> str:
    return f"{encode(NONE)}.{token.split('.')[1]}."


OLDER = "https://api.example/auth"
BAD: dict[str, dict[str, object]] = {
    "expired": {"exp": 1},
    "no end": {"exp": None},
    "an end that is no time": {"exp": "tomorrow"},
    "from the future": {"iat": 9_999_999_999},
    "not yet": {"nbf": 9_999_999_999},
    "another issuer": {"iss": "https://other.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://other.example"},
    "several audiences": {"aud": [AUDIENCE, "https://other.example"]},
    "an audience that begins the same": {"aud": f"{AUDIENCE}/more"},
    "no audience": {"aud": None},
    "another person": {"sub": "somebody-else"},
    "nobody": {"sub": None},
    "no permission": {"authorization": None},
    "permissions of another form": {"authorization": {"permissions": ["gdprquery", "gdprdelete"]}},
    "scopes that are one text": {"authorization": {"permissions": [{"scopes": "gdprquery gdprdelete"}]}},
    "another scope": {"authorization": {"permissions": [{"scopes": ["gdpr"]}]}},
    "scopes in the older form": {"authorization": None, OLDER: ["gdprquery", "gdprdelete"]},
    "a weak sign-in": {"loa": "low"},
    "no level": {"loa": None},
    "levels in a list": {"loa": ["substantial"]},
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", sorted(BAD))
async def test_a_token_that_says_anything_else_opens_nothing(stranger: tuple[Two, str], name: str, method: str) -> None:
    two, number = stranger
    found = await two.ask(method, number, token=two.token(number, **BAD[name]))
    assert (found.status_code, found.json()["code"]) == (401, "TOKEN_REFUSED")
    assert "www-authenticate" in found.headers


@pytest.fixture(scope="module")
async def stranger(two: Two) -> tuple[Two, str]:
    """Somebody whom no call of the tests that share them may show or delete."""
    number, _ = await two.person()
    return two, number


@pytest.mark.parametrize(("method", "scope"), [("GET", "gdprdelete"), ("DELETE", "gdprquery")])
async def test_each_deed_needs_its_own_scope(stranger: tuple[Two, str], method: str, scope: str) -> None:
    two, number = stranger
    found = await two.ask(method, number, token=two.token(number, scope))
    assert found.status_code == 401


async def test_a_signature_that_is_not_the_issuers_opens_nothing(stranger: tuple[Two, str]) -> None:
    two, number = stranger
    good = two.token(number)
    other = RSAKey.generate_key(2048)
    public = issuer_of(two.caller).keys.signing.as_pem(private=False)
    ends = "A" if good[-1] != "A" else "Q"
    tokens = [
        forged(two, number, other),
        by_secret(good, public),
        unsigned(good),
        good[:-1] + ends,
        good.rsplit(".", 1)[0],
        "x.y.z",
        "é",
        "A" * 20_000,
    ]
    for token in tokens:
        async with httpx.AsyncClient(base_url=two.url) as client:
            headers = {b"Authorization": f"Bearer {token}".encode()}
            for method in ("GET", "DELETE"):
                found = await client.request(method, f"/gdpr-api/v1/{number}", headers=headers)
                assert found.status_code == 401, token[:40]
    async with httpx.AsyncClient(base_url=two.url) as client:
        assert (await client.get(f"/gdpr-api/v1/{number}")).status_code == 401
        basic = await client.get(f"/gdpr-api/v1/{number}", headers={"Authorization": f"Basic {good}"})
        assert basic.status_code == 401
        page = await client.get(f"/gdpr-api/v1/{number}", cookies={"session": good})
        assert page.status_code == 401
    assert await two.held(two.people[number])


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?dry_run=true", b""),
        ("?dry_run=True", b""),
        ("?dry_run=1", b""),
        ("", b'{"dry_run": true}'),
        ("", b"dry_run=true"),
    ],
)
async def test_a_rehearsal_changes_nothing(two: Two, query: str, body: bytes) -> None:
    number, person = await two.person()
    before = await two.held(person), await audited(two.home.db, person)
    async with two.working():
        found = await two.ask("DELETE", number, query=query, content=body)
    assert (found.status_code, found.content) == (204, b"")
    assert (await two.held(person), await audited(two.home.db, person)) == before


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?dry_run=maybe", b""),
        ("?dry_run=", b""),
        ("?dry_run=true&dry_run=false", b""),
        ("?dry_run=false", b'{"dry_run": true}'),
        ("", b'{"dry_run": "perhaps"}'),
        ("", b'{"dry_run"'),
        ("", b"\xff\xfe"),
    ],
)
async def test_what_is_unclear_is_never_an_order(two: Two, query: str, body: bytes) -> None:
    number, person = await two.person()
    before = await two.held(person)
    found = await two.ask("DELETE", number, query=query, content=body)
    assert (found.status_code, found.json()["code"]) == (400, "DRY_RUN_UNCLEAR")
    assert await two.held(person) == before


async def disconnect(two: Two) -> None:
    """Let later requests leave the systems of this test alone."""
    async with two.home.db.transaction(Role.WORKER) as tx:
        await tx.execute(
            update(system).where(system.c.kind != "own").values(enabled=False, name=func.concat("off-", system.c.id))
        )


@pytest.fixture
async def peer(two: Two) -> Any:
    with served() as one:
        await two.engine.connect(one)
        yield one
    await disconnect(two)


async def test_what_a_system_refuses_is_refused_and_rehearsed_so(two: Two, peer: Peer) -> None:
    number, person = await two.person()
    peer.people[person.email] = {"profile": [{}]}

    async def refuse(path: str, headers: dict[str, str], body: bytes) -> Raw:
        key = json.loads(body)["key"]
        return answer(200, {"key": key, "state": "refused", "code": "OPEN_CONTRACT"})

    peer.respond = refuse  # type: ignore[method-assign]  # the running peer answers differently from now on
    async with two.working():
        tried = await two.ask("DELETE", number, query="?dry_run=true")
        done = await two.ask("DELETE", number)
    assert [(one.status_code, code_of(one)) for one in (tried, done)] == [(403, "REFUSED_BY_SYSTEM")] * 2
    assert person.email in (await two.ask("GET", number)).text


async def test_a_system_that_says_done_and_keeps_all_is_never_204(two: Two, peer: Peer) -> None:
    number, person = await two.person()
    peer.people[person.email] = {"profile": [{}]}
    peer.mode = "deletes_nothing"
    async with two.working():
        found = await two.ask("DELETE", number)
    assert (found.status_code, code_of(found)) == (500, "NEEDS_ATTENTION")
    peer.mode, peer.remembered = "honest", {}
    (reference,) = await references(two, person)
    await two.engine.retry(reference)
    async with two.working():
        assert (await two.ask("DELETE", number)).status_code == 204
    assert len(await refs(two, person)) == 1


async def references(two: Two, person: Person) -> list[str]:
    async with two.home.db.transaction(Role.WORKER) as tx:
        mine = select(privacy_request.c.reference).where(privacy_request.c.subject_ref == person.audit_ref)
        return [row.reference for row in await tx.all(mine)]


async def test_who_calls_again_joins_what_is_under_way(two: Two) -> None:
    number, person = await two.person()
    first = asyncio.gather(*(two.ask("DELETE", number) for _ in range(3)))
    await until(lambda: _is_open(two, person))
    async with two.working():
        answers = await first
    assert [one.status_code for one in answers] == [204] * 3
    assert await refs(two, person) == [(RequestStatus.COMPLETED, "gdpr_api")]


async def _is_open(two: Two, person: Person) -> bool:
    return bool(await refs(two, person))


@pytest.fixture(scope="module")
async def hasty(two: Two) -> AsyncIterator[Two]:
    """The same platform, where nobody waits, for an issuer of the older form."""
    older = {"gdpr_api_scope_claim": OLDER, "gdpr_api_query_scope": "home.gdprquery", "gdpr_api_wait_s": 0.3}
    changes = {**older, "gdpr_api_delete_scope": "home.gdprdelete"}
    async with listening(two.home.settings.model_copy(update=changes)) as (url, _):
        yield replace(two, url=url)


async def test_the_older_form_of_scopes_counts_where_it_was_agreed(hasty: Two) -> None:
    number, person = await hasty.person()
    older = hasty.token(number, **{OLDER: ["home.gdprquery"]}, authorization=None)
    assert person.email in (await hasty.ask("GET", number, token=older)).text
    assert (await hasty.ask("DELETE", number, token=older)).status_code == 401
    assert (await hasty.ask("GET", number)).status_code == 401


async def test_a_deletion_that_takes_longer_is_not_done_yet(two: Two, hasty: Two) -> None:
    number, person = await two.person()
    older = two.token(number, **{OLDER: ["home.gdprdelete"]})
    found = [await hasty.ask("DELETE", number, token=older) for _ in range(2)]
    assert [(one.status_code, code_of(one)) for one in found] == [(500, "UNDER_WAY")] * 2
    assert await refs(two, person) == [(RequestStatus.CHECKING, "gdpr_api")]
    async with two.working():
        assert (await two.ask("DELETE", number)).status_code == 204
    assert len(await refs(two, person)) == 1


async def test_the_time_to_undo_that_somebody_was_promised_stays(two: Two) -> None:
    number, person = await two.person()
    opened = await two.engine.open_erasure(person)
    async with two.working():
        found = await two.ask("DELETE", number)
        tried = await two.ask("DELETE", number, query="?dry_run=true")
    assert {(one.status_code, code_of(one)) for one in (found, tried)} == {(500, "COOLING_OFF")}
    await two.engine.cancel(person, opened.reference)
    assert (await refs(two, person))[0][0] is RequestStatus.CANCELLED


async def test_a_legal_hold_is_a_refusal_until_it_ends(two: Two) -> None:
    number, person = await two.person()
    desk = await staffed(two.engine)
    hold = await desk.hold(person, Category.SUPPORT)
    async with two.working():
        tried = await two.ask("DELETE", number, query="?dry_run=true")
        done = await two.ask("DELETE", number)
        again = await two.ask("DELETE", number)
        still = await two.ask("DELETE", number, query="?dry_run=true")
        assert {(one.status_code, code_of(one)) for one in (tried, done, again, still)} == {(403, "HELD")}
        await desk.release(hold)
        assert (await two.ask("DELETE", number)).status_code == 204
    assert len(await refs(two, person)) == 1


async def test_what_people_here_decide_is_answered(two: Two) -> None:
    number, person = await two.person()
    opened = await two.engine.open_erasure(person)
    desk = await staffed(two.engine)
    async with two.home.db.transaction(Role.WORKER) as tx:
        request_id = (await two.engine.request(opened.reference)).id
        await cases.pause(tx, desk.second, request_id, reason="Is it them?")
    paused = await two.ask("DELETE", number)
    assert (paused.status_code, code_of(paused)) == (500, "WAITS_FOR_DECISION")
    async with two.home.db.transaction(Role.WORKER) as tx:
        await cases.refuse(tx, desk.second, two.home, request_id, reason="It is not Ada Family.")
    assert person.email in (await two.ask("GET", number)).text


@pytest.mark.parametrize("code", list(Answered))
def test_every_code_is_said_in_the_form_that_callers_keep(code: Answered) -> None:
    verdict = Verdict(code)
    jsonschema.validate(verdict.body, ERRORS)
    assert verdict.status in {403, 500}


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_other_methods_are_not_offered(stranger: tuple[Two, str], method: str) -> None:
    two, number = stranger
    assert (await two.ask(method, number)).status_code == 405


class TestKeysOfTheIssuer:
    """Discovery, rotation, and an issuer that is away: nobody gets in, and nobody is told that all is done."""

    @pytest.fixture
    def issuer(self) -> Iterator["Issuer"]:
        one = Issuer()
        with serving(one.respond) as base:
            one.url = base
            yield one

    @pytest.fixture
    async def keys(self, issuer: "Issuer") -> AsyncIterator[IssuerKeys]:
        outbound = Outbound(allow_private=True)
        yield IssuerKeys(outbound, issuer.url)
        await outbound.close()

    async def test_they_are_read_once_and_again_when_one_does_not_fit(self, issuer: "Issuer", keys: IssuerKeys) -> None:
        first = await keys.keys()
        assert await keys.keys() is first
        assert await keys.keys(but=first) is first, "asked again within the second"
        assert issuer.asked == 2
        issuer.keys.append(RSAKey.generate_key(2048).as_dict(private=False))
        await asyncio.sleep(1.01)
        later = await keys.keys(but=first)
        assert len(later.keys) == 2
        assert await keys.keys(but=first) is later, "somebody else has read them meanwhile"

    @pytest.mark.parametrize(
        "change",
        [
            {"issuer": "https://other.example"},
            {"jwks_uri": None},
            {"jwks_uri": "ftp://127.0.0.1/keys"},
            {"jwks_uri": "http://127.0.0.1:1/keys"},
        ],
        ids=str,
    )
    async def test_what_is_not_its_description_is_not_believed(
        self, issuer: "Issuer", keys: IssuerKeys, change: dict[str, object]
    ) -> None:
        issuer.changed = change
        with pytest.raises(IssuerUnavailable):
            await keys.keys()

    @pytest.mark.parametrize("raw", [(500, b""), (200, b"<html>"), (200, b"[]"), (302, b"{}"), (200, b"{" * 300_000)])
    async def test_garbage_is_no_key(self, issuer: "Issuer", keys: IssuerKeys, raw: tuple[int, bytes]) -> None:
        issuer.raw = answer(*raw)
        with pytest.raises(IssuerUnavailable):
            await keys.keys()
        issuer.raw = None
        assert await keys.keys()

    async def test_secrets_and_unknown_kinds_among_the_keys_are_left_out(
        self, issuer: "Issuer", keys: IssuerKeys
    ) -> None:
        issuer.keys += [{"kty": "??"}, {"kty": "RSA", "n": 7}, {**issuer.keys[0], "use": "enc"}]
        assert len((await keys.keys()).keys) == 1

    async def test_while_it_is_away_calls_are_neither_believed_nor_refused(self, two: Two) -> None:
        away = {"gdpr_api_issuer": "http://127.0.0.1:1"}
        async with listening(two.home.settings.model_copy(update=away)) as (url, _):
            found = await replace(two, url=url).ask("DELETE", "x")
        assert (found.status_code, code_of(found)) == (500, "TECHNICAL_ERROR")


class Issuer:
    """An issuer's discovery and keys."""

    def __init__(self) -> None:
        self.url, self.asked, self.raw = "", 0, None
        self.changed: dict[str, object] = {}
        self.keys: list[dict[str, Any]] = [dict(RSAKey.generate_key(2048).as_dict(private=False))]

    async def respond(self, call: Call) -> Raw:
        self.asked += 1
        if self.raw is not None:
            return self.raw
        if call.path == "/keys":
            return answer(200, {"keys": self.keys})
        return answer(200, {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.changed})


@pytest.mark.parametrize(
    "changes",
    [
        {"gdpr_api_issuer": "http://issuer.example"},
        {"gdpr_api_audience": ""},
        {"gdpr_api_levels": " , "},
        {"env": Environment.PRODUCTION},
    ],
    ids=str,
)
def test_settings_that_would_let_strangers_in_are_refused(two: Two, changes: dict[str, object]) -> None:
    with pytest.raises(ServiceMisconfigured):
        service_of(two.home.settings.model_copy(update=changes))


async def test_without_an_issuer_nobody_gets_in(two: Two) -> None:
    async with listening(two.home.settings.model_copy(update={"gdpr_api_issuer": ""})) as (url, _):
        found = await replace(two, url=url).ask("GET", "x")
    assert (found.status_code, found.json()["code"]) == (401, "TOKEN_REFUSED")
