"""Mutations about partners: add them, agree to what they may see, end it, and what they answer and offer."""

from datetime import datetime

import strawberry

from cdp.access.sharing import MANAGE_SCOPE, OFFER_SCOPE, READ_SCOPE
from cdp.access.viewer import Actor
from cdp.core.ids import global_id
from cdp.operations.partners import grants, offers, partners, recalls
from cdp.operations.partners.grants import Terms
from cdp.operations.partners.partners import NewPartner
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.partner import Partner, PartnerGrant, PartnerOffer, PartnerRecall
from cdp.tables.partner import GrantAction, PartnerFunction
from cdp.tables.policy import LegalBasis

GRANT = "Global id of the grant."

strawberry.enum(GrantAction, name="PartnerAction", description="What a grant lets a partner do.")


@input_type
class AddPartnerInput(MutationInput):
    """A partner."""

    code: str = strawberry.field(description="Short name: small letters, digits, hyphens.")
    name: str = strawberry.field(description="Name shown to people; up to 200 characters.")
    contact: str = strawberry.field(description="E-mail address that recalls are sent to.")
    client_id: str | None = strawberry.field(default=None, description="The program that reads for it.")


@input_type
class ProposePartnerGrantInput(MutationInput):
    """What a partner is to see and do."""

    partner_id: strawberry.ID = strawberry.field(description="Global id of the partner.")
    function: PartnerFunction = strawberry.field(description="What it does for us; bounds the fields.")
    purposes: list[str] = strawberry.field(description="Codes of the purposes it may name.")
    fields: list[str] = strawberry.field(description="What it may read, as Type.field.")
    actions: list[GrantAction] | None = strawberry.field(default=None, description="What it may do; default: read.")
    legal_basis: LegalBasis = strawberry.field(description="Why it is lawful.")
    brands: list[str] | None = strawberry.field(default=None, description="Codes of brands to narrow it to.")
    countries: list[str] | None = strawberry.field(default=None, description="Countries to narrow it to.")
    retention_days: int = strawberry.field(description="How long it may keep what it read, days.")
    contract_reference: str = strawberry.field(description="The contract behind it.")
    valid_from: datetime = strawberry.field(description="From when.")
    valid_until: datetime = strawberry.field(description="Until when.")


@input_type
class PartnerGrantInput(MutationInput):
    """One grant."""

    grant_id: strawberry.ID = strawberry.field(description=GRANT)


@input_type
class ApprovePartnerGrantInput(PartnerGrantInput):
    """The grant to agree to."""


@input_type
class RefusePartnerGrantInput(PartnerGrantInput):
    """The grant to refuse."""

    reason: str = strawberry.field(description="Why not; up to 2,000 characters.")


@input_type
class RevokePartnerGrantInput(PartnerGrantInput):
    """The grant to end."""

    reason: str = strawberry.field(description="Why; up to 2,000 characters.")


@input_type
class AcknowledgeRecallInput(MutationInput):
    """The recall that was followed."""

    recall_id: strawberry.ID = strawberry.field(description="Global id of the recall.")
    note: str | None = strawberry.field(default=None, description="What was destroyed; up to 500 characters.")


@input_type
class ProposePartnerOfferInput(MutationInput):
    """An offer to be sent for the purpose of the token."""

    subject: str = strawberry.field(description="Its subject; up to 200 characters.")
    body: str = strawberry.field(description="Its text; up to 5,000 characters.")


@input_type
class PartnerOfferInput(MutationInput):
    """One offer."""

    offer_id: strawberry.ID = strawberry.field(description="Global id of the offer.")


@input_type
class ApprovePartnerOfferInput(PartnerOfferInput):
    """The offer to send."""


@input_type
class RefusePartnerOfferInput(PartnerOfferInput):
    """The offer not to send."""


@output_type
class AddPartnerPayload(MutationPayload):
    """The partner."""

    partner: Partner | None = strawberry.field(description="The partner.")


