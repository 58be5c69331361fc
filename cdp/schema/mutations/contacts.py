"""Mutations of contacts: e-mail addresses, phone numbers, postal addresses."""

from typing import Annotated, cast

import strawberry
from strawberry import UNSET

from cdp.core.ids import InvalidGlobalId, parse_global_id
from cdp.operations.profile import contacts
from cdp.operations.profile.contact_values import AddressValue, ContactKind, ContactValue, EmailValue, PhoneValue
from cdp.operations.profile.contacts import Contact
from cdp.schema.context import Context, Info, Ref, ref
from cdp.schema.mutations.shared import (
    Given,
    MutationInput,
    MutationPayload,
    input_type,
    mutation,
    one_of,
    output_type,
)
from cdp.schema.types.contact import EmailAddress, PhoneNumber, PostalAddress
from cdp.schema.types.customer import Customer
from cdp.tables.contact import AddressKind, PhoneKind

SCOPE = "profile:write"
CUSTOMER = "The customer whose contact it is."
CONTACT = "Global id of an e-mail address, a phone number or a postal address."
VERSION = "The contact's version you read; refused with STALE_VERSION if it has moved on."
AnyContact = Annotated[
    EmailAddress | PhoneNumber | PostalAddress,
    strawberry.union("Contact", description="A way to reach a customer."),
]


@input_type
class EmailInput:
    """An e-mail address."""

    address: str = strawberry.field(description="The address.")


@input_type
class PhoneInput:
    """A phone number."""

    number: str = strawberry.field(description="The number, best with + and the country code.")
    country: str | None = strawberry.field(
        default=None, description="Whose national numbers it is written in; your own country when left out."
    )
    kind: PhoneKind | None = strawberry.field(default=None, description="What it is, if you know better than we.")


@input_type
class AddressInput:
    """A postal address."""

    kind: AddressKind = strawberry.field(description="What it is used for.")
    recipient: str | None = strawberry.field(default=None, description="Who receives there.")
    line1: str = strawberry.field(description="Street and number.")
    line2: str | None = strawberry.field(default=None, description="Further line.")
    city: str | None = strawberry.field(default=None, description="City.")
    region: str | None = strawberry.field(default=None, description="State or region.")
    postal_code: str | None = strawberry.field(default=None, description="Postal code.")
    country: str | None = strawberry.field(default=None, description="Country, two letters of ISO 3166-1.")


@one_of
class ContactInput:
    """Exactly one way to be reached."""

    email: EmailInput | None = strawberry.field(default=UNSET, description="An e-mail address.")
    phone: PhoneInput | None = strawberry.field(default=UNSET, description="A phone number.")
    address: AddressInput | None = strawberry.field(default=UNSET, description="A postal address.")


@input_type
class AddContactInput(MutationInput):
    """The contact to add."""

    contact: ContactInput = strawberry.field(description="The contact.")
    is_primary: bool = strawberry.field(
        default=False, description="Make it the primary one; the first of its kind is primary anyway."
    )


@input_type
class UpdateContactInput(MutationInput):
    """What a contact shall say instead; it is replaced as a whole and unproven again if it changes."""

    id: strawberry.ID = strawberry.field(description=CONTACT)
    contact: ContactInput = strawberry.field(description="The new content, of the same kind.")
    expected_version: int | None = strawberry.field(default=None, description=VERSION)


@input_type
class RemoveContactInput(MutationInput):
    """The contact to remove."""

    id: strawberry.ID = strawberry.field(description=CONTACT)
    expected_version: int | None = strawberry.field(default=None, description=VERSION)


@input_type
class SetPrimaryContactInput(MutationInput):
    """The contact to use first."""

    id: strawberry.ID = strawberry.field(description=CONTACT)


