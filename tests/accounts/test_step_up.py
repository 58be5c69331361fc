"""A fresh sign-in on every path (RFC 9470): pages and GraphQL mutations are walked, none is left out by forgetting it.

The command line speaks to GraphQL with the same tokens; its own verbs are for operators, who act as the platform.
"""

import re
from datetime import timedelta

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
from cdp.web.guard import Allow
from cdp.web.routes import PAGES
from tests.browser import forms, visitor

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
    "refuseRequest": "staff; audited, with a letter to the person",
    "extendRequest": "staff; audited, with a letter to the person",
    "liftRestriction": "staff; audited",
    "pauseRequest": "staff; audited",
    "resumeRequest": "staff; audited",
    "retryRequest": "staff; audited",
    "assignRequest": "staff; audited",
    "giveUpRequest": "staff; audited",
    "bulkExportCancel": "stops something",
    "bulkExportRefuse": "stops something",
}
# Decided by an operation that a test of its own asks with an old sign-in: they need a case to begin with.
DECIDED_ELSEWHERE = {"openRequestFor", "approveRequest", "bulkExportRunQuery", "bulkExportApprove"}
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
}
OPEN_PAGES = {
    "/account/downloads/{reference}/remove": "removes a copy, opens nothing",
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
    return CustomerId(row.customer_id), {**known, "CUSTOMER_ID": global_id("Customer", row.customer_id)}


async def token_of(platform, viewer: Viewer) -> str:
    """A token whose sign-in is as old as the viewer's."""
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await clients.ensure_command_line(tx)
        scope = " ".join(sorted(viewer.scopes))
        grant = await open_grant(tx, viewer, client, scope, now=platform.clock())
    return issuer_of(platform).access_token(grant, grant.scope, roles=viewer.roles)


async def ask(app, token: str, name: str, given: dict[str, object]) -> httpx.Response:
    kind = f"{name[0].upper()}{name[1:]}Input!"
    document = f"mutation M($given: {kind}) {{ {name}(input: $given) {{ clientMutationId }} }}"
    headers = {"authorization": f"Bearer {token}", "accept": "application/graphql-response+json"}
    async with visitor(app) as program:
        return await program.post("/graphql", json={"query": document, "variables": {"given": given}}, headers=headers)


def test_every_mutation_is_decided():
    assert set(MUTATIONS) - set(FREE) - set(FRESH) - DECIDED_ELSEWHERE == set()
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
        username = await new_staff("agent")
        async with platform.db.transaction(Role.WORKER) as tx:
            staff_id = await tx.scalar(select(staff.c.id).where(staff.c.username == username))
        viewer = Viewer(
            actor, staff_id=staff_id, scopes=STAFF_SCOPES, authenticated_at=then, roles=frozenset({"agent"})
        )
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


async def stale(platform, browser: httpx.AsyncClient) -> None:
    found = await find(platform, browser.cookies["cdp_session"])
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
