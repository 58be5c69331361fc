"""Mutations of consents: give and withdraw, each an entry of the ledger."""

import strawberry

from cdp.operations.profile import consents
from cdp.schema.context import Info, ref
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.consent import Consent
from cdp.schema.types.customer import Customer
from cdp.tables.consent import Channel

SCOPE = "consent:write"
PURPOSE = "Code of the purpose."
CHANNEL = "The channel it is about; ANY where the purpose has none."
CONSENT = "The entry of the ledger."
CUSTOMER = "The customer whose consent it is."


@input_type
class GiveConsentInput(MutationInput):
    """What is agreed to."""

    purpose: str = strawberry.field(description=PURPOSE)
    channel: Channel = strawberry.field(default=Channel.ANY, description=CHANNEL)
    wording: str = strawberry.field(description="The words the person saw and agreed to, up to 4,000 characters.")


@input_type
class WithdrawConsentInput(MutationInput):
    """What is no longer agreed to."""

    purpose: str = strawberry.field(description=PURPOSE)
    channel: Channel = strawberry.field(default=Channel.ANY, description=CHANNEL)
    wording: str | None = strawberry.field(default=None, description="The words the person saw, if there were any.")


@output_type
class GiveConsentPayload(MutationPayload):
    """The recorded consent."""

    consent: Consent | None = strawberry.field(description=CONSENT)
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@output_type
class WithdrawConsentPayload(MutationPayload):
    """The recorded withdrawal."""

    consent: Consent | None = strawberry.field(description=CONSENT)
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@strawberry.type
class ConsentMutations:
    """Mutations of consents."""

    @mutation
    async def give_consent(self, info: Info, given: Given[GiveConsentInput]) -> GiveConsentPayload | None:
        """Agree to a purpose; the newest entry of a purpose and channel decides. Scope consent:write."""
        context = info.context
        async with context.writing("consent.given", scope=SCOPE) as tx:
            row_id = await consents.give(
                tx, context.viewer, given.purpose, channel=given.channel, wording=given.wording, now=context.now
            )
        return GiveConsentPayload(
            client_mutation_id=given.client_mutation_id,
            consent=ref(Consent, row_id),
            customer=ref(Customer, context.viewer.subject),
        )

    @mutation
    async def withdraw_consent(self, info: Info, given: Given[WithdrawConsentInput]) -> WithdrawConsentPayload | None:
        """Stop agreeing to a purpose, whether or not you ever did. Scope consent:write."""
        context = info.context
        async with context.writing("consent.withdrawn", scope=SCOPE) as tx:
            row_id = await consents.withdraw(
                tx, context.viewer, given.purpose, channel=given.channel, wording=given.wording, now=context.now
            )
        return WithdrawConsentPayload(
            client_mutation_id=given.client_mutation_id,
            consent=ref(Consent, row_id),
            customer=ref(Customer, context.viewer.subject),
        )