@output_type
class AddContactPayload(MutationPayload):
    """The added contact."""

    contact: AnyContact | None = strawberry.field(description="The contact.")
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@output_type
class UpdateContactPayload(MutationPayload):
    """The changed contact."""

    contact: AnyContact | None = strawberry.field(description="The contact.")
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@output_type
class RemoveContactPayload(MutationPayload):
    """What is left after a contact is gone."""

    removed_id: strawberry.ID = strawberry.field(description="Global id of what was removed.")
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@output_type
class SetPrimaryContactPayload(MutationPayload):
    """The contact that is primary now."""

    contact: AnyContact | None = strawberry.field(description="The contact.")
    customer: Customer | None = strawberry.field(description=CUSTOMER)


@strawberry.type
class ContactMutations:
    """Mutations of contacts."""

    @mutation
    async def add_contact(self, info: Info, given: Given[AddContactInput]) -> AddContactPayload | None:
        """Add an e-mail address, a phone number or a postal address of your own. Scope profile:write."""
        context = info.context
        async with context.writing("contact.added", scope=SCOPE) as tx:
            added = await contacts.add_contact(
                tx,
                context.viewer,
                _value(given.contact),
                now=context.now,
                max_age_s=context.max_age_s,
                primary=given.is_primary,
            )
        return AddContactPayload(
            client_mutation_id=given.client_mutation_id, contact=_ref(added), customer=_owner(context)
        )

    @mutation
    async def update_contact(self, info: Info, given: Given[UpdateContactInput]) -> UpdateContactPayload | None:
        """Replace a contact of your own; an e-mail address needs a fresh sign-in. Scope profile:write."""
        context = info.context
        async with context.writing("contact.updated", scope=SCOPE) as tx:
            changed = await contacts.update_contact(
                tx,
                context.viewer,
                _contact(given.id),
                _value(given.contact),
                now=context.now,
                max_age_s=context.max_age_s,
                expected_version=given.expected_version,
            )
        return UpdateContactPayload(
            client_mutation_id=given.client_mutation_id, contact=_ref(changed), customer=_owner(context)
        )

    @mutation
    async def remove_contact(self, info: Info, given: Given[RemoveContactInput]) -> RemoveContactPayload | None:
        """Remove a contact of your own; an e-mail address needs a fresh sign-in. Scope profile:write."""
        context = info.context
        async with context.writing("contact.removed", scope=SCOPE) as tx:
            await contacts.remove_contact(
                tx,
                context.viewer,
                _contact(given.id),
                now=context.now,
                max_age_s=context.max_age_s,
                expected_version=given.expected_version,
            )
        return RemoveContactPayload(
            client_mutation_id=given.client_mutation_id, removed_id=given.id, customer=_owner(context)
        )

    @mutation
    async def set_primary_contact(
        self, info: Info, given: Given[SetPrimaryContactInput]
    ) -> SetPrimaryContactPayload | None:
        """Make a contact the first of its kind; an e-mail address needs a fresh sign-in. Scope profile:write."""
        context = info.context
        async with context.writing("contact.primary_changed", scope=SCOPE) as tx:
            chosen = await contacts.set_primary_contact(
                tx, context.viewer, _contact(given.id), now=context.now, max_age_s=context.max_age_s
            )
        return SetPrimaryContactPayload(
            client_mutation_id=given.client_mutation_id, contact=_ref(chosen), customer=_owner(context)
        )


def _value(given: ContactInput) -> ContactValue:
    """The one member that is given; validation has seen to it that there is one."""
    if given.email:
        return EmailValue(given.email.address)
    if given.phone:
        return PhoneValue(given.phone.number, given.phone.country, given.phone.kind)
    assert given.address
    address = given.address
    return AddressValue(
        kind=address.kind,
        line1=address.line1,
        recipient=address.recipient,
        line2=address.line2,
        city=address.city,
        region=address.region,
        postal_code=address.postal_code,
        country=address.country,
    )


def _contact(value: strawberry.ID) -> Contact:
    type_name, row_id = parse_global_id(value)
    if type_name not in set(ContactKind):
        raise InvalidGlobalId
    return Contact(ContactKind(type_name), row_id)


def _ref(contact: Contact) -> AnyContact:
    return cast("AnyContact", Ref(contact.kind.value, contact.id))


def _owner(context: Context) -> Customer:
    return ref(Customer, context.viewer.subject)
