"""What machines say, in plain words with a tone to show them in; the tone is never colour alone."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cdp.operations.requests.request_views import StepView, SystemView
from cdp.tables.base import Category
from cdp.tables.consent import Channel
from cdp.tables.export import ExportStatus
from cdp.tables.request import RequestStatus, RequestType, TaskStatus, TaskStep
from cdp.tables.reveal import RevealReason

Said = tuple[str, str]
"""Words, and their tone: "good", "warn", "bad" or none."""
Nouns = tuple[str, str]
"""One, and many."""

REQUEST_TYPE: Mapping[RequestType, str] = {
    RequestType.ACCESS: "Copy of your data",
    RequestType.PORTABILITY: "Copy of your data",
    RequestType.ERASURE: "Deletion",
    RequestType.RECTIFICATION: "Correction",
    RequestType.RESTRICTION: "Restriction",
    RequestType.OBJECTION: "Objection",
}
REQUEST_STATUS: Mapping[RequestStatus, Said] = {
    RequestStatus.RECEIVED: ("Received", ""),
    RequestStatus.CHECKING: ("Asking every system", ""),
    RequestStatus.COOLING_OFF: ("Waiting period", "warn"),
    RequestStatus.ERASING: ("Deleting", ""),
    RequestStatus.VERIFYING: ("Making sure", ""),
    RequestStatus.COLLECTING: ("Collecting", ""),
    RequestStatus.PACKING: ("Packing", ""),
    RequestStatus.APPLYING: ("Correcting", ""),
    RequestStatus.IN_FORCE: ("In force", "good"),
    RequestStatus.LIFTING: ("About to end", "warn"),
    RequestStatus.PAUSED: ("Paused", "warn"),
    RequestStatus.HELD: ("Part of it is kept by law", "warn"),
    RequestStatus.NEEDS_ATTENTION: ("A person is looking at it", "warn"),
    RequestStatus.COMPLETED: ("Done", "good"),
    RequestStatus.CANCELLED: ("Called off", ""),
    RequestStatus.REFUSED: ("Refused", "bad"),
    RequestStatus.FAILED: ("Failed", "bad"),
}
CHANNEL: Mapping[Channel, str] = {
    Channel.ANY: "By any way",
    Channel.EMAIL: "By e-mail",
    Channel.PHONE: "By phone",
    Channel.SMS: "By text message",
    Channel.POST: "By post",
}
EXPORT_STATUS: Mapping[ExportStatus, Said] = {
    ExportStatus.PREPARING: ("Being made", ""),
    ExportStatus.READY: ("Ready", "good"),
    ExportStatus.FAILED: ("Failed", "bad"),
    ExportStatus.REVOKED: ("Removed", ""),
    ExportStatus.EXPIRED: ("Time is over", ""),
}
TASK_STATUS: Mapping[TaskStatus, Said] = {
    TaskStatus.PENDING: ("Not started", ""),
    TaskStatus.RUNNING: ("Under way", ""),
    TaskStatus.RETRYING: ("Trying again", "warn"),
    TaskStatus.WAITING: ("Waiting for the system", "warn"),
    TaskStatus.DONE: ("Done", "good"),
    TaskStatus.REFUSED: ("Refused", "bad"),
    TaskStatus.HELD: ("Held by law", "warn"),
    TaskStatus.UNSUPPORTED: ("Not possible there", "warn"),
    TaskStatus.FAILED: ("Failed", "bad"),
    TaskStatus.NEEDS_ATTENTION: ("Waiting for a person", "warn"),
}
STEP: Mapping[TaskStep, str] = {
    TaskStep.READ: "Collect",
    TaskStep.PACK: "Pack",
    TaskStep.CHECK: "Look what is there",
    TaskStep.ERASE: "Delete",
    TaskStep.VERIFY: "Make sure it is gone",
    TaskStep.UPDATE: "Correct",
}
FOUND: Mapping[TaskStep, str] = {
    TaskStep.READ: "Found",
    TaskStep.CHECK: "Would delete",
    TaskStep.ERASE: "Deleted",
}
FINISHED: Mapping[TaskStep, str] = {
    TaskStep.READ: "collected",
    TaskStep.PACK: "packed",
    TaskStep.CHECK: "asked",
    TaskStep.ERASE: "deleted",
    TaskStep.VERIFY: "finished",
    TaskStep.UPDATE: "corrected",
}
CODE: Mapping[str, str] = {
    "NOTHING_FOUND": "It holds nothing about you.",
    "NOTHING_LEFT": "Read again: nothing is left.",
    "LEFT_BEHIND": "Something is still there.",
    "NO_IDENTIFIER": "Nothing that we have proven to be yours is known there.",
    "NOT_OFFERED": "It does not offer this step.",
    "UNREACHABLE": "It can not be reached.",
    "TIMED_OUT": "It did not answer in time.",
    "BUSY": "It is busy.",
    "BAD_ANSWER": "It answered something we do not understand.",
    "NOT_ALLOWED": "It does not let us.",
    "MISCONFIGURED": "Its connection is not set up well.",
    "VALUE_CHANGED": "The value is another one by now.",
    "HOLD_PLACED": "A legal hold keeps part of it. It goes by itself once the hold ends.",
    "HOLD_RELEASED": "The legal hold has ended; what it kept goes now.",
    "WAITING_FOR_A_PERSON": "Somebody has to do it by hand.",
    "DESTRUCTION_DUE": "Paper is being destroyed, before a witness.",
    "NO_ANSWER": "Nobody answered in time.",
    "REFUSED_BY_A_PERSON": "They said no.",
    "NOT_POSSIBLE": "It is not possible there.",
    "LEGAL_HOLD": "A legal hold there keeps it.",
    "WORKER_LOST": "Our work on it was interrupted.",
}
POINT: Mapping[str, str] = {
    "REGISTRATION": "Registration",
    "INQUIRY": "A question to us",
    "SURVEY": "A survey",
    "ORDER": "An order",
    "ACCOUNT_PAGE": "This account page",
    "AGENT": "Our customer service",
    "IMPORT": "Taken over from another system",
    "INGEST": "Our site",
}
REVEAL_CATEGORY: Mapping[Category, str] = {
    Category.CONTACT: "Contact details",
    Category.ACCOUNT: "Sign-in name",
    Category.IDENTITY: "Identifiers",
    Category.ORDER: "Billing addresses",
    Category.MESSAGE: "Recipients of messages",
}
REVEAL_REASON: Mapping[RevealReason, str] = {
    RevealReason.CUSTOMER_ASKED: "The customer asked",
    RevealReason.IDENTITY_CHECK: "To check who they are",
    RevealReason.ORDER_PROBLEM: "A problem with an order",
    RevealReason.PRIVACY_REQUEST: "A privacy request",
    RevealReason.FRAUD_CHECK: "Suspected fraud",
    RevealReason.LEGAL_DUTY: "A legal duty",
}
# Our own tables; other systems say their own names.
RECORDS: Mapping[str, Nouns] = {
    "account": ("account", "accounts"),
    "collection": ("note of where data came from", "notes of where data came from"),
    "consent": ("consent decision", "consent decisions"),
    "customer": ("profile", "profiles"),
    "customer_merge": ("merged record", "merged records"),
    "device": ("device", "devices"),
    "email_address": ("e-mail address", "e-mail addresses"),
    "event": ("record of activity", "records of activity"),
    "export": ("data copy", "data copies"),
    "identity": ("identifier", "identifiers"),
    "inquiry": ("question", "questions"),
    "legal_hold": ("legal hold", "legal holds"),
    "message": ("message", "messages"),
    "oauth_grant": ("connected app", "connected apps"),
    "half_sign_in": ("unfinished sign-in", "unfinished sign-ins"),
    "passkey": ("passkey", "passkeys"),
    "recovery_code": ("recovery code", "recovery codes"),
    "totp": ("authenticator app", "authenticator apps"),
    "paper_record": ("paper record", "paper records"),
    "manual_task": ("task of somebody’s", "tasks of people"),
    "phone_number": ("phone number", "phone numbers"),
    "policy_acceptance": ("answer to our policy", "answers to our policy"),
    "postal_address": ("postal address", "postal addresses"),
    "preference": ("preference", "preferences"),
    "privacy_request": ("privacy request", "privacy requests"),
    "quotation": ("quotation", "quotations"),
    "request_task": ("step of a request", "steps of requests"),
    "sales_order": ("order", "orders"),
    "sales_order_item": ("order line", "order lines"),
    "reveal": ("look at masked details", "looks at masked details"),
    "session": ("sign-in", "sign-ins"),
    "survey_response": ("survey answer", "survey answers"),
}
_CODE = re.compile(r"[A-Z][A-Z0-9_]*")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


# Type of the API a field belongs to -> what a person calls it; and the purposes of staff who read.
LOOKED_AT: Mapping[str, str] = {
    "Customer": "name and profile",
    "Account": "account",
    "EmailAddress": "e-mail addresses",
    "PhoneNumber": "phone numbers",
    "PostalAddress": "postal addresses",
    "Identity": "customer numbers",
    "Preference": "preferences",
    "Consent": "consents",
    "Order": "orders",
    "OrderItem": "orders",
    "Inquiry": "inquiries",
    "Quotation": "quotations",
    "SurveyResponse": "survey answers",
    "Device": "devices",
    "Event": "activity",
    "Session": "sign-ins",
    "Message": "messages",
    "PolicyAcceptance": "answers to policies",
    "PrivacyRequest": "privacy requests",
    "RequestTask": "privacy requests",
    "Evidence": "privacy requests",
    "Correction": "privacy requests",
    "Objection": "privacy requests",
    "Export": "data copies",
    "Certificate": "certificates",
    "Collection": "where the data came from",
}
PURPOSE_OF_LOOK: Mapping[str, str] = {"customer_service": "customer service"}


def reason(code: str) -> str:
    """A code in plain words; one that we do not know is shown as it is, to be quoted."""
    if not _CODE.fullmatch(code):
        return code  # words of whoever decided
    return CODE.get(code, f"Reason: {code}.")


def records(name: str, number: int) -> str:
    """Say how many records of a kind: "3 phone numbers", "1 delivery note"."""
    plain = name.replace("_", " ").lower()
    one, many = RECORDS.get(name, (plain, plain if plain.endswith("s") else f"{plain}s"))
    return f"{number:,} {one if number == 1 else many}"


def revealed(details: Mapping[str, Any], case_ref: str | None) -> str:
    """What somebody saw of a person, why, and in which case; the case goes when the person goes."""
    categories = ", ".join(REVEAL_CATEGORY[Category(one)] for one in details["categories"])
    why = REVEAL_REASON[RevealReason(details["reason"])]
    return f"{categories}. {why}{f', case {case_ref}' if case_ref else ''}."


def looked(details: Mapping[str, Any]) -> str:
    """What somebody of our staff looked at and what for; ``details`` are those of a recorded read."""
    kinds = dict.fromkeys(LOOKED_AT.get(one.partition(".")[0], "other details") for one in details.get("fields", ()))
    why = PURPOSE_OF_LOOK.get(str(details.get("purpose")), "")
    return f"{', '.join(kinds).capitalize()}.{f' For {why}.' if why else ''}" if kinds else ""


def results(system: SystemView) -> list[str]:
    """What the steps of a system came to, a sentence each; what was found before a deletion gives way to what went."""
    erased = any(one.step is TaskStep.ERASE and one.status is TaskStatus.DONE for one in system.steps)
    told = [_result(one) for one in system.steps if not (erased and one.step is TaskStep.CHECK)]
    return [sentence for sentence in told if sentence]


def _result(step: StepView) -> str:
    kept = {one["collection"] for one in step.evidence.get("retained") or ()}
    counts = step.evidence.get("records") or {}
    listed = ", ".join(records(name, count) for name, count in counts.items() if count and name not in kept)
    if step.status is TaskStatus.DONE and listed and step.step in FOUND:
        return f"{FOUND[step.step]}: {listed}."
    return CODE.get(step.code or "", "")


def size(size_bytes: int) -> str:
    """A file's size as people say it."""
    shown, unit = float(size_bytes), "bytes"
    for larger in ("KB", "MB", "GB"):
        if shown >= 1000:
            shown, unit = shown / 1000, larger
    return f"{shown:.0f} {unit}" if unit == "bytes" or shown >= 100 else f"{shown:.1f} {unit}"


def with_times(value: Any) -> Any:  # noqa: ANN401
    """JSON of the API with its moments as datetimes, for templates."""
    if isinstance(value, dict):
        return {name: with_times(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_times(inner) for inner in value]
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return datetime.fromisoformat(value)
    return value
