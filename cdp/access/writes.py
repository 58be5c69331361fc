"""Who can use which mutation and subscription at all, in the form of rules: what no line lists is used by nobody.

Nothing is allowed by being listed: the operations behind ask for the same scopes and roles, and for more (a fresh
sign-in, a second person, a row of one's own). This is what the schema shows, and what docs/access.md says.
"""

from collections.abc import Iterator, Mapping

from cdp.access import transfers
from cdp.access.bulk import APPROVE_SCOPE, APPROVERS, EXPORT_SCOPE, EXPORTERS
from cdp.access.decision import Rule, Rules, Who
from cdp.access.rules import UNVEILED, VEILED, WORKERS
from cdp.access.sharing import MANAGE_SCOPE, MANAGERS, OFFER_SCOPE, READ_SCOPE
from cdp.access.viewer import Actor

DECIDERS = frozenset({"supervisor", "privacy_officer"})
"""Who decides about a request that a colleague opened."""
MERGE_SCOPE = "customers:merge"
MERGERS = WORKERS
"""Who proposes to merge two customers; ``DECIDERS`` carry it out and undo it."""
HOLD_PLACERS = UNVEILED
HOLD_AGREERS = UNVEILED | {"supervisor"}
_CUSTOMERS: Mapping[str, str] = {
    "profile:write": (
        "updateAccount setPreferences addContact updateContact removeContact setPrimaryContact submitInquiry"
        " submitSurvey correctRecord restrictProcessing objectToProcessing"
    ),
    "consent:write": "giveConsent withdrawConsent objectToTransfer",
    "privacy:read": "cancelRequest",
    "privacy:export": "requestExport revokeExport shareProfile revokeSharedLink",
    "privacy:erase": "previewErasure requestErasure",
}
_STAFF: Mapping[tuple[frozenset[str], str], str] = {
    (WORKERS, "requests:work"): (
        "openRequestFor addEvidence extendRequest pauseRequest resumeRequest retryRequest assignRequest"
        " completeManualTask confirmManualTask sendBackManualTask registerPaperRecord reportDestruction"
        " witnessDestruction"
    ),
    (DECIDERS, "requests:work"): "approveRequest refuseRequest giveUpRequest liftRestriction",
    (MERGERS, MERGE_SCOPE): "mergeCustomers unmergeCustomers",
    (HOLD_PLACERS, "holds:manage"): "placeHold releaseHold",
    (HOLD_AGREERS, "holds:manage"): "approveHold refuseHold",
    (MANAGERS, MANAGE_SCOPE): (
        "addPartner proposePartnerGrant approvePartnerGrant refusePartnerGrant revokePartnerGrant acknowledgeRecall"
        " approvePartnerOffer refusePartnerOffer proposeLegalOrder approveLegalOrder refuseLegalOrder"
        " discloseUnderOrder"
    ),
    (VEILED, "customers:reveal"): "revealFields",
    (EXPORTERS, EXPORT_SCOPE): "bulkExportRunQuery bulkExportCancel",
    (APPROVERS, APPROVE_SCOPE): "bulkExportApprove bulkExportRefuse",
    (transfers.MAKERS, transfers.MANAGE_SCOPE): (
        "createTransfer classifyTransfer notifyTransfer freezeTransfer thawTransfer cancelTransfer offerTransferAgain"
        " retryTransferParts recallTransfer"
    ),
    (transfers.APPROVERS, transfers.MANAGE_SCOPE): "confirmTransferKey approveTransfer",
    (transfers.RECORDERS, transfers.READ_SCOPE): "recordTransferObjection",
    (transfers.READERS, transfers.READ_SCOPE): "previewTransfer",
}


def _writes() -> Iterator[Rule]:
    for scope, names in _CUSTOMERS.items():
        yield Rule(Who(Actor.CUSTOMER, scope=scope), "Mutation", frozenset(names.split()))
    for (roles, scope), names in _STAFF.items():
        yield Rule(Who(Actor.STAFF, roles, scope), "Mutation", frozenset(names.split()))
    programs = Who(Actor.CLIENT, scope=EXPORT_SCOPE)
    yield Rule(programs, "Mutation", frozenset({"bulkExportRunQuery", "bulkExportCancel"}))
    yield Rule(Who(Actor.CLIENT, scope=READ_SCOPE), "Mutation", frozenset({"acknowledgeRecall"}))
    yield Rule(Who(Actor.CLIENT, scope=OFFER_SCOPE), "Mutation", frozenset({"proposePartnerOffer"}))
    yield Rule(Who(Actor.CUSTOMER, scope="privacy:read"), "Subscription", frozenset({"privacyRequestProgress"}))
    for who in (Who(Actor.STAFF, EXPORTERS, EXPORT_SCOPE), programs):
        yield Rule(who, "Subscription", frozenset({"bulkExportProgress"}))


WRITES = Rules(_writes(), ())
