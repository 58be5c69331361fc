"""What a merge does to the rows of each table: give them to the record that stays, put them aside, or end them.

Nothing is listed that simply moves: a new table of personal rows moves by being one. What opens a sign-in never moves
onto somebody who has one already, and a link that was mailed to one of the two opens nothing afterwards.
"""

from collections.abc import Iterator
from functools import lru_cache

from sqlalchemy import ForeignKey, Table

from cdp.tables import metadata
from cdp.tables.account import account, mail_link, session
from cdp.tables.base import Personal, Sealed
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import customer, identity
from cdp.tables.datamap import personal_tables
from cdp.tables.device import oauth_device_code
from cdp.tables.federation import external_identity
from cdp.tables.merge import customer_merge, customer_merge_row
from cdp.tables.oauth import oauth_code
from cdp.tables.policy import collection
from cdp.tables.reveal import reveal
from cdp.tables.second_factor import half_sign_in, passkey, recovery_code, totp
from cdp.tables.sharing import shared_link

# They open something once, for who had them mailed or shown; nobody gets them back.
FLEETING = frozenset({half_sign_in, mail_link, oauth_code, oauth_device_code})
# How somebody gets in: put aside where the record that stays has a sign-in of its own.
SIGN_IN = frozenset({account, session, passkey, totp, recovery_code, external_identity})
# They let somebody see one record, and must not show another one.
OF_ONE_RECORD = frozenset({shared_link, reveal})
CONTACTS = (email_address, phone_number, postal_address)
_ANCHORS = frozenset({customer.name, collection.name, identity.name})


def moving() -> Iterator[Table]:
    """Tables whose rows a merge gives to the record that stays, parents before children; lines follow their merge."""
    return (table for table in personal_tables() if table not in FLEETING | {customer, customer_merge_row})


def by_origin() -> Iterator[Table]:
    """Tables whose rows say by which identity they came."""
    return (table for table in moving() if "origin_identity_id" in table.columns)


@lru_cache(maxsize=1)
def families() -> tuple[tuple[Table, ForeignKey], ...]:
    """Personal tables with the key that leads to a personal parent: children belong to whom their parent belongs to."""
    personal = {table.name for table in personal_tables()} - _ANCHORS
    return tuple(
        (table, key)
        for table in personal_tables()
        for key in sorted(table.foreign_keys, key=lambda one: one.parent.name)
        if key.column.table.name in personal and key.column.table is not table
    )


def secret_columns(table: Table) -> list[str]:
    """Columns of a row that its person does not get to take away."""
    return [
        column.name
        for column in table.columns
        if not (isinstance(declared := column.info.get("datamap"), Personal) and declared.export)
    ]


def sealed_column(table: Table) -> tuple[str, str] | None:
    """The sealed column of a table and what it is sealed for; no table that is put aside has two."""
    for column in table.columns:
        declared = column.info.get("sealed")
        if isinstance(declared, Sealed) and declared.context is not None:
            return column.name, declared.context
    return None


def named(name: str) -> Table:
    """A table by its name in the ledger."""
    return metadata.tables[name]


__all__ = [
    "CONTACTS",
    "FLEETING",
    "OF_ONE_RECORD",
    "SIGN_IN",
    "by_origin",
    "customer_merge",
    "families",
    "moving",
    "named",
    "sealed_column",
    "secret_columns",
]
