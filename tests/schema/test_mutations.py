"""Mutations, all of them: what the schema lists is run here, refused without its scope, and never reaches a bystander.

``MUTATIONS`` has an entry for every mutation of the schema; a new one fails until it is added.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLInputObjectType, get_named_type
from sqlalchemy import select, update

from cdp.access.viewer import Viewer
from cdp.core.db import Database, Role
from cdp.core.ids import global_id, new_id
from cdp.schema.execution import Execution
from cdp.tables.audit import audit_event
from cdp.tables.customer import CustomerStatus, customer
from tests.population import Person, audited, make_person, picture
from tests.schema.conftest import Ask
from tests.schema.test_casework import CASEWORK
from tests.schema.test_reveals import REVEALS

# Of staff alone, and run where their subject is: tests/bulk/test_doors.py, tests/holds/test_holds.py, tests/people.
BULK = frozenset({"bulkExportRunQuery", "bulkExportCancel", "bulkExportApprove", "bulkExportRefuse"})
HOLDS = frozenset({"placeHold", "approveHold", "refuseHold", "releaseHold"})
MERGES = frozenset({"mergeCustomers", "unmergeCustomers"})
BY_HAND = frozenset(
    {
        "completeManualTask",
        "confirmManualTask",
        "sendBackManualTask",
        "registerPaperRecord",
        "reportDestruction",
        "witnessDestruction",
    }
)
PARTNERS = frozenset(
    {
        *("addPartner", "proposePartnerGrant", "approvePartnerGrant", "refusePartnerGrant", "revokePartnerGrant"),
        *("acknowledgeRecall", "proposePartnerOffer", "approvePartnerOffer", "refusePartnerOffer"),
        *("proposeLegalOrder", "approveLegalOrder", "refuseLegalOrder", "discloseUnderOrder"),
    }
)
# Of customers, and run in tests/partners/test_links.py.
LINKS = frozenset({"shareProfile", "revokeSharedLink"})
TRANSFERS = frozenset(
    {
        *("createTransfer", "classifyTransfer", "notifyTransfer", "freezeTransfer", "thawTransfer", "cancelTransfer"),
        *("confirmTransferKey", "approveTransfer", "recordTransferObjection", "previewTransfer"),
        *("offerTransferAgain", "retryTransferParts", "recallTransfer"),
    }
)
# Of customers too, and run in tests/transfers/test_api.py.
OBJECTIONS = frozenset({"objectToTransfer"})
OF_STAFF: dict[str, dict[str, Any]] = {
    "addPartner": {"code": "acme", "name": "Acme", "contact": "privacy@acme.example"},
    "proposePartnerGrant": {
        "partnerId": global_id("Partner", new_id()),
        "function": "PROMOTIONS",
        "purposes": ["promotions"],
        "fields": ["Customer.givenName"],
        "legalBasis": "CONSENT",
        "retentionDays": 30,
        "contractReference": "C-1",
        "validFrom": "2026-01-01T00:00:00Z",
        "validUntil": "2036-01-01T00:00:00Z",
    },
    "approvePartnerGrant": {"grantId": global_id("PartnerGrant", new_id())},
    "refusePartnerGrant": {"grantId": global_id("PartnerGrant", new_id()), "reason": "No."},
    "revokePartnerGrant": {"grantId": global_id("PartnerGrant", new_id()), "reason": "Over."},
    "acknowledgeRecall": {"recallId": global_id("PartnerRecall", new_id())},
    "proposePartnerOffer": {"subject": "Offer", "body": "Ten percent."},
    "approvePartnerOffer": {"offerId": global_id("PartnerOffer", new_id())},
    "refusePartnerOffer": {"offerId": global_id("PartnerOffer", new_id())},
    "proposeLegalOrder": {
        "customerId": global_id("Customer", new_id()),
        "authority": "A court",
        "caseRef": "1",
        "law": "A law",
        "fields": ["Customer.givenName"],
        "document": {"name": "o.pdf", "mediaType": "application/pdf", "content": "JVBERg=="},
    },
    "approveLegalOrder": {"orderId": global_id("LegalOrder", new_id())},
    "refuseLegalOrder": {"orderId": global_id("LegalOrder", new_id()), "reason": "No."},
    "discloseUnderOrder": {"orderId": global_id("LegalOrder", new_id())},
    "completeManualTask": {"taskId": global_id("ManualTask", new_id()), "outcome": "DONE"},
    "confirmManualTask": {"taskId": global_id("ManualTask", new_id())},
    "sendBackManualTask": {"taskId": global_id("ManualTask", new_id()), "note": "Look again."},
    "reportDestruction": {"paperRecordId": global_id("PaperRecord", new_id()), "method": "Shredded"},
    "witnessDestruction": {"paperRecordId": global_id("PaperRecord", new_id())},
    "registerPaperRecord": {
        "customerId": global_id("Customer", new_id()),
        "category": "ORDER",
        "office": "Berlin",
        "location": "Shelf 3",
        "description": "A signed order",
        "retainUntil": "2030-01-01",
    },
    "bulkExportRunQuery": {"query": "{ customers { nodes { id } } }", "purpose": "orders"},
    **{name: {"id": global_id("BulkExport", new_id())} for name in sorted(BULK - {"bulkExportRunQuery"})},
    "createTransfer": {"terms": {}},
    **{
        name: {"transferId": global_id("Transfer", new_id()), **more}
        for name, more in (
            ("classifyTransfer", {}),
            ("notifyTransfer", {}),
            ("freezeTransfer", {}),
            ("thawTransfer", {}),
            ("cancelTransfer", {"reason": "No."}),
            ("offerTransferAgain", {}),
            ("retryTransferParts", {}),
            ("recallTransfer", {"reason": "No."}),
            ("previewTransfer", {}),
            ("confirmTransferKey", {"fingerprint": "00"}),
            ("approveTransfer", {"sha256": "00"}),
            ("recordTransferObjection", {"customerId": global_id("Customer", new_id())}),
        )
    },
    "placeHold": {"customerId": global_id("Customer", new_id()), "category": "ORDER", "reason": "A dispute."},
    "approveHold": {"holdId": global_id("LegalHold", new_id())},
    "refuseHold": {"holdId": global_id("LegalHold", new_id()), "reason": "None."},
    "releaseHold": {"holdId": global_id("LegalHold", new_id()), "reason": "Over."},
    "mergeCustomers": {
        "keepId": global_id("Customer", new_id()),
        "dropId": global_id("Customer", new_id()),
        "reason": "Ada wrote twice.",
    },
    "unmergeCustomers": {"mergeId": global_id("CustomerMerge", new_id()), "reason": "They are two."},
}
Inputs = Callable[[Person], dict[str, Any]]


@dataclass(frozen=True)
class Mutation:
    """How one mutation is asked: its input for a person, what of the payload is read, what the audit log then says."""

    given: Inputs
    reads: str
    audited: str
    asks_for: str | None = None
    works_when_frozen: bool = False


def _phone(person: Person) -> str:
    return global_id("PhoneNumber", person.phone_id)


def _nothing(_: Person) -> dict[str, Any]:
    return {}


MUTATIONS = {
    "updateAccount": Mutation(
        lambda _: {"givenName": "Eve"}, "customer { givenName displayName version }", "customer.updated"
    ),
    "setPreferences": Mutation(
        lambda _: {"preferences": [{"key": "theme", "value": {"dark": [1, None]}}]},
        "customer { preferences { key value version } }",
        "preference.set",
    ),
    "addContact": Mutation(
        lambda _: {"contact": {"email": {"address": "Second@example.com"}}},
        "contact { __typename ... on EmailAddress { address isVerified isPrimary } }",
        "contact.added",
    ),
    "updateContact": Mutation(
        lambda person: {"id": _phone(person), "contact": {"phone": {"number": "+49 30 901820"}}},
        "contact { ... on PhoneNumber { e164 version verifiedAt } } customer { contacts { phones { e164 } } }",
        "contact.updated",
    ),
    "removeContact": Mutation(
        lambda person: {"id": _phone(person)},
        "removedId customer { contacts { phones { id } } }",
        "contact.removed",
    ),
    "setPrimaryContact": Mutation(
        lambda person: {"id": _phone(person)}, "contact { ... on PhoneNumber { isPrimary } }", ""
    ),
    "giveConsent": Mutation(
        lambda _: {"purpose": "information", "channel": "EMAIL", "wording": "Yes, write to me."},
        "consent { purposeCode channel action wording }",
        "consent.given",
    ),
    "withdrawConsent": Mutation(
        lambda _: {"purpose": "promotions", "channel": "EMAIL"},
        "consent { purposeCode channel action }",
        "consent.withdrawn",
    ),
    "submitInquiry": Mutation(
        lambda _: {"kind": "SERVICE", "subject": "Repair", "body": "It squeaks."},
        "inquiry { kind status subject }",
        "inquiry.submitted",
    ),
    "submitSurvey": Mutation(
        lambda _: {"survey": "spring", "answers": [{"question": "how", "answer": "well"}]},
        "surveyResponse { survey answers }",
        "survey.submitted",
    ),
    "correctRecord": Mutation(
        lambda person: {
            "correction": {
                "objectId": global_id("PostalAddress", person.address_id),
                "field": "city",
                "oldValue": "Berlin",
                "newValue": "Bremen",
            }
        },
        "request { type status corrections { objectType field oldValue newValue } } statusKey",
        "request.opened",
    ),
    "restrictProcessing": Mutation(
        _nothing, "request { type status } statusKey", "customer.restricted", works_when_frozen=True
    ),
    "objectToProcessing": Mutation(
        lambda _: {"purposes": ["promotions", "questions"]},
        "request { type status objections { purposeCode status } } statusKey",
        "marketing.stopped",
    ),
    "requestExport": Mutation(_nothing, "request { type status } statusKey", "request.opened"),
    "previewErasure": Mutation(
        _nothing,
        "systems { name title state code willErase willKeep erased { collection records } cut { collection records }"
        " retained { collection records basis until } }",
        "",
        works_when_frozen=True,
    ),
    "requestErasure": Mutation(
        lambda _: {"confirmation": "DELETE", "reason": "Because."},
        "request { type status reason customer { status } } statusKey",
        "request.opened",
        works_when_frozen=True,
    ),
    "cancelRequest": Mutation(
        _nothing, "request { status }", "request.cancelled", asks_for="requestErasure", works_when_frozen=True
    ),
    "revokeExport": Mutation(
        _nothing, "export { status }", "export.revoked", asks_for="requestExport", works_when_frozen=True
    ),
}


def document(name: str, reads: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"mutation M($input: {kind}Input!) {{ {name}(input: $input) {{ clientMutationId {reads} }} }}"


def fresh(person: Person, *scopes: str) -> Viewer:
    return person.viewer(*scopes, authenticated_at=datetime.now(UTC))


@pytest.fixture
async def person(db: Database) -> Person:
    return await make_person(db)


@pytest.fixture
async def bystander(db: Database) -> AsyncIterator[Person]:
    """Somebody else: whatever the test does, nothing about them changes."""
    somebody = await make_person(db, given_name="Grace")
    before = await picture(db, somebody)
    yield somebody
    assert await picture(db, somebody) == before


async def input_of(ask: Ask, name: str, person: Person) -> dict[str, Any]:
    """The input of a mutation for a person, after the request it is about was opened."""
    mutation = MUTATIONS[name]
    given = {"clientMutationId": name, **mutation.given(person)}
    if mutation.asks_for is not None:
        opened = MUTATIONS[mutation.asks_for]
        reads = "request { id export { id } }"
        answer = await ask(fresh(person), document(mutation.asks_for, reads), input=opened.given(person))
        request = answer["data"][mutation.asks_for]["request"]
        given["id"] = request["export"]["id"] if name == "revokeExport" else request["id"]
    return given


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def freeze(db: Database, person: Person) -> None:
    async with db.transaction(Role.WORKER) as tx:
        mine = customer.c.id == person.customer_id
        await tx.execute(update(customer).where(mine).values(status=CustomerStatus.FROZEN))


def test_every_mutation_of_the_schema_is_here(execution: Execution):
    here = set(MUTATIONS) | set(CASEWORK) | REVEALS | set(OF_STAFF) | LINKS | OBJECTIONS
    assert here == set(execution.reader.graph.schema.mutation_type.fields)
    assert set(OF_STAFF) == BULK | HOLDS | MERGES | BY_HAND | PARTNERS | TRANSFERS


@pytest.mark.parametrize("name", sorted(OF_STAFF))
async def test_what_staff_do_is_refused_to_customers_and_recorded(
    db: Database, ask: Ask, person: Person, bystander: Person, name: str
):
    before = await picture(db, person)
    answer = await ask(fresh(person), document(name, ""), input=OF_STAFF[name])
    assert (codes(answer), answer["data"]) == (["INSUFFICIENT_SCOPE"], {name: None})
    after = await picture(db, person)
    assert after.pop("audit_event")[:-1] == before.pop("audit_event")
    assert after == before


@pytest.mark.parametrize("name", MUTATIONS)
async def test_it_answers_with_what_it_changed(db: Database, ask: Ask, person: Person, bystander: Person, name: str):
    mutation = MUTATIONS[name]
    given = await input_of(ask, name, person)
    answer = await ask(fresh(person), document(name, mutation.reads), input=given)
    assert "errors" not in answer, answer
    payload = answer["data"][name]
    assert payload.pop("clientMutationId") == name
    assert all(value is not None for value in payload.values()), payload
    if mutation.audited:
        assert mutation.audited in await audited(db, person)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_without_its_scope_it_is_refused_and_recorded(
    db: Database, ask: Ask, person: Person, bystander: Person, name: str
):
    given = await input_of(ask, name, person)
    before = await picture(db, person)
    answer = await ask(fresh(person, "openid"), document(name, MUTATIONS[name].reads), input=given)
    assert (codes(answer), answer["data"]) == (["INSUFFICIENT_SCOPE"], {name: None})
    after = await picture(db, person)
    assert after.pop("audit_event")[:-1] == before.pop("audit_event")
    assert after == before
    async with db.transaction(Role.WORKER) as tx:
        log = audit_event.c
        newest = select(log.outcome, log.code).where(log.subject_ref == person.audit_ref)
        assert tuple(await tx.first(newest.order_by(log.id.desc()))) == ("refused", "INSUFFICIENT_SCOPE")


@pytest.mark.parametrize("name", [name for name, one in MUTATIONS.items() if not one.works_when_frozen])
async def test_while_a_deletion_cools_off_nothing_changes(db: Database, ask: Ask, person: Person, name: str):
    await freeze(db, person)
    before = await picture(db, person)
    answer = await ask(fresh(person), document(name, MUTATIONS[name].reads), input=MUTATIONS[name].given(person))
    assert codes(answer) == ["CUSTOMER_FROZEN"]
    assert await picture(db, person) == before


def mutations_by_id(execution: Execution) -> list[str]:
    """Mutations of customers whose input names something by id, read from the schema."""
    found = []
    for name, field in execution.reader.graph.schema.mutation_type.fields.items():
        given = get_named_type(field.args["input"].type)
        assert isinstance(given, GraphQLInputObjectType)
        if "id" in given.fields and name not in OF_STAFF:
            found.append(name)
    return found


async def test_ids_of_somebody_else_are_not_found(execution: Execution, ask: Ask, person: Person, bystander: Person):
    ids = {
        "updateContact": [global_id("PhoneNumber", bystander.phone_id)],
        "removeContact": [
            global_id("EmailAddress", bystander.email_id),
            global_id("PhoneNumber", bystander.phone_id),
            global_id("PostalAddress", bystander.address_id),
        ],
        "setPrimaryContact": [global_id("EmailAddress", bystander.email_id)],
        "cancelRequest": [],
        "revokeExport": [],
    }
    assert set(ids) == set(mutations_by_id(execution))
    for name, foreign in ids.items():
        kind = {"cancelRequest": "PrivacyRequest", "revokeExport": "Export"}.get(name, "PhoneNumber")
        for value in [*foreign, global_id(kind, new_id())]:
            given = {**MUTATIONS[name].given(person), "id": value}
            answer = await ask(fresh(person), document(name, MUTATIONS[name].reads), input=given)
            assert (name, codes(answer), answer["data"]) == (name, ["NOT_FOUND"], {name: None})


async def test_requests_and_packages_of_somebody_else_are_not_found(db: Database, ask: Ask, person: Person):
    for name in ("cancelRequest", "revokeExport"):
        other = await make_person(db)
        given = await input_of(ask, name, other)
        before = await picture(db, other)
        answer = await ask(fresh(person), document(name, MUTATIONS[name].reads), input=given)
        assert codes(answer) == ["NOT_FOUND"]
        assert await picture(db, other) == before


@pytest.mark.parametrize("value", ["", "x", "Q3VzdG9tZXI6", global_id("Customer", UUID(int=7)), "\n"])
async def test_ids_of_the_wrong_kind_are_refused(execution: Execution, ask: Ask, person: Person, value: str):
    for name in mutations_by_id(execution):
        given = {**MUTATIONS[name].given(person), "id": value}
        answer = await ask(fresh(person), document(name, MUTATIONS[name].reads), input=given)
        assert (name, codes(answer)) == (name, ["INVALID_ID"])


async def test_the_payload_is_what_a_query_would_read(ask: Ask, person: Person):
    reads = """
      id displayName version contacts { emails { address isPrimary collection { point source } } }
      orders(first: 1) { totalCount nodes { number total placedAt items { title unitPrice } } }
    """
    viewer = fresh(person)
    changed = await ask(
        viewer, f'mutation {{ updateAccount(input: {{familyName: "O\'Neill"}}) {{ customer {{ {reads} }} }} }}'
    )
    read = await ask(viewer, f"{{ viewer {{ customer {{ {reads} }} }} }}")
    assert changed["data"]["updateAccount"]["customer"] == read["data"]["viewer"]["customer"]


async def test_aliases_fragments_variables_and_directives_reach_the_payload(ask: Ask, person: Person):
    answer = await ask(
        fresh(person),
        """
        mutation M($name: String!, $more: Boolean!, $first: Int) {
          one: updateAccount(input: {givenName: $name}) { ...Who customer { given: givenName } }
        }
        fragment Who on UpdateAccountPayload {
          customer { version @include(if: $more) familyName @skip(if: $more) ...Orders }
        }
        fragment Orders on Customer { orders(first: $first) { nodes { number } } }
        """,
        name="Ida",
        more=True,
        first=1,
    )
    payload = answer["data"]["one"]["customer"]
    assert list(payload) == ["version", "orders", "given"]
    assert (payload["version"], payload["given"], len(payload["orders"]["nodes"])) == (2, "Ida", 1)


async def test_mutations_run_in_order_and_each_payload_shows_its_own_moment(ask: Ask, person: Person):
    answer = await ask(
        fresh(person),
        """mutation {
          a: updateAccount(input: {givenName: "A"}) { customer { givenName version } }
          b: updateAccount(input: {country: "XX"}) { customer { version } }
          c: updateAccount(input: {givenName: "C"}) { customer { givenName version } }
        }""",
    )
    assert answer["data"] == {
        "a": {"customer": {"givenName": "A", "version": 2}},
        "b": None,
        "c": {"customer": {"givenName": "C", "version": 3}},
    }
    [error] = answer["errors"]
    assert (error["path"], error["extensions"]) == (["b"], {"code": "INVALID_COUNTRY", "field": "country"})


async def test_a_stale_version_is_a_conflict_that_names_the_current_one(ask: Ask, person: Person):
    name = 'mutation($v: Int!) { updateAccount(input: {givenName: "B", expectedVersion: $v}) { customer { version } } }'
    assert "errors" not in await ask(fresh(person), name, v=1)
    answer = await ask(fresh(person), name, v=1)
    assert answer["errors"][0]["extensions"] == {"code": "STALE_VERSION", "currentVersion": 2}


async def test_an_email_change_needs_a_fresh_sign_in(ask: Ask, db: Database, person: Person):
    stale = replace(fresh(person), authenticated_at=datetime(2026, 1, 1, tzinfo=UTC))
    answer = await ask(
        stale,
        document("removeContact", "removedId"),
        input={"id": global_id("EmailAddress", person.email_id)},
    )
    assert answer["errors"][0]["extensions"] == {
        "code": "STEP_UP_REQUIRED",
        "max_age": 600,
        "acr_values": "urn:cdp:acr:multi-factor urn:cdp:acr:single-factor",
    }
    for name in ("requestExport", "requestErasure"):
        answer = await ask(stale, document(name, "statusKey"), input=MUTATIONS[name].given(person))
        assert codes(answer) == ["STEP_UP_REQUIRED"]


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("updateAccount", {}, "NOTHING_TO_CHANGE"),
        ("updateAccount", {"givenName": "x" * 101}, "INVALID_TEXT"),
        ("updateAccount", {"givenName": 1}, "BAD_USER_INPUT"),
        ("updateAccount", {"nickname": "x"}, "BAD_USER_INPUT"),
        ("updateAccount", {"givenName": "x", "expectedVersion": 2**31}, "BAD_USER_INPUT"),
        ("addContact", {"contact": {}}, "BAD_USER_INPUT"),
        ("addContact", {"contact": {"email": None}}, "BAD_USER_INPUT"),
        (
            "addContact",
            {"contact": {"email": {"address": "a@example.com"}, "phone": {"number": "1"}}},
            "BAD_USER_INPUT",
        ),
        ("addContact", {"contact": {"phone": {"number": "12"}}}, "INVALID_PHONE"),
        ("addContact", {"contact": {"email": {"address": "a@b"}}}, "INVALID_EMAIL"),
        ("setPreferences", {"preferences": []}, "INVALID_PREFERENCE"),
        ("setPreferences", {"preferences": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}, "INVALID_PREFERENCE"),
        ("setPreferences", {"preferences": [{"key": "a", "value": "x" * 9999}]}, "INVALID_PREFERENCE"),
        ("giveConsent", {"purpose": "none", "wording": "Yes."}, "UNKNOWN_PURPOSE"),
        ("giveConsent", {"purpose": "orders", "wording": "Yes."}, "CONSENT_NOT_ASKED"),
        ("giveConsent", {"purpose": "promotions", "channel": "PIGEON", "wording": "Yes."}, "BAD_USER_INPUT"),
        ("submitSurvey", {"survey": "s", "answers": []}, "INVALID_ANSWERS"),
        ("requestErasure", {"confirmation": "yes"}, "CONFIRMATION_MISSING"),
        ("requestErasure", {"confirmation": "DELETE", "reason": "x" * 2001}, "INVALID_TEXT"),
        ("requestErasure", {}, "BAD_USER_INPUT"),
        ("requestErasure", None, "BAD_USER_INPUT"),
    ],
)
async def test_bad_input_changes_nothing(
    db: Database, ask: Ask, person: Person, name: str, given: dict[str, Any] | None, code: str
):
    before = await picture(db, person)
    answer = await ask(fresh(person), document(name, ""), input=given)
    assert codes(answer) == [code]
    assert await picture(db, person) == before


async def test_an_erasure_can_be_undone_once_and_freezes_meanwhile(ask: Ask, person: Person, bystander: Person):
    viewer = fresh(person)
    opened = await ask(viewer, document("requestErasure", "request { id } statusKey"), input={"confirmation": "delete"})
    request = opened["data"]["requestErasure"]["request"]["id"]
    again = await ask(viewer, document("requestErasure", "request { id } statusKey"), input={"confirmation": "DELETE"})
    assert again["data"]["requestErasure"] == {
        "clientMutationId": None,
        "request": {"id": request},
        "statusKey": None,
    }
    assert codes(await ask(viewer, document("updateAccount", ""), input={"givenName": "E"})) == ["CUSTOMER_FROZEN"]
    undone = await ask(viewer, document("cancelRequest", "request { status isSettled }"), input={"id": request})
    assert undone["data"]["cancelRequest"]["request"] == {"status": "CANCELLED", "isSettled": True}
    assert "errors" not in await ask(viewer, document("updateAccount", ""), input={"givenName": "E"})
    assert codes(await ask(viewer, document("cancelRequest", ""), input={"id": request})) == ["TOO_LATE_TO_UNDO"]


async def test_who_asks_for_a_second_export_joins_the_first(ask: Ask, person: Person):
    reads = "request { reference } statusKey"
    first, second = [
        (await ask(fresh(person), document("requestExport", reads), input={}))["data"]["requestExport"]
        for _ in range(2)
    ]
    assert first["request"] == second["request"]
    assert (first["statusKey"] is None, second["statusKey"]) == (False, None)


async def test_a_lock_held_by_somebody_else_is_busy_and_not_an_accident(db: Database, ask: Ask, person: Person):
    async with db.transaction(Role.WORKER) as tx:
        await tx.execute(select(customer.c.id).where(customer.c.id == person.customer_id).with_for_update())
        answer = await ask(fresh(person), document("updateAccount", ""), input={"givenName": "E"})
    assert codes(answer) == ["BUSY"]


async def test_mutations_of_one_customer_do_not_lose_each_other(ask: Ask, person: Person):
    keys = [f"key{number}" for number in range(8)]
    await asyncio.gather(
        *(
            ask(
                fresh(person),
                document("setPreferences", ""),
                input={"preferences": [{"key": key, "value": json.dumps(key)}]},
            )
            for key in keys
        )
    )
    read = await ask(fresh(person), "{ viewer { customer { preferences { key } } } }")
    assert {one["key"] for one in read["data"]["viewer"]["customer"]["preferences"]} >= set(keys)


async def test_writing_is_not_a_way_to_read(ask: Ask, db: Database, person: Person):
    answer = await ask(
        fresh(person, "profile:write"),
        document("updateAccount", "customer { givenName contacts { emails { address } } }"),
        input={"givenName": "Quiet", "clientMutationId": "m"},
    )
    assert person.email not in json.dumps(answer)
    assert answer["data"]["updateAccount"]["clientMutationId"] == "m"
    assert set(codes(answer)) == {"INSUFFICIENT_SCOPE"}
    assert all(error["path"][:2] == ["updateAccount", "customer"] for error in answer["errors"])
    assert await audited(db, person) == ["customer.updated"]


async def test_a_document_holds_ten_mutations_and_an_eleventh_stops_them_all(db: Database, ask: Ask, person: Person):
    def several(count: int) -> str:
        one = 'updateAccount(input: {givenName: "N"}) { customer { version } }'
        return "mutation { " + " ".join(f"m{number}: {one}" for number in range(count)) + " }"

    answer = await ask(fresh(person), several(10))
    assert [payload["customer"]["version"] for payload in answer["data"].values()] == list(range(2, 12))
    before = await picture(db, person)
    answer = await ask(fresh(person), several(11))
    assert (codes(answer), "data" in answer) == (["DOCUMENT_TOO_COMPLEX"], False)
    assert await picture(db, person) == before


async def test_the_same_payload_is_compiled_once(ask: Ask, execution: Execution, person: Person):
    doubled = """mutation { updateAccount(input: {givenName: "N"}) {
      customer { givenName } customer { version contacts { emails { id } } } } }"""
    answer = await ask(fresh(person), doubled)
    assert list(answer["data"]["updateAccount"]["customer"]) == ["givenName", "version", "contacts"]
    plans = len(execution.reader._plans)
    for _ in range(3):
        await ask(fresh(person), doubled)
    assert len(execution.reader._plans) == plans
