"""Mutations about duplicate customers: merge two records of one, and take them apart again. Scope customers:merge."""

import strawberry

from cdp.access.writes import MERGE_SCOPE
from cdp.core.ids import CustomerId
from cdp.operations.merging import merges, splitting
from cdp.operations.merging.merges import Wanted
from cdp.schema.context import Info, ref, row_id
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer
from cdp.schema.types.merge import CustomerMerge


@input_type
class ExpectedVersionsInput:
    """In which versions you read the two customers; a newer one refuses the merge."""

    keep: int = strawberry.field(description="Version of the customer that stays.")
    drop: int = strawberry.field(description="Version of the customer that goes into it.")


@input_type
class MergeCustomersInput(MutationInput):
    """Which record goes into which, and why."""

    keep_id: strawberry.ID = strawberry.field(description="Global id of the customer that stays.")
    drop_id: strawberry.ID = strawberry.field(description="Global id of the customer that goes into it.")
    reason: str = strawberry.field(
        description="Why they are the same; up to 2,000 characters. The customer can read it."
    )
    case_ref: str | None = strawberry.field(default=None, description="The case it belongs to.")
    expected_versions: ExpectedVersionsInput | None = strawberry.field(
        default=None, description="In which versions you read them."
    )


@input_type
class UnmergeCustomersInput(MutationInput):
    """The merge to undo."""

    merge_id: strawberry.ID = strawberry.field(description="Global id of the merge, or of the proposal.")
    reason: str = strawberry.field(description="Why they are two; up to 2,000 characters. The customer can read it.")
    expected_version: int | None = strawberry.field(default=None, description="Version in which you read the merge.")


@output_type
class MergeCustomersPayload(MutationPayload):
    """The merge."""

    merge: CustomerMerge | None = strawberry.field(
        description="MERGED, or PROPOSED where a second person has to carry it out."
    )


@output_type
class UnmergeCustomersPayload(MutationPayload):
    """The merge."""

    merge: CustomerMerge | None = strawberry.field(description="UNDONE, or WITHDRAWN where it was only proposed.")


@strawberry.type
class MergeMutations:
    """Mutations about duplicate customers."""

    @mutation
    async def merge_customers(self, info: Info, given: Given[MergeCustomersInput]) -> MergeCustomersPayload | None:
        """Merge two records of one customer, reversibly; agents propose, supervisors carry out. Scope customers:merge.

        Where a sign-in would come to show a record that may be somebody else's, a second person calls it again.
        """
        context, versions = info.context, given.expected_versions
        wanted = Wanted(
            CustomerId(row_id(given.keep_id, Customer)),
            CustomerId(row_id(given.drop_id, Customer)),
            given.reason,
            given.case_ref,
            versions.keep if versions else None,
            versions.drop if versions else None,
        )
        async with context.attempting("customer.merged", scope=MERGE_SCOPE), context.working() as tx:
            merge_id = await merges.merge(tx, context.viewer, context.platform, wanted)
        return MergeCustomersPayload(client_mutation_id=given.client_mutation_id, merge=ref(CustomerMerge, merge_id))

    @mutation
    async def unmerge_customers(
        self, info: Info, given: Given[UnmergeCustomersInput]
    ) -> UnmergeCustomersPayload | None:
        """Undo a merge: both customers are as they were, with what came since. Supervisors. Scope customers:merge."""
        context, merge_id = info.context, row_id(given.merge_id, CustomerMerge)
        async with context.attempting("customer.unmerged", scope=MERGE_SCOPE), context.working() as tx:
            await splitting.unmerge(
                tx,
                context.viewer,
                context.platform,
                merge_id,
                reason=given.reason,
                expected_version=given.expected_version,
            )
        return UnmergeCustomersPayload(client_mutation_id=given.client_mutation_id, merge=ref(CustomerMerge, merge_id))
