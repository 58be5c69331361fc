"""Check a certificate: anybody may, and learns no more than it says itself. The file is looked at and forgotten."""

import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import Response

from cdp.operations import signing_keys
from cdp.operations.requests import certificates
from cdp.operations.verification import (
    Kind,
    Report,
    certificate_of,
    names_subject,
    verify_addendum,
    verify_statement,
)
from cdp.web.visit import Problem, Visit
from cdp.web.words import records

LARGEST_BYTES = 512 * 1024
TITLE = "Check a certificate"
NOTHING = "Choose a certificate file, or paste its text."


async def show(visit: Visit) -> Response:
    """The form."""
    return _page(visit, [])


async def submit(visit: Visit) -> Response:
    """Say whether it holds. This changes nothing, so the answer stands here and not behind a redirect."""
    document = await _document(visit)
    if not document:
        return _page(visit, [Problem("pasted", NOTHING)])
    report = verify_statement(document, signing_keys.known(visit.platform))
    if report.kind is Kind.ADDENDUM and report.is_valid:
        report = await _together(visit, document, report)
    read = json.loads(document) if report.is_valid else None
    is_certificate = read is not None and report.kind is Kind.CERTIFICATE
    return _page(
        visit, [], report=report, read=read, is_subject=_is_subject(visit, document) if is_certificate else None
    )


async def _together(visit: Visit, addendum: bytes, report: Report) -> Report:
    """An addendum, held against the certificate that it says it belongs to, where that is ours."""
    issued = await certificates.find(visit.platform, certificate_of(addendum))
    if issued is None:
        return report
    return verify_addendum(addendum, signing_keys.known(visit.platform), certificate=issued.document)


async def _document(visit: Visit) -> bytes:
    """The uploaded file byte for byte; else what was pasted, without the blanks around it."""
    file = visit.form.get("file")
    if isinstance(file, UploadFile) and file.size:
        return await file.read()
    return visit.field("pasted").encode()


def _is_subject(visit: Visit, document: bytes) -> bool | None:
    """Whether it is about who was asked for; None when nobody asked."""
    identifier, salt = visit.field("identifier"), visit.field("salt")
    return names_subject(document, identifier.casefold(), salt) if identifier and salt else None


def _deleted(system: dict[str, Any]) -> str:
    """What went from one system; what it kept under a law is said beside it."""
    kept = {one["collection"] for one in system["retained"]}
    counts = (system.get("erased") or {}).get("records", {})
    return ", ".join(records(name, count) for name, count in counts.items() if count and name not in kept)


def _page(
    visit: Visit,
    problems: list[Problem],
    *,
    report: Report | None = None,
    read: dict[str, Any] | None = None,
    is_subject: bool | None = None,
) -> Response:
    return visit.page(
        "public/verify.html",
        title=TITLE,
        problems=problems,
        report=report,
        read=read,
        deleted={one["name"]: _deleted(one) for one in read.get("systems", [])} if read else {},
        is_subject=is_subject,
        identifier=visit.field("identifier"),
        keys=signing_keys.known(visit.platform),
    )
