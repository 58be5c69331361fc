"""A fresh sign-in on every path (RFC 9470): pages and GraphQL mutations are walked, none is left out by forgetting it.

The command line speaks to GraphQL with the same tokens; its own verbs are for operators, who act as the platform.
"""

import re
from datetime import datetime, timedelta

import httpx
import pytest
from graphql import build_schema
from sqlalchemy import select, update

from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.strength import PASSWORD_AND_CODE, Strength
from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import CustomerId, global_id, new_id
from cdp.operations.accounts.sessions import find
from cdp.operations.oauth import clients
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from cdp.schema.schema import sdl
from cdp.tables.account import account, session
from cdp.tables.contact import email_address
from cdp.tables.staff import staff
from cdp.web.console.case import DECISIONS
from cdp.web.guard import Allow
from cdp.web.routes import PAGES
from tests.browser import forms, visitor
from tests.transfers.office import TERMS

MUTATIONS = build_schema(sdl()).mutation_type.fields
# What a sign-in of hours ago may still do, and why. Everything else must be in FRESH: a new mutation fails here first.
FREE = {
    "updateAccount": "names and language can be put right again",
    "setPreferences": "can be put right again",
    "giveConsent": "recorded, and withdrawn as easily",
    "withdrawConsent": "must be as easy as giving it (GDPR art. 7(3))",
    "submitInquiry": "a question",
    "submitSurvey": "an answer",
    "previewErasure": "reads counts",
    "cancelRequest": "undoing must be easy",
    "revokeExport": "removes a copy, opens nothing",
    "correctRecord": "a request that is looked at by a person",
    "restrictProcessing": "protects the person",
    "objectToProcessing": "protects the person",
    "addEvidence": "staff; adds to a case",
    "extendRequest": "staff; audited, with a letter to the person",
    "pauseRequest": "staff; audited",
    "resumeRequest": "staff; audited",
    "retryRequest": "staff; audited",
    "assignRequest": "staff; audited",
    "bulkExportCancel": "stops something",
    "completeManualTask": "staff; a second person confirms",
    "sendBackManualTask": "staff; nothing counts as done by it",
    "registerPaperRecord": "staff; audited",
    "reportDestruction": "staff; a witness confirms",
    "objectToTransfer": "protects the person",
    "recordTransferObjection": "staff; protects the person",
    "previewTransfer": "staff; masked, and recorded",
    "revokeSharedLink": "takes something back",
    "proposePartnerOffer": "a partner's program; somebody here reads it first",
}
NOBODY = new_id()
COOKIE, STAFF_COOKIE = "cdp_session", "cdp_console"
EVERYBODY = "{ customers { edges { node { id displayName } } } }"
EMAIL = {"email": {"address": "new.address@example.org"}}
# Mutation -> who, and an input that is right but for the age of the sign-in; names in capitals are filled in.
FRESH = {
    "addContact": (Actor.CUSTOMER, {"contact": EMAIL, "isPrimary": True}),
    "updateContact": (Actor.CUSTOMER, {"id": "EMAIL_ID", "contact": EMAIL}),
    "removeContact": (Actor.CUSTOMER, {"id": "EMAIL_ID"}),
    "setPrimaryContact": (Actor.CUSTOMER, {"id": "SECOND_ID"}),
    "requestExport": (Actor.CUSTOMER, {}),
    "requestErasure": (Actor.CUSTOMER, {"confirmation": "DELETE"}),
    "revealFields": (
        Actor.STAFF,
        {"customerId": "CUSTOMER_ID", "categories": ["CONTACT"], "reason": "CUSTOMER_ASKED", "caseRef": "T-1"},
    ),
    "openRequestFor": (
        Actor.STAFF,
        {
            "customerId": "CUSTOMER_ID",
            "type": "ERASURE",
            "reason": "Asked by phone.",
            "evidence": {"kind": "IDENTITY", "note": "Passport shown."},
        },
    ),
    **{
        name: (Actor.STAFF, {"requestId": "REQUEST_ID", **reason})
        for name, reason in (
            ("approveRequest", {}),
            ("refuseRequest", {"reason": "Who?"}),
            ("giveUpRequest", {"reason": "Gone."}),
            ("liftRestriction", {"reason": "Settled."}),
        )
    },
    "placeHold": (Actor.STAFF, {"customerId": "CUSTOMER_ID", "category": "ORDER", "reason": "A dispute."}),
    "approveHold": (Actor.STAFF, {"holdId": "HOLD_ID"}),
    "refuseHold": (Actor.STAFF, {"holdId": "HOLD_ID", "reason": "No dispute."}),
    "releaseHold": (Actor.STAFF, {"holdId": "HOLD_ID", "reason": "Settled."}),
    "mergeCustomers": (
        Actor.STAFF,
        {"keepId": "CUSTOMER_ID", "dropId": global_id("Customer", NOBODY), "reason": "They are one."},
    ),
    "unmergeCustomers": (Actor.STAFF, {"mergeId": global_id("CustomerMerge", NOBODY), "reason": "They are two."}),
    "confirmManualTask": (Actor.STAFF, {"taskId": "TASK_ID"}),
    "witnessDestruction": (Actor.STAFF, {"paperRecordId": "PAPER_ID"}),
    "shareProfile": (Actor.CUSTOMER, {"recipient": "My tax adviser", "purpose": "Taxes", "areas": ["orders"]}),
    "addPartner": (Actor.STAFF, {"code": "acme", "name": "Acme", "contact": "privacy@acme.example"}),
    "proposePartnerGrant": (
        Actor.STAFF,
        {
            "partnerId": global_id("Partner", NOBODY),
            "function": "PROMOTIONS",
            "purposes": ["promotions"],
            "fields": ["Customer.givenName"],
            "legalBasis": "CONSENT",
            "retentionDays": 30,
            "contractReference": "C-1",
            "validFrom": "2026-01-01T00:00:00Z",
            "validUntil": "2036-01-01T00:00:00Z",
        },
    ),
    "approvePartnerGrant": (Actor.STAFF, {"grantId": global_id("PartnerGrant", NOBODY)}),
    "refusePartnerGrant": (Actor.STAFF, {"grantId": global_id("PartnerGrant", NOBODY), "reason": "No."}),
    "revokePartnerGrant": (Actor.STAFF, {"grantId": global_id("PartnerGrant", NOBODY), "reason": "Over."}),
    "acknowledgeRecall": (Actor.STAFF, {"recallId": global_id("PartnerRecall", NOBODY)}),
    "approvePartnerOffer": (Actor.STAFF, {"offerId": global_id("PartnerOffer", NOBODY)}),
    "refusePartnerOffer": (Actor.STAFF, {"offerId": global_id("PartnerOffer", NOBODY)}),
    "proposeLegalOrder": (
        Actor.STAFF,
        {
            "customerId": "CUSTOMER_ID",
            "authority": "A court",
            "caseRef": "1",
            "law": "A law",
            "fields": ["Customer.givenName"],
            "document": {"name": "o.pdf", "mediaType": "application/pdf", "content": "JVBERg=="},
        },
    ),
    "approveLegalOrder": (Actor.STAFF, {"orderId": global_id("LegalOrder", NOBODY)}),
    "refuseLegalOrder": (Actor.STAFF, {"orderId": global_id("LegalOrder", NOBODY), "reason": "No."}),
    "discloseUnderOrder": (Actor.STAFF, {"orderId": global_id("LegalOrder", NOBODY)}),
    "bulkExportRunQuery": (Actor.STAFF, {"query": EVERYBODY, "purpose": "orders", "personal": True}),
    "createTransfer": (Actor.STAFF, {"terms": TERMS}),
    **{
        name: (Actor.STAFF, {"transferId": global_id("Transfer", NOBODY), **more})
        for name, more in (
            ("classifyTransfer", {}),
            ("notifyTransfer", {}),
            ("freezeTransfer", {}),
            ("thawTransfer", {}),
            ("cancelTransfer", {"reason": "No."}),
            ("offerTransferAgain", {}),
            ("retryTransferParts", {}),
            ("recallTransfer", {"reason": "No."}),
            ("confirmTransferKey", {"fingerprint": "00"}),
            ("approveTransfer", {"sha256": "00"}),
        )
    },
    "bulkExportApprove": (Actor.STAFF, {"id": "EXPORT_ID"}),
    "bulkExportRefuse": (Actor.STAFF, {"id": "EXPORT_ID"}),
}
ROLES = {"bulkExportRunQuery": "analyst", "openRequestFor": "agent", "revealFields": "agent"}
OPEN_PAGES = {
    "/account/preferences": "a no must be as easy as a yes (GDPR art. 7(3))",
    "/account/transfers/{reference}": "protects the person",
    "/account/downloads/{reference}/remove": "removes a copy, opens nothing",
    "/account/sharing/revoke": "takes something back",
    "/account/security/send-link": "a letter to one's own address",
    "/account/security/end-session": "ending must be easy",
    "/account/security/end-app": "ending must be easy",
    "/account/security/end-everything": "ending must be easy",
    "/account/connect": "the app names max_age where it matters",
    "/account/device": "the app names max_age where it matters",
}
SUBMITTED = [page for page in PAGES if page.submit and page.allow is Allow.CUSTOMER]


