"""OpenDSR as the processor: our connector against our provider, and what a controller may not do, see or believe."""

import asyncio
import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import insert, select, update

from cdp.access.viewer import SYSTEM
from cdp.connectors.base import Connector, Identifier, Outcome, State, Subject, System, Unfinished
from cdp.connectors.opendsr.trust import SignatureRefused, authorities_in, checked_key, require_signature
from cdp.connectors.registry import connect
from cdp.core.db import Role
from cdp.core.http import Answer
from cdp.core.ids import CustomerId, RequestId, SystemId, new_id
from cdp.operations.oauth import clients
from cdp.operations.providers.opendsr import controllers, search, wire
from cdp.operations.providers.opendsr.certificate import AUTHORITY_FILE, CertificateUnfit, fitting, signature_of
from cdp.operations.providers.opendsr.controllers import ControllerExists, DomainInvalid, UnknownClientOrBrand
from cdp.operations.providers.opendsr.wire import CallbackNotAllowed, Identity, require_callbacks
from cdp.operations.requests import cases
from cdp.tables.account import account
from cdp.tables.base import Category
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.policy import CollectionPoint, brand, collection
from cdp.tables.provider import asked_request, status_call
from tests.connectors.conformance import SECRET as DYING
from tests.connectors.conformance import key_of
from tests.connectors.serving import Call, Raw, answer, serving
from tests.holds.desk import staffed
from tests.population import Person, audited, make_person
from tests.providers.two import DOMAIN, NUMBERING, Controller, Two, request_of
from tests.site import listening

ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string"},
                "errors": {
                    "type": "array",
                    "items": {"required": ["domain", "reason", "message"], "additionalProperties": {"type": "string"}},
                },
            },
        }
    },
}


def reason_of(found: httpx.Response) -> str:
    """The reason of an error, whose form is checked."""
    jsonschema.validate(found.json(), ERROR)
    assert found.headers["cache-control"] == "no-store"
    assert found.json()["error"]["code"] == found.status_code
    return str(found.json()["error"]["errors"][0]["reason"])


def by_email(person: Person) -> tuple[str, str, str]:
    return "email", hashlib.sha256(person.email.encode()).hexdigest(), "sha256"


@pytest.fixture(scope="module")
async def shop(two: Two) -> Controller:
    """The controller of most tests."""
    return await two.controller("shop.example")


async def signed(two: Two, found: httpx.Response) -> bool:
    """Whether an answer is the processor's, checked as our connector does."""
    authority = (two.home.settings.state_dir / AUTHORITY_FILE).read_text()
    async with httpx.AsyncClient(base_url=two.url) as client:
        described = (await client.get("/opendsr/v2/discovery")).json()
        chain = (await client.get(described["processor_certificate"])).content
    key = checked_key(chain, authorities_in(authority), DOMAIN, two.home.clock())
    assert key.key_size == 4096
    try:
        require_signature(Answer(found.status_code, found.headers, found.content), key, DOMAIN)
    except SignatureRefused:
        return False
    return True


