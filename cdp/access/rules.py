"""The catalogue of access rules: which kind of viewer sees which field, which rows, and what is masked.

Unlisted means denied, for fields and rows alike; filters and orderings are covered by the fields they disclose.
Customers see themselves alone. Staff see customers by scope and role; contact details are masked for everybody but
privacy officers.
"""

from collections.abc import Iterator, Mapping

from cdp.access import masks
from cdp.access.decision import Everything, Mask, Own, RowRule, Rule, Rules, Who
from cdp.access.viewer import Actor

Fields = Mapping[str, str]
"""Type name to its fields, separated by blanks."""

OPEN: Fields = {
    "Query": "viewer",
    "Viewer": "kind scopes roles",
    "Brand": "id code name",
    "PolicyVersion": "id version title body effectiveFrom",
    "Purpose": "code title description legalBasis needsConsent",
}
ROOTS: Fields = {"Query": "node nodes"}
PROFILE: Fields = {
    "Customer": (
        "kind givenName familyName organisationName country locale status version createdAt updatedAt brand collection"
        " account contacts preferences orders"
    ),
    "Account": "id username status lastSignInAt createdAt version collection maskedFields",
    "Contacts": "emails phones addresses",
    "EmailAddress": "id address verifiedAt isVerified isPrimary version createdAt collection maskedFields",
    "PhoneNumber": "id number e164 kind verifiedAt isVerified isPrimary version createdAt collection maskedFields",
    "PostalAddress": (
        "id kind recipient line1 line2 city region postalCode country verifiedAt isPrimary version createdAt"
        " collection maskedFields"
    ),
    "Preference": "id key value version updatedAt collection",
    "Order": (
        "id number kind status placedAt confirmedAt currency total purchaseOrderNumber billingName billingLine1"
        " billingCity billingRegion billingPostalCode billingCountry items collection maskedFields"
    ),
    "OrderItem": "id position sku title quantity unitPrice total",
    "Collection": "point source collectedAt policyVersion brand",
}
MASKED: Mapping[str, Mapping[str, Mask]] = {
    "Account": {"username": Mask(masks.email)},
    "EmailAddress": {"address": Mask(masks.email)},
    "PhoneNumber": {"number": Mask(masks.phone), "e164": Mask(masks.phone)},
    "PostalAddress": {
        "recipient": Mask(masks.text),
        "line1": Mask(masks.text),
        "line2": Mask(masks.text),
        "postalCode": Mask(masks.text),
    },
    "Order": {
        "billingName": Mask(masks.text),
        "billingLine1": Mask(masks.text),
        "billingPostalCode": Mask(masks.text),
    },
}
SUBJECT: Mapping[str, str] = {
    "Customer": "id",
    "Account": "customer_id",
    "EmailAddress": "customer_id",
    "PhoneNumber": "customer_id",
    "PostalAddress": "customer_id",
    "Preference": "customer_id",
    "Order": "customer_id",
    "OrderItem": "customer_id",
    "Collection": "customer_id",
}
NOBODYS = ("Brand", "PolicyVersion", "Purpose")
VEILED = frozenset({"agent", "supervisor"})
UNVEILED = frozenset({"privacy_officer"})


def _rules(who: Who, fields: Fields) -> Iterator[Rule]:
    for type_name, names in fields.items():
        yield Rule(who, type_name, frozenset(names.split()))


def _masked(who: Who) -> Iterator[Rule]:
    for type_name, fields in MASKED.items():
        for name, mask in fields.items():
            yield Rule(who, type_name, frozenset({name}), mask)


def _fields() -> Iterator[Rule]:
    for actor in Actor:
        yield from _rules(Who(actor), OPEN)
    yield from _rules(Who(Actor.CUSTOMER), {**ROOTS, "Viewer": "customer", "Customer": "id maskedFields"})
    yield from _rules(Who(Actor.CUSTOMER, scope="profile:read"), PROFILE)
    yield from _rules(Who(Actor.STAFF), ROOTS)
    yield from _masked(Who(Actor.STAFF, VEILED, "customers:read"))
    staff = Who(Actor.STAFF, VEILED | UNVEILED, "customers:read")
    yield from _rules(staff, {"Query": "customer", "Customer": "id maskedFields"})
    yield from _rules(staff, PROFILE)
    yield from _rules(Who(Actor.SYSTEM), {"Query": "node nodes customer", "Customer": "id maskedFields"})
    yield from _rules(Who(Actor.SYSTEM), PROFILE)


def _rows() -> Iterator[RowRule]:
    for actor in Actor:
        for type_name in NOBODYS:
            yield RowRule(actor, type_name, Everything())
    for type_name, column in SUBJECT.items():
        yield RowRule(Actor.CUSTOMER, type_name, Own(column))
        yield RowRule(Actor.STAFF, type_name, Everything())
        yield RowRule(Actor.SYSTEM, type_name, Everything())


RULES = Rules(_fields(), _rows())
