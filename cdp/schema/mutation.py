"""The mutation root: everything a client can change."""

import strawberry

from cdp.schema.mutations.bulk import BulkMutations
from cdp.schema.mutations.casework import CaseworkMutations
from cdp.schema.mutations.consents import ConsentMutations
from cdp.schema.mutations.contacts import ContactMutations
from cdp.schema.mutations.holds import HoldMutations
from cdp.schema.mutations.inquiries import InquiryMutations
from cdp.schema.mutations.manual import ManualMutations
from cdp.schema.mutations.merging import MergeMutations
from cdp.schema.mutations.paper import PaperMutations
from cdp.schema.mutations.partners import PartnerMutations
from cdp.schema.mutations.profile import ProfileMutations
from cdp.schema.mutations.requests import RequestMutations
from cdp.schema.mutations.reveals import RevealMutations
from cdp.schema.mutations.rights import RightsMutations
from cdp.schema.mutations.sharing import SharingMutations
from cdp.schema.mutations.transfers import TransferMutations


@strawberry.type(description="Everything that can be changed; each change is one transaction, run in document order.")
class Mutation(
    ProfileMutations,
    ContactMutations,
    ConsentMutations,
    InquiryMutations,
    RequestMutations,
    RightsMutations,
    CaseworkMutations,
    HoldMutations,
    ManualMutations,
    MergeMutations,
    PaperMutations,
    RevealMutations,
    BulkMutations,
    TransferMutations,
    PartnerMutations,
    SharingMutations,
):
    """The mutation root."""
