"""The compiler against the naive twin: random selections over random rows give the same answer."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cdp.access.viewer import Viewer
from cdp.compiler.cursors import CursorSeal
from cdp.core.db import Database
from tests.schema.conftest import GRAPH, KEY, Reading, customer_viewer, staff_viewer
from tests.twin.rows import populate
from tests.twin.twin import Request, twin_schema

TWIN = twin_schema()
EVERYTHING = """
query Everything { viewer { kind scopes roles customer { ...all } } purposes { code title legalBasis needsConsent }
  policies { id version body effectiveFrom } brands { id code name } }
fragment from on Collection { point source collectedAt policyVersion { id version } brand { name } }
fragment all on Customer {
  __typename id kind displayName givenName familyName organisationName country locale status version createdAt maskedFields
  brand { name } collection { ...from }
  account { id username status lastSignInAt createdAt version maskedFields collection { ...from } }
  contacts { emails { id address verifiedAt isVerified isPrimary maskedFields } phones { number e164 kind isVerified }
    addresses { kind recipient line1 line2 city region postalCode country } }
  identities { type issuer value verifiedAt } preferences { key value version }
  currentConsents { purposeCode channel action recordedAt }
  consents { totalCount edges { cursor node { purpose { title } channel action wording recordedAt } } pageInfo { ...page } }
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


async def twin(db: Database, text: str, viewer: Viewer, **variables: Any) -> dict[str, Any]:
    answer = await TWIN.execute(text, variables, context_value=Request(db, viewer, CursorSeal(KEY)))
    response: dict[str, Any] = {"data": answer.data}
    if answer.errors:
        for error in answer.errors:
            if error.original_error is not None and not error.extensions:
                raise error.original_error
        response["errors"] = [{"path": e.path, "extensions": dict(e.extensions or {})} for e in answer.errors]
    return json.loads(json.dumps(response))


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