@output_type
class PartnerGrantPayload(MutationPayload):
    """The grant."""

    grant: PartnerGrant | None = strawberry.field(description="The grant.")


@output_type
class ProposePartnerGrantPayload(PartnerGrantPayload):
    """The grant."""


@output_type
class ApprovePartnerGrantPayload(PartnerGrantPayload):
    """The grant."""


@output_type
class RefusePartnerGrantPayload(PartnerGrantPayload):
    """The grant."""


@output_type
class RevokePartnerGrantPayload(PartnerGrantPayload):
    """The grant."""


@output_type
class AcknowledgeRecallPayload(MutationPayload):
    """What was answered."""

    acknowledged: bool = strawberry.field(description="Whether the recall is answered now.")


@output_type
class ProposePartnerOfferPayload(MutationPayload):
    """What became of the offer."""

    offer_id: strawberry.ID = strawberry.field(description="Global id of the offer; somebody here reads it first.")


@output_type
class PartnerOfferPayload(MutationPayload):
    """The offer."""

    offer: PartnerOffer | None = strawberry.field(description="The offer.")


@output_type
class ApprovePartnerOfferPayload(PartnerOfferPayload):
    """The offer."""


@output_type
class RefusePartnerOfferPayload(PartnerOfferPayload):
    """The offer."""