class Patient:
    """A connector whose steps are asked for again, under the same key, as the engine does while one waits."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector

    async def step(self, name: str, subject: Subject) -> Outcome:
        async with asyncio.timeout(60):
            while True:
                outcome = await getattr(self.connector, name)(subject, key_of(subject, name))
                if outcome.state is not State.WAITING:
                    return outcome
                await asyncio.sleep(0.1)

    async def read(self, subject: Subject) -> dict[str, list[Any]]:
        async with asyncio.timeout(60):
            while True:
                try:
                    pages = [page async for page in self.connector.read(subject, key_of(subject, "read"))]
                    return {page.collection: page.records for page in pages}
                except Unfinished as unfinished:
                    if unfinished.outcome.state is not State.WAITING:
                        raise
                await asyncio.sleep(0.1)


def connected(two: Two, controller: Controller) -> Patient:
    system_id = SystemId(new_id())
    held = {"client_id": controller.client_id, "client_secret": controller.secret}
    sealed = two.caller.sealer.seal(json.dumps(held).encode(), f"system:{system_id}")
    configuration = {
        "url": f"{two.url}/opendsr/v2",
        "domain": DOMAIN,
        "controller_id": controller.client_id,
        "authorities": (two.home.settings.state_dir / AUTHORITY_FILE).read_text(),
        "identities": [
            {"type": "email", "identity_type": "email", "identity_format": "sha256"},
            {"type": "customer_number", "issuer": "ours", "identity_type": "controller_customer_id"},
        ],
        "auth": {"type": "client_credentials", "token_url": f"{two.url}/oauth/token", "scope": "opendsr"},
        "poll_s": 1,
    }
    return Patient(connect(System(system_id, "home", "opendsr", configuration, sealed), two.caller))


async def test_our_connector_and_our_provider_understand_each_other(two: Two, shop: Controller) -> None:
    await signature_of(two.home)
    there = connected(two, shop)
    (number, person), (_, bystander) = await two.person(), await two.person()
    others = await two.held(bystander)
    identifiers = (
        Identifier("email", person.email, verified=True),
        Identifier("customer_number", number, "ours", verified=True),
    )
    subject = Subject(RequestId(new_id()), CustomerId(new_id()), new_id(), identifiers, DYING)
    stranger = replace(subject, identifiers=(Identifier("email", "nobody@example.com", verified=True),))
    assert await there.connector.probe() == ()
    async with two.working():
        nothing = await there.step("check", replace(stranger, request_id=RequestId(new_id())))
        found = await there.read(subject)
        check, erase, verify = [await there.step(name, subject) for name in ("check", "erase", "verify")]
    assert (nothing.state, nothing.code) == (State.DONE, "NOTHING_FOUND")
    assert person.email in json.dumps(found)
    assert bystander.email not in json.dumps(found)
    assert {"profile", "emails", "orders"} <= set(found)
    assert (check.state, check.code) == (State.DONE, "FOUND")
    assert check.records["results"] >= sum(map(len, found.values()))
    assert (erase.state, erase.code) == (State.DONE, "ERASED")
    assert (verify.state, verify.code) == (State.DONE, "NOTHING_LEFT")
    assert set(await two.held(person)) <= {"sales_order", "sales_order_item"}
    assert await two.held(bystander) == others
    assert two.engine.letters(person) == []
    assert "request.completed" in await audited(two.home.db, person)


async def test_every_answer_about_a_request_is_signed(two: Two, shop: Controller) -> None:
    body = request_of("erasure", ("email", "nobody@example.com", "raw"))
    opened = await shop.post(body)
    assert opened.status_code == 201
    assert b64decode(opened.json()["encoded_request"]) == json.dumps(body).encode()
    assert opened.json()["controller_id"] == shop.client_id
    shown = await shop.call("GET", f"/requests/{body['subject_request_id']}")
    aliases = [f"/requests/{body['subject_request_id']}/status", f"/status/{body['subject_request_id']}"]
    assert [(await shop.call("GET", path)).content for path in aliases] == [shown.content] * 2
    assert shown.json()["request_status"] == "pending"
    cancelled = await shop.call("DELETE", f"/requests/{body['subject_request_id']}")
    assert cancelled.status_code == 202
    for found in (opened, shown, cancelled):
        assert found.headers["cache-control"] == "no-store"
        assert await signed(two, found)
        assert not [name for name in found.headers if name.startswith("x-opengdpr")]
        changed = httpx.Response(found.status_code, headers=found.headers, content=found.content + b" ")
        assert not await signed(two, changed)
    named = {**shown.headers, "x-opendsr-processor-domain": "x.example"}
    other = httpx.Response(200, headers=named, content=shown.content)
    assert not await signed(two, other)


async def test_the_older_names_are_answered_too(two: Two, shop: Controller) -> None:
    body = request_of("erasure", ("email", "nobody@example.com", "raw"), regulation=None, api_version="1.0")
    opened = await shop.post(body, "/opengdpr_requests")
    shown = await shop.call("GET", f"/opengdpr_requests/{body['subject_request_id']}")
    assert (opened.status_code, shown.status_code) == (201, 200)
    for found in (opened, shown):
        assert await signed(two, found)
        assert found.headers["x-opengdpr-signature"] == found.headers["x-opendsr-signature"]
        assert found.headers["x-opengdpr-processor-domain"] == DOMAIN
    refused = await shop.post({**body, "subject_request_id": str(uuid4())})
    assert (refused.status_code, reason_of(refused)) == (400, "REQUEST_UNREADABLE")


async def test_a_repetition_is_the_same_and_nothing_else_goes_by_its_id(two: Two, shop: Controller) -> None:
    body = request_of("erasure", ("email", "nobody@example.com", "raw"))
    first, second = await shop.post(body), await shop.post(body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    other = await shop.post({**body, "subject_request_type": "access"})
    assert (other.status_code, reason_of(other)) == (409, "SUBJECT_REQUEST_ID_USED")
    another = await two.controller()
    assert (await another.post(body)).status_code == 201, "ids are each controller's own"
    async with two.home.db.transaction(Role.WORKER) as tx:
        mine = select(asked_request.c.id).where(asked_request.c.subject_request_id == body["subject_request_id"])
        assert len(await tx.all(mine)) == 2


async def test_a_controller_sees_nothing_of_anothers(two: Two, shop: Controller) -> None:
    body = request_of("access", ("email", "nobody@example.com", "raw"))
    await shop.post(body)
    another, path = await two.controller(), f"/requests/{body['subject_request_id']}"
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/results"), ("GET", "/requests/x")):
        found = await another.call(method, where)
        assert (found.status_code, reason_of(found)) == (404, "REQUEST_UNKNOWN")
    assert (await shop.standing(body["subject_request_id"]))["request_status"] == "pending"


async def test_who_is_no_controller_is_not_answered(two: Two) -> None:
    body = json.dumps(request_of("erasure", ("email", "nobody@example.com", "raw")))
    async with two.home.db.transaction(Role.WORKER) as tx:
        given = {"redirect_uris": (), "confidential": True, "grant_types": ("client_credentials",)}
        scoped = await clients.add(tx, SYSTEM, "No controller", scopes=("opendsr",), **given)
        exporter = await clients.add(tx, SYSTEM, "An exporter", scopes=("bulk:export",), **given)
    plain = Controller(two.url, scoped.client.client_id, str(scoped.secret))
    found = await plain.call("POST", "/requests", content=body)
    assert (found.status_code, reason_of(found)) == (403, "NOT_A_CONTROLLER")
    async with httpx.AsyncClient(base_url=two.url) as client:
        auth = (exporter.client.client_id, str(exporter.secret))
        granted = await client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)
        tokens = {granted.json()["access_token"]: "INSUFFICIENT_SCOPE", two.token("x"): "TOKEN_INVALID", "": None}
        for token, reason in tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            found = await client.post("/opendsr/v2/requests", headers=headers, content=body)
            assert found.status_code in {401, 403}
            assert reason_of(found) == (reason or "UNAUTHENTICATED")


EVE = {"identity_type": "email", "identity_value": "eve@x.example", "identity_format": "raw"}
BAD: dict[str, dict[str, object]] = {
    "no regulation": {"regulation": None},
    "another regulation": {"regulation": "pdpa"},
    "no id": {"subject_request_id": None},
    "an id in capitals": {"subject_request_id": "A18F4E7A-1C2D-4000-8000-0123456789AB"},
    "an id of another version": {"subject_request_id": "018f4e7a-1c2d-7000-8000-0123456789ab"},
    "another type": {"subject_request_type": "rectification"},
    "no time": {"submitted_time": None},
    "a time without a zone": {"submitted_time": "2026-03-01T10:00:00"},
    "no identities": {"subject_identities": []},
    "an unknown format": {
        "subject_identities": [
            {"identity_type": "email", "identity_value": "eve@x.example", "identity_format": "rot13"}
        ]
    },
    "identities that are none": {"subject_identities": "eve@x.example"},
    "another version": {"api_version": "3.0"},
    "a callback elsewhere": {"status_callback_urls": ["https://evil.example/"]},
    "a callback at an end like ours": {"status_callback_urls": ["https://notshop.example/"]},
    "a callback with a password": {"status_callback_urls": ["https://u:p@shop.example/"]},
    "a callback that is none": {"status_callback_urls": ["shop.example"]},
    "callbacks without end": {"status_callback_urls": ["https://shop.example/"] * 11},
}


@pytest.mark.parametrize("name", sorted(BAD))
async def test_what_is_not_understood_is_refused_without_quoting_it(shop: Controller, name: str) -> None:
    found = await shop.post(request_of("erasure", ("email", "eve@x.example", "raw"), **BAD[name]))
    assert found.status_code == 400
    assert reason_of(found) in {"REQUEST_UNREADABLE", "CALLBACK_NOT_ALLOWED"}
    assert "eve" not in found.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"regulation": NaN}', b"[" * 5000])
async def test_garbage_is_refused(shop: Controller, body: bytes) -> None:
    found = await shop.call("POST", "/requests", content=body)
    assert (found.status_code, reason_of(found)) == (400, "REQUEST_UNREADABLE")


async def test_only_what_is_pending_can_be_taken_back(two: Two, shop: Controller) -> None:
    _, person = await two.person()
    body = request_of("erasure", by_email(person))
    path = f"/requests/{body['subject_request_id']}"
    await shop.post(body)
    assert [(await shop.call("DELETE", path)).status_code for _ in range(2)] == [202, 202]
    await two.engine.work()
    assert (await shop.standing(body["subject_request_id"]))["request_status"] == "cancelled"
    assert await two.held(person)
    done = request_of("erasure", ("email", "nobody@example.com", "raw"))
    await shop.post(done)
    await two.engine.work()
    late = await shop.call("DELETE", f"/requests/{done['subject_request_id']}")
    assert (late.status_code, reason_of(late)) == (409, "TOO_LATE_TO_CANCEL")


@pytest.mark.parametrize("form", wire.FORMATS)
async def test_people_are_found_raw_and_hashed_among_the_controllers_own(two: Two, form: str) -> None:
    number, person = await two.person()
    other = await _of_brand(two, "other")
    brand_id = await _brand(two, "main")

    def wanted(kind: str, value: str) -> Identity:
        hashed = value if form == "raw" else hashlib.new(form, value.encode()).hexdigest()
        return Identity(identity_type=kind, identity_value=hashed, identity_format=form)

    async def found(*identities: Identity, numbering: str = NUMBERING) -> tuple[object, str | None]:
        async with two.home.db.transaction(Role.WORKER) as tx:
            one = await search.search(tx, brand_id, numbering, identities)
        return one.customer_id, one.code

    assert await found(wanted("email", person.email)) == (person.customer_id, None)
    assert await found(wanted("controller_customer_id", number)) == (person.customer_id, None)
    both = wanted("email", person.email), wanted("controller_customer_id", number)
    assert await found(*both) == (person.customer_id, None)
    assert await found(wanted("controller_customer_id", number), numbering="theirs") == (None, None)
    assert await found(wanted("controller_customer_id", number), numbering="") == (None, None)
    assert await found(wanted("email", other.email)) == (None, None)
    assert await found(wanted("email", "nobody@example.com")) == (None, None)
    _, second = await two.person()
    several = await found(wanted("email", person.email), wanted("email", second.email))
    assert several == (None, "IDENTITIES_OF_SEVERAL_PEOPLE")


async def _brand(two: Two, code: str) -> Any:
    async with two.home.db.transaction(Role.WORKER) as tx:
        known = await tx.scalar(select(brand.c.id).where(brand.c.code == code))
        if known is None:
            known = new_id()
            await tx.execute(insert(brand).values(id=known, code=code, name=code))
    return known


async def _of_brand(two: Two, code: str) -> Person:
    """A customer of another brand."""

    person, brand_id = await make_person(two.home.db), await _brand(two, code)
    async with two.home.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(customer).where(customer.c.id == person.customer_id).values(brand_id=brand_id))
    return person


async def test_an_address_nobody_has_proven_leads_to_nobody_who_signs_in(two: Two) -> None:

    _, person = await two.person()
    raw = Identity(identity_type="email", identity_value=f" {person.email.upper()}", identity_format="raw")
    brand_id, at = await _brand(two, "main"), two.home.clock()
    async with two.home.db.transaction(Role.WORKER) as tx:
        assert (await search.search(tx, brand_id, "", (raw,))).customer_id == person.customer_id
        mine = email_address.c.customer_id == person.customer_id
        await tx.execute(update(email_address).where(mine).values(verified_at=None))
        assert (await search.search(tx, brand_id, "", (raw,))).customer_id == person.customer_id
        theirs = account.c.customer_id == person.customer_id
        await tx.execute(update(account).where(theirs).values(last_sign_in_at=at))
        assert (await search.search(tx, brand_id, "", (raw,))).customer_id is None


async def test_somebody_two_controllers_share_is_decided_by_people(two: Two, shop: Controller) -> None:
    _, person = await two.person()
    before = await two.held(person)
    elsewhere = {"point": CollectionPoint.IMPORT, "source": "other shop", "collected_at": two.home.clock()}
    async with two.home.db.transaction(Role.WORKER) as tx:
        known = await tx.first(select(collection).where(collection.c.customer_id == person.customer_id))
        await tx.execute(
            insert(collection).values(
                id=new_id(),
                customer_id=person.customer_id,
                brand_id=await _brand(two, "other"),
                policy_version_id=known.policy_version_id,
                **elsewhere,
            )
        )
    body = request_of("erasure", by_email(person))
    await shop.post(body)
    await two.engine.work()
    said = await shop.standing(body["subject_request_id"])
    assert said["request_status"] == "cancelled"
    assert said["extensions"] == {DOMAIN: {"outcome": "refused", "code": "SHARED_WITH_ANOTHER_CONTROLLER"}}
    assert {**await two.held(person), "collection": None} == {**before, "collection": None}


async def test_an_identity_nobody_is_found_by_is_unsupported(two: Two, shop: Controller) -> None:
    body = request_of("erasure", ("ios_advertising_id", "ab-cd", "raw"))
    await shop.post(body)
    await two.engine.work()
    said = await shop.standing(body["subject_request_id"])
    assert (said["request_status"], said["extensions"][DOMAIN]["outcome"]) == ("cancelled", "unsupported")


async def test_a_hold_is_told_and_the_end_of_it_is_done(two: Two, shop: Controller) -> None:
    _, person = await two.person()
    desk = await staffed(two.engine)
    hold = await desk.hold(person, Category.SUPPORT)
    first, second = (request_of("erasure", by_email(person)) for _ in range(2))
    await shop.post(first)
    await two.engine.work()
    held = await shop.standing(first["subject_request_id"])
    assert (held["request_status"], held["extensions"][DOMAIN]) == (
        "in_progress",
        {"outcome": "held", "code": "LEGAL_HOLD"},
    )
    await shop.post(second)
    access = request_of("access", by_email(person))
    await shop.post(access)
    await two.engine.work()
    assert (await shop.standing(second["subject_request_id"]))["request_status"] == "in_progress"
    assert (await shop.standing(access["subject_request_id"]))["request_status"] == "pending"
    await desk.release(hold)
    await two.engine.work()
    for body in (first, second):
        done = await shop.standing(body["subject_request_id"])
        assert (done["request_status"], done.get("extensions")) == ("completed", None)


async def test_a_refusal_is_never_completed(two: Two, shop: Controller) -> None:
    _, person = await two.person()
    body = request_of("erasure", by_email(person))
    opened = await two.engine.open_erasure(person)
    await shop.post(body)
    await two.engine.work()
    desk = await staffed(two.engine)
    async with two.home.db.transaction(Role.WORKER) as tx:
        request_id = (await two.engine.request(opened.reference)).id
        await cases.refuse(tx, desk.second, two.home, request_id, reason="Ada Family is owed money.")
    await two.engine.work()
    said = await shop.standing(body["subject_request_id"])
    assert (said["request_status"], said["extensions"][DOMAIN]["outcome"]) == ("cancelled", "refused")
    assert "Ada" not in json.dumps(said)
    assert await two.held(person)


async def test_results_are_the_controllers_alone_and_end(two: Two, shop: Controller) -> None:
    _, person = await two.person()
    body = request_of("portability", by_email(person))
    path = f"/requests/{body['subject_request_id']}"
    await shop.post(body)
    early = await shop.call("GET", f"{path}/results")
    assert (early.status_code, reason_of(early)) == (404, "REQUEST_UNKNOWN")
    await two.engine.work()
    said = await shop.standing(body["subject_request_id"])
    assert said["results_url"].startswith(two.url)
    found = await shop.call("GET", f"{path}/results")
    assert sum(map(len, found.json().values())) == said["results_count"] > 5
    assert person.email in found.text
    assert await signed(two, found)
    another = await two.controller()
    assert (await another.call("GET", f"{path}/results")).status_code == 404
    async with two.home.db.transaction(Role.WORKER) as tx:
        mine = asked_request.c.subject_request_id == body["subject_request_id"]
        row = await tx.first(select(asked_request).where(mine))
    assert row.identities_sealed is None
    assert person.email not in repr(row)
    assert two.engine.letters(person) == []


@dataclass
class Receiver:
    """Where a controller takes callbacks, as the specification tells it to."""

    status: int = 202
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    async def respond(self, call: Call) -> Raw:
        self.calls.append(call)
        return answer(self.status, b"")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    with serving(one.respond) as base:
        one.url = f"{base}/status"
        yield one


async def test_every_change_is_told_and_proven(two: Two, receiver: Receiver) -> None:
    controller = await two.controller("127.0.0.1")
    _, person = await two.person()
    body = request_of("erasure", by_email(person), status_callback_urls=[receiver.url])
    await controller.post(body)
    receiver.status = 500
    await two.engine.work()
    assert len(receiver.calls) > 2, "it is told again until it listens, or for a while"
    receiver.calls.clear()
    receiver.status = 202
    second = request_of("erasure", ("email", "nobody@example.com", "raw"), status_callback_urls=[receiver.url] * 2)
    await controller.post(second)
    await two.engine.work()
    (call,) = [one for one in receiver.calls if one.json["subject_request_id"] == second["subject_request_id"]]
    assert call.json["request_status"] == "completed"
    assert call.json["status_callback_url"] == receiver.url
    assert call.json["controller_id"] == controller.client_id
    assert "expected_completion_time" in call.json
    told = httpx.Response(200, headers=call.headers, content=call.body)
    assert await signed(two, told)
    forged = httpx.Response(200, headers=call.headers, content=call.body.replace(b"completed", b"cancelled"))
    assert not await signed(two, forged)
    assert call.headers["x-opengdpr-signature"] == call.headers["x-opendsr-signature"]


async def test_a_change_is_told_in_order_and_given_up_in_the_end(two: Two, receiver: Receiver) -> None:
    controller = await two.controller("127.0.0.1")
    _, person = await two.person()
    body = request_of("erasure", by_email(person), status_callback_urls=[receiver.url])
    await controller.post(body)
    await two.engine.work()
    assert [one.json["request_status"] for one in receiver.calls] == ["in_progress", "completed"]
    gone = request_of("erasure", ("email", "nobody@example.com", "raw"), status_callback_urls=["http://127.0.0.1:1/"])
    await controller.post(gone)
    await two.engine.work()
    assert (await controller.standing(gone["subject_request_id"]))["request_status"] == "completed"
    async with two.home.db.transaction(Role.WORKER) as tx:
        rows = await tx.all(select(status_call.c.status, status_call.c.code, status_call.c.attempt, status_call.c.url))
    assert {(row.status, row.code) for row in rows if row.url.endswith(":1/")} == {("failed", "CALL_FAILED")}


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://shop.example/x", True),
        ("https://api.shop.example/x?y=1", True),
        ("https://SHOP.example:8443/", True),
        ("http://shop.example/", False),
        ("https://shop.example.evil.example/", False),
        ("https://evilshop.example/", False),
        ("https://shop.example@evil.example/", False),
        ("https://shop.example/#x", False),
        ("https://[::1/", False),
        ("https:///x", False),
        ("https://shop.example/\n", False),
        ("file:///etc/passwd", False),
    ],
)
def test_callbacks_go_where_it_was_agreed(url: str, is_allowed: bool) -> None:
    def check() -> None:
        require_callbacks((url,), ("shop.example",), schemes=frozenset({"https"}))

    if is_allowed:
        check()
    else:
        with pytest.raises(CallbackNotAllowed):
            check()


async def test_a_certificate_has_to_fit(two: Two) -> None:
    mine = await signature_of(two.home)
    key = mine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert fitting(mine.chain, key, DOMAIN).domain == DOMAIN
    small = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    authority = (two.home.settings.state_dir / AUTHORITY_FILE).read_bytes()
    unfit = [(mine.chain, small), (authority, key), (b"", key), (mine.chain, b""), (mine.chain, mine.chain)]
    for chain, private, domain in [(mine.chain, key, "other.example"), *((*one, DOMAIN) for one in unfit)]:
        with pytest.raises(CertificateUnfit):
            fitting(chain, private, domain)
    subject = x509.load_pem_x509_certificate(authority).subject.rfc4514_string()
    assert "development" in subject


async def test_without_a_certificate_nothing_is_served(two: Two, tmp_path: Any) -> None:
    half = {"opendsr_certificate_file": tmp_path / "none.pem"}
    async with listening(two.home.settings.model_copy(update=half)) as (url, _), httpx.AsyncClient() as client:
        found = await client.get(f"{url}/opendsr/v2/discovery")
    assert (found.status_code, reason_of(found)) == (503, "OPENDSR_NOT_SERVED")


async def test_controllers_are_made_of_programs_and_brands_that_are_there(two: Two, shop: Controller) -> None:
    given: dict[str, Any] = {"brand_code": "main", "numbering": "", "callback_domains": ()}
    wrong: list[tuple[str, dict[str, Any], type[Exception]]] = [
        ("nobody", {}, UnknownClientOrBrand),
        (shop.client_id, {"brand_code": "none"}, UnknownClientOrBrand),
        (shop.client_id, {"callback_domains": ("https://x",)}, DomainInvalid),
        (shop.client_id, {}, ControllerExists),
    ]
    for client_id, changes, error in wrong:
        with pytest.raises(error):
            async with two.home.db.transaction(Role.WORKER) as tx:
                await controllers.add(tx, SYSTEM, client_id, **{**given, **changes})