@pytest.fixture
async def person(app, platform, new_customer):
    """A customer with two addresses, the second not primary."""
    name = await new_customer()
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await tx.first(select(account.c.customer_id).where(account.c.username == name))
        mine = email_address.c.customer_id == row.customer_id
        first = await tx.first(select(email_address).where(mine))
        copied = {
            **first._mapping,
            "id": new_id(),
            "is_primary": False,
            "address": f"b.{name}",
            "normalized": f"b.{name}",
        }
        await tx.execute(email_address.insert().values(copied))
    ids = {"EMAIL_ID": first.id, "SECOND_ID": copied["id"]}
    known = {mark: global_id("EmailAddress", row_id) for mark, row_id in ids.items()}
    unknown = {
        "REQUEST_ID": "PrivacyRequest",
        "EXPORT_ID": "BulkExport",
        "HOLD_ID": "LegalHold",
        "TASK_ID": "ManualTask",
    }
    unknown["PAPER_ID"] = "PaperRecord"
    strange = {mark: global_id(kind, new_id()) for mark, kind in unknown.items()}
    return CustomerId(row.customer_id), {**known, **strange, "CUSTOMER_ID": global_id("Customer", row.customer_id)}


async def token_of(platform, viewer: Viewer) -> str:
    """A token whose sign-in is as old as the viewer's."""
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.ensure_command_line(tx)
        scope = " ".join(sorted(viewer.scopes))
        grant = await open_grant(tx, viewer, client, scope, now=platform.clock())
    return issuer_of(platform).access_token(grant, grant.scope, roles=viewer.roles)


