"""Customers (people and organisations) and the identities by which other systems know them."""

from enum import StrEnum

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Uuid, func, literal_column, text

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    identifies,
    metadata,
    personal,
    structural,
    subject_columns,
    timestamp,
)


class CustomerKind(StrEnum):
    """Customers are also companies (promise P16)."""

    PERSON = "person"
    ORGANISATION = "organisation"


class CustomerStatus(StrEnum):
    """``frozen`` while an erasure cools off: nothing is sent, nothing is changed, undo works."""

    ACTIVE = "active"
    FROZEN = "frozen"


class CustomerSuppression(StrEnum):
    """What stands between a customer and the suppression list: who is marked either way is shown to no partner."""

    UNCHECKED = "unchecked"  # a contact of theirs has not been looked up yet
    LISTED = "listed"


class IdentityType(StrEnum):
    """Kinds of identifiers; values are stored normalised."""

    EMAIL = "email"
    PHONE = "phone"
    USERNAME = "username"
    CUSTOMER_NUMBER = "customer_number"
    COOKIE = "cookie"


customer = Table(
    "customer",
    metadata,
    id_column(),
    Column("kind", enum_type(CustomerKind, "customer_kind"), nullable=False, info=personal(Category.IDENTITY)),
    Column("given_name", String(100), info=personal(Category.IDENTITY)),
    Column("family_name", String(100), info=personal(Category.IDENTITY)),
    Column("organisation_name", String(200), info=personal(Category.IDENTITY)),
    Column("country", String(2), info=personal(Category.IDENTITY)),
    Column("locale", String(20), info=personal(Category.PREFERENCE)),
    Column(
        "status",
        enum_type(CustomerStatus, "customer_status"),
        nullable=False,
        server_default="active",
        info=structural(),
    ),
    timestamp("restricted_at", nullable=True, info=structural()),
    Column("suppression", enum_type(CustomerSuppression, "customer_suppression"), info=structural()),
    Column("brand_id", Uuid, ForeignKey("brand.id"), nullable=False, info=structural()),
    Column("audit_ref", Uuid, nullable=False, unique=True, info=structural()),
    Column(
        "origin_identity_id",
        Uuid,
        ForeignKey("identity.id", use_alter=True, deferrable=True, initially="DEFERRED"),
        info=structural(),
    ),
    Column(
        "collection_id",
        Uuid,
        ForeignKey("collection.id", use_alter=True, deferrable=True, initially="DEFERRED"),
        info=structural(),
    ),
    Column("version", Integer, nullable=False, server_default="1", info=structural()),
    timestamp("created_at", now=True),
    timestamp("updated_at", now=True),
)

identity = Table(
    "identity",
    metadata,
    id_column(),
    *subject_columns(),
    Column("type", enum_type(IdentityType, "identity_type"), nullable=False, info=personal(Category.IDENTITY)),
    Column("issuer", String(100), nullable=False, server_default="", info=personal(Category.IDENTITY)),
    Column(
        "value",
        String(320),
        nullable=False,
        info={**personal(Category.IDENTITY), **identifies(*(type_.value for type_ in IdentityType))},
    ),
    timestamp("verified_at", nullable=True, info=personal(Category.IDENTITY)),
    timestamp("created_at", now=True),
)

Index("identity_type_issuer_value_key", identity.c.type, identity.c.issuer, identity.c.value, unique=True)
Index("customer_restricted_idx", customer.c.id, postgresql_where=customer.c.restricted_at.is_not(None))
Index("customer_unchecked_idx", customer.c.id, postgresql_where="suppression = 'unchecked'")
Index("customer_family_name_id_idx", customer.c.family_name, customer.c.id)
Index("customer_created_at_id_idx", customer.c.created_at, customer.c.id)
Index(
    "customer_search_name_idx",
    text(
        "lower(coalesce(given_name, '') || ' ' || coalesce(family_name, '') || ' ' || coalesce(organisation_name, ''))"
        " gin_trgm_ops"
    ),
    postgresql_using="gin",
    _table=customer,
)
sort_name = func.lower(func.coalesce(customer.c.family_name, customer.c.organisation_name, literal_column("''")))
Index("customer_sort_name_id_idx", sort_name, customer.c.id)
foreign_key_indexes(customer)
foreign_key_indexes(identity)
