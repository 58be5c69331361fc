"""The mutation by which an agent sees masked fields clear for a minute."""

from datetime import datetime
from enum import Enum

import strawberry

from cdp.core.ids import CustomerId
from cdp.operations.reveals import reveals
from cdp.operations.reveals.reveals import Wish
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.tables.base import Category
from cdp.tables.reveal import RevealReason

strawberry.enum(RevealReason, description="Why an agent has to see masked fields; the customer reads it.")


@strawberry.enum(description="Categories of personal data with fields that agents see masked.")
class RevealCategory(Enum):
    """What can be revealed: a part of the categories there are."""

    IDENTITY = Category.IDENTITY.value
    ACCOUNT = Category.ACCOUNT.value
    CONTACT = Category.CONTACT.value
    ORDER = Category.ORDER.value
    MESSAGE = Category.MESSAGE.value


@input_type
class RevealFieldsInput(MutationInput):
    """Whose fields shall be seen, and why."""

    customer_id: strawberry.ID = strawberry.field(description="The customer.")
    categories: list[RevealCategory] = strawberry.field(description="What shall be seen.")
    reason: RevealReason = strawberry.field(description="Why.")
    case_ref: str = strawberry.field(
        description="The case's number in your ticket system: 3 to 40 letters, digits and . _ / # -, no spaces."
    )


@output_type
class RevealFieldsPayload(MutationPayload):
    """The customer, with these fields clear."""

    customer: Customer | None = strawberry.field(description="The customer.")
    revealed_until: datetime = strawberry.field(description="When they are masked again.")


@strawberry.type
class RevealMutations:
    """Mutations of reveals."""

    @mutation
    async def reveal_fields(self, info: Info, given: Given[RevealFieldsInput]) -> RevealFieldsPayload | None:
        """See masked fields of one customer clear for a minute. Needs a fresh sign-in. Scope customers:reveal.

        The customer sees in their activity who looked at what, and why.
        """
        context, customer_id = info.context, row_id(given.customer_id, Customer)
        wish = Wish(frozenset(Category(one.value) for one in given.categories), given.reason, given.case_ref)
        async with context.attempting(reveals.ACTION, scope=reveals.SCOPE), context.working() as tx:
            until = await reveals.open_reveal(tx, context.viewer, context.platform, CustomerId(customer_id), wish)
        return RevealFieldsPayload(
            client_mutation_id=given.client_mutation_id, customer=ref(Customer, customer_id), revealed_until=until
        )