async def member(platform, new_staff, role: str, then: datetime) -> Viewer:
    """Somebody who works here and signed in at ``then``."""
    username = await new_staff(role)
    async with platform.db.transaction(Role.WORKER) as tx:
        staff_id = await tx.scalar(select(staff.c.id).where(staff.c.username == username))
    return Viewer(Actor.STAFF, staff_id=staff_id, scopes=STAFF_SCOPES, authenticated_at=then, roles=frozenset({role}))


async def ask(app, token: str, name: str, given: dict[str, object]) -> httpx.Response:
    kind = f"{name[0].upper()}{name[1:]}Input!"
    document = f"mutation M($given: {kind}) {{ {name}(input: $given) {{ clientMutationId }} }}"
    headers = {"authorization": f"Bearer {token}", "accept": "application/graphql-response+json"}
    async with visitor(app) as program:
        return await program.post("/graphql", json={"query": document, "variables": {"given": given}}, headers=headers)


def test_every_mutation_is_decided():
    assert set(MUTATIONS) - set(FREE) - set(FRESH) == set()
    assert set(FREE) & set(FRESH) == set()


@pytest.mark.parametrize("name", sorted(FRESH))
@pytest.mark.parametrize("age_s", [0, 590, 610])
async def test_a_mutation_needs_a_fresh_sign_in(app, platform, person, new_staff, name, age_s):
    customer_id, ids = person
    actor, given = FRESH[name]
    then = platform.clock() - timedelta(seconds=age_s)
    if actor is Actor.CUSTOMER:
        viewer = Viewer(actor, customer_id=customer_id, scopes=CUSTOMER_SCOPES, authenticated_at=then)
    else:
        viewer = await member(platform, new_staff, ROLES.get(name, "privacy_officer"), then)
    filled = {key: ids.get(value, value) if isinstance(value, str) else value for key, value in given.items()}
    answer = await ask(app, await token_of(platform, viewer), name, filled)
    errors = [error["extensions"] for error in answer.json().get("errors", ())]
    if age_s < 600:
        assert "STEP_UP_REQUIRED" not in [error["code"] for error in errors]
        return
    (error,) = errors
    assert (error["code"], error["max_age"]) == ("STEP_UP_REQUIRED", 600)
    assert error["acr_values"].split() == [Strength.MULTI_FACTOR, Strength.SINGLE_FACTOR]


