"""Mutations about what leaves otherwise: links by which customers let somebody read, and orders of courts."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from cdp.access.sharing import MANAGE_SCOPE
from cdp.core.ids import CustomerId
from cdp.operations.attachments import attachments
from cdp.operations.partners import links, orders, partners
from cdp.operations.partners.links import NewLink
from cdp.operations.partners.orders import NewOrder
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.documents import DocumentInput, document_of
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.partner import LegalOrder, SharedLink

ORDER = "Global id of the order."


@input_type
class ShareProfileInput(MutationInput):
    """What to let somebody read, and for how long."""

    recipient: str = strawberry.field(description="For whom; up to 200 characters.")
    purpose: str = strawberry.field(description="For what; up to 60 characters.")
    areas: list[str] = strawberry.field(
        description="Parts of the profile: contacts, orders, preferences, conversations, activity, identities."
    )
    hours: int = strawberry.field(default=24, description="How long it opens, 1 to 720 hours.")


@input_type
class RevokeSharedLinkInput(MutationInput):
    """The link to take back."""

    link_id: strawberry.ID = strawberry.field(description="Global id of the link.")


@input_type
class ProposeLegalOrderInput(MutationInput):
    """An order of a court or an authority."""

    customer_id: strawberry.ID = strawberry.field(description="Global id of the customer it is about.")
    authority: str = strawberry.field(description="Who ordered it.")
    case_ref: str = strawberry.field(description="Their reference.")
    law: str = strawberry.field(description="On which law it rests.")
    fields: list[str] = strawberry.field(description="What is to be disclosed, as Type.field.")
    silent_until: datetime | None = strawberry.field(
        default=None, description="Until when the customer may not be told, where the order says so."
    )
    document: DocumentInput = strawberry.field(description="The order itself.")


@input_type
class LegalOrderInput(MutationInput):
    """One order."""

    order_id: strawberry.ID = strawberry.field(description=ORDER)


@input_type
class ApproveLegalOrderInput(LegalOrderInput):
    """The order to agree to."""


@input_type
class DiscloseUnderOrderInput(LegalOrderInput):
    """The order to follow."""


@input_type
class RefuseLegalOrderInput(LegalOrderInput):
    """The order not to follow."""

    reason: str = strawberry.field(description="Why not; up to 2,000 characters.")


@output_type
class ShareProfilePayload(MutationPayload):
    """The link."""

    link: SharedLink | None = strawberry.field(description="The link.")
    url: str = strawberry.field(description="What to hand on; it is shown once.")


@output_type
class RevokeSharedLinkPayload(MutationPayload):
    """The link."""

    link: SharedLink | None = strawberry.field(description="The link, which opens nothing any more.")


@output_type
class LegalOrderPayload(MutationPayload):
    """The order."""

    order: LegalOrder | None = strawberry.field(description="The order.")


@output_type
class ProposeLegalOrderPayload(LegalOrderPayload):
    """The order."""


@output_type
class ApproveLegalOrderPayload(LegalOrderPayload):
    """The order."""


@output_type
class RefuseLegalOrderPayload(LegalOrderPayload):
    """The order."""


@output_type
class DiscloseUnderOrderPayload(MutationPayload):
    """What is handed over."""

    order: LegalOrder | None = strawberry.field(description="The order.")
    document: JSON | None = strawberry.field(description="Exactly what the order covers; it is given once.")


@strawberry.type
class SharingMutations:
    """Mutations about links and legal orders."""

    @mutation
    async def share_profile(self, info: Info, given: Given[ShareProfileInput]) -> ShareProfilePayload | None:
        """Let somebody read parts of your profile by a link that expires. Scope privacy:export."""
        context = info.context
        wanted = NewLink(given.recipient, given.purpose, frozenset(given.areas), given.hours)
        async with context.attempting("shared_link.made", scope=links.SCOPE), context.working() as tx:
            link_id, token = await links.make(tx, context.viewer, context.platform, wanted)
        url = f"{context.platform.settings.url}/share/{token}"
        return ShareProfilePayload(client_mutation_id=given.client_mutation_id, link=ref(SharedLink, link_id), url=url)

    @mutation
    async def revoke_shared_link(
        self, info: Info, given: Given[RevokeSharedLinkInput]
    ) -> RevokeSharedLinkPayload | None:
        """Take back a link of yours; it opens nothing from now on. Scope privacy:export."""
        context, link_id = info.context, row_id(given.link_id, SharedLink)
        async with context.attempting("shared_link.revoked", scope=links.SCOPE), context.working() as tx:
            await links.revoke(tx, context.viewer, link_id)
        return RevokeSharedLinkPayload(client_mutation_id=given.client_mutation_id, link=ref(SharedLink, link_id))

    @mutation
    async def propose_legal_order(
        self, info: Info, given: Given[ProposeLegalOrderInput]
    ) -> ProposeLegalOrderPayload | None:
        """Record an order to disclose, with its document; two others agree. Scope partners:manage."""
        context = info.context
        customer_id = CustomerId(row_id(given.customer_id, Customer))
        wanted = NewOrder(
            given.authority, given.case_ref, given.law, frozenset(given.fields), silent_until=given.silent_until
        )
        async with context.attempting("legal_order.proposed", scope=MANAGE_SCOPE):
            # Before the document is stored: it is not looked at for who may not hand it in.
            partners.require(context.viewer, context.platform)
            async with (
                attachments.stored(context.platform, document_of(given.document)) as document,
                context.working() as tx,
            ):
                order_id = await orders.propose(
                    tx, context.viewer, context.platform, customer_id, wanted, document=document
                )
        return ProposeLegalOrderPayload(client_mutation_id=given.client_mutation_id, order=ref(LegalOrder, order_id))

    @mutation
    async def approve_legal_order(
        self, info: Info, given: Given[ApproveLegalOrderInput]
    ) -> ApproveLegalOrderPayload | None:
        """Agree to a legal order, as the second or the third person. Scope partners:manage."""
        context, order_id = info.context, row_id(given.order_id, LegalOrder)
        async with context.attempting("legal_order.approved", scope=MANAGE_SCOPE), context.working() as tx:
            await orders.agree(tx, context.viewer, context.platform, order_id)
        return ApproveLegalOrderPayload(client_mutation_id=given.client_mutation_id, order=ref(LegalOrder, order_id))

    @mutation
    async def refuse_legal_order(
        self, info: Info, given: Given[RefuseLegalOrderInput]
    ) -> RefuseLegalOrderPayload | None:
        """Refuse a legal order that was not followed. Scope partners:manage."""
        context, order_id = info.context, row_id(given.order_id, LegalOrder)
        async with context.attempting("legal_order.refused", scope=MANAGE_SCOPE), context.working() as tx:
            await orders.refuse(tx, context.viewer, context.platform, order_id, reason=given.reason)
        return RefuseLegalOrderPayload(client_mutation_id=given.client_mutation_id, order=ref(LegalOrder, order_id))

    @mutation
    async def disclose_under_order(
        self, info: Info, given: Given[DiscloseUnderOrderInput]
    ) -> DiscloseUnderOrderPayload | None:
        """Follow an approved legal order, once: answers what it covers. Scope partners:manage."""
        context, order_id = info.context, row_id(given.order_id, LegalOrder)
        async with context.attempting("legal_order.disclosed", scope=MANAGE_SCOPE):
            found = await orders.disclose(context.platform, context.reader, context.viewer, order_id)
        return DiscloseUnderOrderPayload(
            client_mutation_id=given.client_mutation_id,
            order=ref(LegalOrder, order_id),
            document=JSON(dict(found)),
        )
