"""The compiler against the naive twin: random selections over random rows give the same answer."""

import asyncio
import functools
import json
from typing import Any

import pytest
from graphql import parse, validate
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdp.access.viewer import Viewer
from cdp.compiler.cursors import CursorSeal
from cdp.core.db import Database
from cdp.core.ids import CustomerId, global_id
from tests.twin.reading import GRAPH, KEY, Reading, customer_viewer, reading, staff_viewer
from tests.twin.rows import populate
from tests.twin.selections import Written, documents
from tests.twin.twin import Request, twin_schema

__all__ = ["reading"]

TWIN = twin_schema()
EXAMPLES = settings.default.max_examples // 2
IS_SOAK = settings.default.max_examples > 100
PROFILE = settings(
    deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=not IS_SOAK
)
EVERYTHING = """
query Everything { viewer { kind scopes roles customer { ...all } } purposes { code title legalBasis needsConsent }
  policies { id version body effectiveFrom } brands { id code name } }
fragment from on Collection { point source collectedAt policyVersion { id version } brand { name } }
fragment all on Customer {
  __typename id kind displayName givenName familyName organisationName country locale status version createdAt
  maskedFields   brand { name } collection { ...from }
  account { id username status lastSignInAt createdAt version maskedFields collection { ...from } }
  contacts { emails { id address verifiedAt isVerified isPrimary maskedFields } phones { number e164 kind isVerified }
    addresses { kind recipient line1 line2 city region postalCode country } }
  identities { type issuer value verifiedAt } preferences { key value version }
  currentConsents { purposeCode channel action recordedAt }
  consents { totalCount edges { cursor node { purpose { title } channel action wording recordedAt } }
    pageInfo { ...page } }
  orders(first: 3) { totalCount pageInfo { ...page } nodes { id number status kind placedAt confirmedAt currency total
    billingName billingLine1 items { position sku title quantity unitPrice total } } }
  inquiries { nodes { kind status subject body receivedAt answeredAt } }
  quotations { nodes { number status total leadTimeDays requestedAt inquiry { subject } } }
  surveyResponses { nodes { survey answers submittedAt } }
  devices(last: 2) { pageInfo { ...page } nodes { kind browser firstSeenAt lastSeenAt } }
  events { nodes { type name timeOnPageMs properties occurredAt device { browser } } }
  sessions { nodes { authenticatedAt expiresAt ipAddress createdAt } }
  messages { nodes { purpose { code } template recipient subject status createdAt sentAt } }
  policyAcceptances { nodes { decision decidedAt policyVersion { version } } }
  requests { nodes { reference type status isSettled reason dueAt coolingOffUntil
    tasks { system { name title } step status attempt code nextRunAt } certificate { reference document keyId issuedAt }
    export { status sizeBytes sha256 missing } customer { givenName } } }
  exports { nodes { reference status sizeBytes sha256 } }
}
fragment page on PageInfo { hasNextPage hasPreviousPage startCursor endCursor }
"""


async def run_given(test: Any) -> None:
    """Run a Hypothesis test with an async body on the running loop, from a thread."""
    loop = asyncio.get_running_loop()
    inner = test.hypothesis.inner_test

    @functools.wraps(inner)
    def blocking(*args: Any, **arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*args, **arguments), loop).result()

    test.hypothesis.inner_test = blocking
    await asyncio.to_thread(test)


async def twin(db: Database, text: str, viewer: Viewer, **variables: Any) -> dict[str, Any]:
    answer = await TWIN.execute(text, variables, context_value=Request(db, viewer, CursorSeal(KEY)))
    response: dict[str, Any] = {"data": answer.data}
    if answer.errors:
        for error in answer.errors:
            if error.original_error is not None and not error.extensions:
                raise error.original_error
        response["errors"] = [{"path": e.path, "extensions": dict(e.extensions or {})} for e in answer.errors]
    return json.loads(json.dumps(response))