@strawberry.type
class PartnerMutations:
    """Mutations about partners."""

    @mutation
    async def add_partner(self, info: Info, given: Given[AddPartnerInput]) -> AddPartnerPayload | None:
        """Add a partner; it sees nobody until a grant is in force. Scope partners:manage."""
        context = info.context
        wanted = NewPartner(given.code, given.name, given.contact, given.client_id)
        async with context.attempting("partner.added", scope=MANAGE_SCOPE), context.working() as tx:
            partner_id = await partners.add(tx, context.viewer, context.platform, wanted)
        return AddPartnerPayload(client_mutation_id=given.client_mutation_id, partner=ref(Partner, partner_id))

    @mutation
    async def propose_partner_grant(
        self, info: Info, given: Given[ProposePartnerGrantInput]
    ) -> ProposePartnerGrantPayload | None:
        """Propose what a partner may see and do; two others agree. Scope partners:manage."""
        context = info.context
        terms = Terms(
            given.function,
            frozenset(given.purposes),
            frozenset(given.fields),
            given.legal_basis,
            given.valid_from,
            given.valid_until,
            given.retention_days,
            given.contract_reference,
            frozenset(given.actions or [GrantAction.READ]),
            frozenset(given.brands or []),
            frozenset(given.countries or []),
        )
        partner_id = row_id(given.partner_id, Partner)
        async with context.attempting("partner_grant.proposed", scope=MANAGE_SCOPE), context.working() as tx:
            grant_id = await grants.propose(tx, context.viewer, context.platform, partner_id, terms)
        return ProposePartnerGrantPayload(
            client_mutation_id=given.client_mutation_id, grant=ref(PartnerGrant, grant_id)
        )

    @mutation
    async def approve_partner_grant(
        self, info: Info, given: Given[ApprovePartnerGrantInput]
    ) -> ApprovePartnerGrantPayload | None:
        """Agree to a grant: the second person endorses it, the third puts it in force. Scope partners:manage."""
        context, grant_id = info.context, row_id(given.grant_id, PartnerGrant)
        async with context.attempting("partner_grant.approved", scope=MANAGE_SCOPE), context.working() as tx:
            await grants.agree(tx, context.viewer, context.platform, grant_id)
        return ApprovePartnerGrantPayload(
            client_mutation_id=given.client_mutation_id, grant=ref(PartnerGrant, grant_id)
        )

    @mutation
    async def refuse_partner_grant(
        self, info: Info, given: Given[RefusePartnerGrantInput]
    ) -> RefusePartnerGrantPayload | None:
        """Refuse a grant that is not in force. Scope partners:manage."""
        context, grant_id = info.context, row_id(given.grant_id, PartnerGrant)
        async with context.attempting("partner_grant.refused", scope=MANAGE_SCOPE), context.working() as tx:
            await grants.refuse(tx, context.viewer, context.platform, grant_id, reason=given.reason)
        return RefusePartnerGrantPayload(client_mutation_id=given.client_mutation_id, grant=ref(PartnerGrant, grant_id))

    @mutation
    async def revoke_partner_grant(
        self, info: Info, given: Given[RevokePartnerGrantInput]
    ) -> RevokePartnerGrantPayload | None:
        """End a grant at once, and recall what was read under it. Scope partners:manage."""
        context, grant_id = info.context, row_id(given.grant_id, PartnerGrant)
        async with context.attempting("partner_grant.revoked", scope=MANAGE_SCOPE), context.working() as tx:
            await grants.revoke(tx, context.viewer, context.platform, grant_id, reason=given.reason)
        return RevokePartnerGrantPayload(client_mutation_id=given.client_mutation_id, grant=ref(PartnerGrant, grant_id))

    @mutation
    async def acknowledge_recall(
        self, info: Info, given: Given[AcknowledgeRecallInput]
    ) -> AcknowledgeRecallPayload | None:
        """Say that what was recalled is destroyed. Scope partner:read for programs, partners:manage for staff."""
        context, recall_id = info.context, row_id(given.recall_id, PartnerRecall)
        if context.viewer.actor is Actor.CLIENT:
            attempt = context.attempting("partner_recall.acknowledged", scope=READ_SCOPE)
        else:
            attempt = context.attempting("partner_recall.acknowledged", scope=MANAGE_SCOPE)
        async with attempt, context.working() as tx:
            await recalls.acknowledge(tx, context.viewer, context.platform, recall_id, note=given.note)
        return AcknowledgeRecallPayload(client_mutation_id=given.client_mutation_id, acknowledged=True)

    @mutation
    async def propose_partner_offer(
        self, info: Info, given: Given[ProposePartnerOfferInput]
    ) -> ProposePartnerOfferPayload | None:
        """Have an offer sent to customers who agreed, whom you never learn; for partners. Scope partner:offer."""
        context = info.context
        async with context.attempting("partner_offer.proposed", scope=OFFER_SCOPE), context.working() as tx:
            offer_id = await offers.propose(tx, context.viewer, subject=given.subject, body=given.body)
        return ProposePartnerOfferPayload(
            client_mutation_id=given.client_mutation_id, offer_id=strawberry.ID(global_id("PartnerOffer", offer_id))
        )

    @mutation
    async def approve_partner_offer(
        self, info: Info, given: Given[ApprovePartnerOfferInput]
    ) -> ApprovePartnerOfferPayload | None:
        """Send a partner's offer. Scope partners:manage."""
        context, offer_id = info.context, row_id(given.offer_id, PartnerOffer)
        async with context.attempting("partner_offer.approved", scope=MANAGE_SCOPE), context.working() as tx:
            await offers.approve(tx, context.viewer, context.platform, offer_id)
        return ApprovePartnerOfferPayload(
            client_mutation_id=given.client_mutation_id, offer=ref(PartnerOffer, offer_id)
        )

    @mutation
    async def refuse_partner_offer(
        self, info: Info, given: Given[RefusePartnerOfferInput]
    ) -> RefusePartnerOfferPayload | None:
        """Let a partner's offer not go out. Scope partners:manage."""
        context, offer_id = info.context, row_id(given.offer_id, PartnerOffer)
        async with context.attempting("partner_offer.refused", scope=MANAGE_SCOPE), context.working() as tx:
            await offers.refuse(tx, context.viewer, context.platform, offer_id)
        return RefusePartnerOfferPayload(client_mutation_id=given.client_mutation_id, offer=ref(PartnerOffer, offer_id))
