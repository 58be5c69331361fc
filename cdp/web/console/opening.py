"""Opening a request for a customer: what they want, why, and how they showed who they are. A colleague then decides."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from cdp.core.db import Role
from cdp.core.errors import Conflict, InvalidInput, NotFound, PlatformError, TooLarge
from cdp.operations import audit
from cdp.operations.requests import cases, evidence
from cdp.operations.requests.cases import Details, DetailsMissing, ReasonMissing
from cdp.operations.requests.evidence import EvidenceMissing, File, FileTooLarge, Given, MediaTypeRefused
from cdp.tables.policy import LegalBasis
from cdp.tables.request import EvidenceKind, RequestType
from cdp.web.console.customer import address, row_id
from cdp.web.console.search import hit_of
from cdp.web.console.words import EVIDENCE, REQUEST_TYPE
from cdp.web.visit import Problem, Visit
from cdp.web.words import with_times

ACTION = "request.opened"
LARGEST_BYTES = 1024 * 1024 - 16 * 1024
"""Of a whole form; larger documents are handed in by the API."""
ABOUT: Mapping[RequestType, str] = {
    RequestType.ACCESS: "A copy of everything, to read.",
    RequestType.PORTABILITY: "A copy of everything, for another service.",
    RequestType.ERASURE: "Deletion in every connected system, after a time to undo.",
    RequestType.RESTRICTION: "Keep everything, use nothing, until it is lifted.",
    RequestType.OBJECTION: "Stop using it for the purposes below.",
}
# By law nobody can object to what a contract or the law demands (GDPR art. 21).
OBJECTABLE = frozenset({LegalBasis.LEGITIMATE_INTEREST.name, LegalBasis.CONSENT.name})
FIELD_OF: Mapping[type[PlatformError], str] = {
    ReasonMissing: "reason",
    DetailsMissing: "type",
    EvidenceMissing: "representative_name",
    FileTooLarge: "file",
    MediaTypeRefused: "file",
}


async def show(visit: Visit) -> Response:
    """The form."""
    return await _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Open it, or join the one that is open; both lead to the customer's page."""
    platform, viewer, customer_id = visit.platform, visit.viewer, row_id(visit)
    kind, proof = visit.field("type"), visit.field("evidence")
    if kind not in ABOUT:
        return await _page(visit, [Problem("type", "Choose what they ask for.")])
    if proof not in set(EvidenceKind):
        return await _page(visit, [Problem("evidence", "Choose what you relied on.")])
    if not visit.field("note"):
        return await _page(visit, [Problem("note", "Say what was shown or said, and how you checked it.")])
    try:
        given = evidence.check(await _given(visit, EvidenceKind(proof)))
        purposes = tuple(str(one) for one in visit.form.getlist("purpose"))
        details = Details(purposes=purposes if kind == RequestType.OBJECTION else ())
        async with (
            audit.refusing(platform.db, viewer, ACTION),
            evidence.stored(platform, given) as stored,
            platform.db.transaction(Role.WORKER) as tx,
        ):
            opened = await cases.open_for(
                tx,
                viewer,
                platform,
                customer_id,
                RequestType(kind),
                reason=visit.field("reason"),
                proof=stored,
                details=details,
            )
    except (InvalidInput, Conflict, TooLarge) as error:
        return await _page(visit, [Problem(FIELD_OF.get(type(error), ""), error.message)])
    return visit.redirect(f"{address(visit)}?done={'joined' if opened.joined else 'opened'}")


async def _given(visit: Visit, kind: EvidenceKind) -> Given:
    upload = visit.form.get("file")
    file = None
    if isinstance(upload, UploadFile) and upload.filename:
        file = File(upload.filename[:200], upload.content_type or "", await upload.read())
    return Given(
        kind,
        visit.field("note"),
        visit.field("representative_name") or None,
        visit.field("representative_basis") or None,
        file,
    )


async def _page(visit: Visit, problems: Sequence[Problem]) -> Response:
    answer = with_times(await visit.read("console/opening.graphql", id=visit.request.path_params["id"]))
    customer: dict[str, Any] | None = answer["customer"]
    if customer is None:
        raise NotFound
    wanted = visit.field("type") or visit.request.query_params.get("type", "")
    return visit.page(
        "console/opening.html",
        title="Open a request",
        problems=problems,
        customer=hit_of(customer),
        here=address(visit),
        types=[(one.value, REQUEST_TYPE[one], about) for one, about in ABOUT.items()],
        proofs=[(one.value, EVIDENCE[one.name]) for one in EvidenceKind],
        purposes=[one for one in answer["purposes"] if one["legalBasis"] in OBJECTABLE],
        wanted=wanted if wanted in ABOUT else "",
        typed={
            name: visit.field(name)
            for name in ("evidence", "note", "reason", "representative_name", "representative_basis")
        },
        chosen=set(visit.form.getlist("purpose")),
    )