async def global_ids(reading: Reading, customers: list[CustomerId]) -> list[str]:
    """Ids of a few objects of several types, of several people."""
    document = """{ viewer { customer { id account { id } orders(first: 2) { nodes { id items { id } } }
      contacts { emails { id } } requests { nodes { id certificate { id } tasks { id } } } brand { id } } } }"""
    found: list[str] = []
    for customer_id in customers:
        data = await reading.data(document, customer_viewer(customer_id))
        found += _ids(data)
    return sorted(found)


def _ids(value: Any) -> list[str]:
    if isinstance(value, dict):
        return ([value["id"]] if "id" in value else []) + [one for inner in value.values() for one in _ids(inner)]
    return [one for inner in value for one in _ids(inner)] if isinstance(value, list) else []


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    errors = [(e["path"], e["extensions"]["code"]) for e in answer.get("errors", ())]
    return {"data": answer["data"], "errors": sorted(errors, key=repr)}


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_at_once(reading: Reading, fresh_database: Database, seed: int) -> None:
    customers = await populate(fresh_database, seed)
    for customer_id in customers:
        viewer = customer_viewer(customer_id)
        compiled = await reading.ask(EVERYTHING, viewer)
        assert comparable(compiled) == comparable(await twin(fresh_database, EVERYTHING, viewer))


STAFF = (
    "query Q($id: ID!) { systems { name title position enabled } customer(id: $id) { ...all } }"
    + (EVERYTHING[EVERYTHING.index("fragment from") :])
)


@pytest.mark.parametrize("role", ["agent", "supervisor", "privacy_officer", "administrator", "analyst"])
async def test_everything_for_staff(reading: Reading, fresh_database: Database, role: str) -> None:
    viewer = staff_viewer(role)
    for customer_id in await populate(fresh_database, 6):
        wanted = global_id("Customer", customer_id)
        compiled = await reading.ask(STAFF, viewer, id=wanted)
        assert comparable(compiled) == comparable(await twin(fresh_database, STAFF, viewer, id=wanted))
        assert bool(compiled["data"]["customer"]) is (role in {"agent", "supervisor", "privacy_officer"})


VIEWERS = {
    "customer": customer_viewer,
    "narrow": lambda customer_id: customer_viewer(customer_id, "privacy:read"),
    "agent": lambda _: staff_viewer("agent"),
    "officer": lambda _: staff_viewer("privacy_officer"),
    "analyst": lambda _: staff_viewer("analyst"),
}
ROOTS = ["viewer", "viewer", "node", "nodes", "privacyRequests", "policies", "purposes", "customers", "systems"]


@pytest.mark.parametrize("kind", list(VIEWERS))
async def test_random_selections(reading: Reading, fresh_database: Database, kind: str) -> None:
    customers = await populate(fresh_database, 3) + await populate(fresh_database, 4)
    ids = await global_ids(reading, customers)
    seen = 0

    @settings(PROFILE, max_examples=EXAMPLES)
    @given(written=documents(GRAPH.schema, ids, ROOTS), whose=st.sampled_from(customers))
    async def agree(written: Written, whose: CustomerId) -> None:
        nonlocal seen
        viewer = VIEWERS[kind](whose)
        compiled = await reading.ask(written.text, viewer, **written.variables)
        is_valid = not validate(GRAPH.schema, parse(written.text))
        if "data" not in compiled:
            code = compiled["errors"][0]["extensions"]["code"]
            refused = {"DOCUMENT_TOO_COMPLEX", "DOCUMENT_TOO_LARGE"} if is_valid else {"GRAPHQL_VALIDATION_FAILED"}
            assert code in refused, compiled["errors"]
            return
        assert is_valid
        expected = await twin(fresh_database, written.text, viewer, **written.variables)
        assert comparable(compiled) == comparable(expected), written
        seen += 1

    await run_given(agree)
    assert seen > 30
