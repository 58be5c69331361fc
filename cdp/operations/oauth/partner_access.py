"""Tokens of partners: bound to one living grant and one of its purposes, or refused (``partner_access``).

A token carries which grant; what the grant lets through is read when the token is first met, and that it still lives
in every statement that reads with it.
Source: RFC 9396, https://www.rfc-editor.org/rfc/rfc9396.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import any_, func, literal, select

from cdp.access.authorization_types import PARTNER_ACCESS
from cdp.access.sharing import Sharing
from cdp.core.db import Tx
from cdp.operations.oauth.authorization_details import Detail, Details, InvalidAuthorizationDetails
from cdp.operations.oauth.clients import OAuthClient
from cdp.tables.oauth import oauth_client
from cdp.tables.partner import GrantStatus, partner, partner_grant
from cdp.tables.policy import LegalBasis, purpose


@dataclass(frozen=True)
class PartnerAccess:
    """What a token of a partner is for."""

    sharing: Sharing
    purpose: str


def asked(details: Sequence[Detail]) -> list[Detail]:
    """The details that name a grant."""
    return [detail for detail in details if detail["type"] == PARTNER_ACCESS]


async def check(tx: Tx, client: OAuthClient, details: Details) -> None:
    """Refuse details that name no living grant of this client's partner, or a purpose it does not have.

    Raises InvalidAuthorizationDetails.
    """
    if asked(details) and await access_of(tx, client.client_id, details) is None:
        raise InvalidAuthorizationDetails


async def access_of(tx: Tx, client_id: str, details: Sequence[Detail]) -> PartnerAccess | None:
    """What the one detail that names a grant gives a program; None when that is nothing."""
    named = asked(details)
    if len(named) != 1 or len(details) != 1:
        return None
    wanted = str(named[0]["purpose"])
    row = await tx.first(
        select(
            partner_grant,
            partner.c.name,
            purpose.c.needs_consent,
        )
        .select_from(
            partner_grant.join(partner)
            .join(oauth_client, oauth_client.c.id == partner.c.client_id)
            .join(purpose, purpose.c.code == wanted)
        )
        .where(
            partner_grant.c.id == UUID(str(named[0]["grant"])),
            oauth_client.c.client_id == client_id,
            partner_grant.c.status == GrantStatus.ACTIVE,
            partner_grant.c.valid_from <= func.now(),
            partner_grant.c.valid_until > func.now(),
            literal(wanted) == any_(partner_grant.c.purposes),
        )
    )
    if row is None:
        return None
    sharing = Sharing(
        grant_id=row.id,
        partner_id=row.partner_id,
        recipient=row.name,
        legal_basis=row.legal_basis.value,
        needs_consent=row.needs_consent or row.legal_basis is LegalBasis.CONSENT,
        fields=frozenset(row.fields),
        brands=tuple(row.brands),
        countries=tuple(row.countries),
    )
    return PartnerAccess(sharing, wanted)
