"""Mutations of the profile: names, organisation, country, language, and preferences."""

from typing import cast

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from cdp.operations.profile import preferences, profiles
from cdp.operations.profile.preferences import InvalidPreference, JsonValue
from cdp.operations.profile.profiles import Change, ProfileChange
from cdp.schema.context import Info, ref
from cdp.schema.mutations.shared import Given, MutationInput, MutationPayload, input_type, mutation, output_type
from cdp.schema.types.customer import Customer

CUSTOMER = "The customer after the change."


@input_type
class UpdateAccountInput(MutationInput):
    """What to change of the profile; what is not mentioned stays, null clears it."""

    given_name: str | None = strawberry.field(default=UNSET, description="First name, up to 100 characters.")
    family_name: str | None = strawberry.field(default=UNSET, description="Last name, up to 100 characters.")
    organisation_name: str | None = strawberry.field(
        default=UNSET, description="Name of the organisation, up to 200 characters."
    )
    country: str | None = strawberry.field(default=UNSET, description="Country, two letters of ISO 3166-1.")
    locale: str | None = strawberry.field(default=UNSET, description="Language, like en or de-AT.")
    expected_version: int | None = strawberry.field(
        default=None, description="The customer's version you read; refused with STALE_VERSION if it has moved on."
    )


@output_type
class UpdateAccountPayload(MutationPayload):
    """The changed profile."""

    customer: Customer | None = strawberry.field(description=CUSTOMER)


@input_type
class PreferenceInput:
    """One preference."""

    key: str = strawberry.field(description="Its name, like mail.rhythm.")
    value: JSON | None = strawberry.field(description="Its value, at most 4 KiB of JSON; null removes the preference.")


@input_type
class SetPreferencesInput(MutationInput):
    """Preferences to set; those not named stay."""

    preferences: list[PreferenceInput] = strawberry.field(description="The preferences, each name once.")


@output_type
class SetPreferencesPayload(MutationPayload):
    """The customer whose preferences changed."""

    customer: Customer | None = strawberry.field(description=CUSTOMER)


def _change(value: str | None) -> Change:
    return profiles.UNSET if value is UNSET else value


@strawberry.type
class ProfileMutations:
    """Mutations of the profile."""

    @mutation
    async def update_account(self, info: Info, given: Given[UpdateAccountInput]) -> UpdateAccountPayload | None:
        """Change your own profile. Scope profile:write."""
        context = info.context
        change = ProfileChange(
            given_name=_change(given.given_name),
            family_name=_change(given.family_name),
            organisation_name=_change(given.organisation_name),
            country=_change(given.country),
            locale=_change(given.locale),
        )
        async with context.writing("customer.updated", scope="profile:write") as tx:
            customer_id = await profiles.update_profile(
                tx, context.viewer, change, now=context.now, expected_version=given.expected_version
            )
        return UpdateAccountPayload(client_mutation_id=given.client_mutation_id, customer=ref(Customer, customer_id))

    @mutation
    async def set_preferences(self, info: Info, given: Given[SetPreferencesInput]) -> SetPreferencesPayload | None:
        """Set, replace or remove your preferences. Scope profile:write."""
        context = info.context
        choices = {one.key: cast("JsonValue", one.value) for one in given.preferences}
        if len(choices) != len(given.preferences):
            raise InvalidPreference("A preference is named twice.")
        async with context.writing("preference.set", scope="profile:write") as tx:
            customer_id = await preferences.set_preferences(tx, context.viewer, choices, now=context.now)
        return SetPreferencesPayload(client_mutation_id=given.client_mutation_id, customer=ref(Customer, customer_id))