async def test_who_came_with_two_factors_is_asked_for_two_again(app, platform, person):
    then = platform.clock() - timedelta(hours=1)
    viewer = Viewer(
        Actor.CUSTOMER, customer_id=person[0], scopes=CUSTOMER_SCOPES, authenticated_at=then, amr=PASSWORD_AND_CODE
    )
    answer = await ask(app, await token_of(platform, viewer), "requestExport", {})
    assert answer.json()["errors"][0]["extensions"]["acr_values"] == "urn:cdp:acr:multi-factor"


async def stale(platform, browser: httpx.AsyncClient, cookie: str = COOKIE) -> None:
    actor = Actor.STAFF if cookie == STAFF_COOKIE else Actor.CUSTOMER
    found = await find(platform, browser.cookies[cookie], actor=actor)
    async with platform.db.transaction(Role.WORKER) as tx:
        past = platform.clock() - timedelta(seconds=610)
        await tx.execute(update(session).where(session.c.id == found.id).values(authenticated_at=past))


@pytest.mark.parametrize("page", SUBMITTED, ids=lambda page: page.path)
async def test_a_page_that_writes_needs_a_fresh_sign_in(app, platform, new_customer, signed_in, page):
    browser = await signed_in(await new_customer())
    csrf = forms(await browser.get("/account"))["/account/sign-out"]["csrf"]
    await stale(platform, browser)
    path = re.sub(r"{[^}]*}", "ER-2345-6789", page.path)
    answer = await browser.post(path, data={"csrf": csrf, "confirmation": "DELETE"})
    asked = "reauth=1" in answer.headers.get("location", "")
    assert asked == (page.path not in OPEN_PAGES)


async def test_the_file_itself_needs_a_fresh_sign_in_for_browsers_and_programs(app, platform, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    answer = await browser.post(
        "/account/download", data={"csrf": forms(await browser.get("/account/download"))["/account/download"]["csrf"]}
    )
    at = answer.headers["location"]
    await stale(platform, browser)
    for method in ("GET", "HEAD"):
        assert "reauth=1" in (await browser.request(method, f"{at}/file")).headers["location"]


async def test_an_export_of_names_needs_a_fresh_sign_in_over_http_too(app, platform, new_staff):
    wanted = {"query": EVERYBODY, "purpose": "orders"}
    then = platform.clock() - timedelta(seconds=610)
    token = await token_of(platform, await member(platform, new_staff, "analyst", then))
    async with visitor(app) as program:
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        named = await program.post("/bulk/export", json={**wanted, "personal": True}, headers=headers)
    assert (named.status_code, named.json()["code"]) == (401, "STEP_UP_REQUIRED")
    assert "insufficient_user_authentication" in named.headers["www-authenticate"]
    assert "max_age=600" in named.headers["www-authenticate"]


# What an agent may still do hours after signing in: nothing leaves, and nothing is decided, by these.
OPEN_STAFF_PAGES = {
    "/console/device": "the app names max_age where it matters",
    "/console": "a search, audited",
    "/console/connect": "the app names max_age where it matters",
    "/console/security/end-session": "ending must be easy",
    "/console/customers/{id}/paper": "puts paper on the register, audited",
}
OPEN_DECISIONS = {"extend", "pause", "resume", "retry", "assign"}
STAFF_PAGES = [page for page in PAGES if page.submit and page.allow is Allow.STAFF]


@pytest.mark.parametrize("page", STAFF_PAGES, ids=lambda page: page.path)
async def test_a_page_of_the_console_needs_a_fresh_sign_in(app, platform, person, new_staff, signed_in, page):
    browser = await signed_in(await new_staff("supervisor"), page="/console/sign-in")
    csrf = forms(await browser.get("/console"))["/console/sign-out"]["csrf"]
    await stale(platform, browser, STAFF_COOKIE)
    given = {"csrf": csrf, "reason": "CUSTOMER_ASKED", "category": "contact", "case_ref": "T-1", "version": "0"}
    path = page.path.replace("{id}", person[1]["CUSTOMER_ID"]).replace("{reference}", "ER-2345-6789")
    for decision in sorted(DECISIONS) if "{decision}" in path else [""]:
        answer = await browser.post(path.replace("{decision}", decision), data=given)
        if answer.status_code == 404:  # nothing is there to decide about; the mutation behind it is in FRESH
            continue
        asked = "reauth=1" in answer.headers.get("location", "")
        assert asked == (page.path not in OPEN_STAFF_PAGES and decision not in OPEN_DECISIONS), (path, decision)
