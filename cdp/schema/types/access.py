"""By what a customer, and what acts for them, gets in: providers, second factors, applications. Never a secret."""

from datetime import datetime

from strawberry.scalars import JSON

from cdp.schema.fields import column, many, mapped, one
from cdp.schema.types.relay import Node
from cdp.tables import federation, oauth, second_factor


@mapped(
    federation.external_identity, subject="customer_id", description="An outside provider that signs a customer in."
)
class ExternalIdentity(Node):
    """A link to a provider."""

    issuer: str = column(description="The provider.")
    subject: str = column(description="The name by which it knows the customer.")
    created_at: datetime = column(description="When it was linked.")
    last_sign_in_at: datetime = column(description="Last sign-in through it.")


@mapped(second_factor.totp, subject="customer_id", description="An authenticator app, without its secret.")
class Authenticator(Node):
    """An authenticator app."""

    created_at: datetime = column(description="When it was registered.")
    used_at: datetime | None = column(description="Last use.")


@mapped(second_factor.recovery_code, subject="customer_id", description="A recovery code, without the code.")
class RecoveryCode(Node):
    """A recovery code."""

    created_at: datetime = column(description="When it was made.")
    used_at: datetime | None = column(description="When it was used up.")


@mapped(oauth.oauth_client, description="An application.")
class Application:
    """An application that people let in."""

    name: str = column(description="What it calls itself.")


@mapped(oauth.oauth_token, subject="customer_id", description="One renewal of what an application may do.")
class AuthorizationToken(Node):
    """A refresh token, without the token."""

    scope: str = column(description="What it allowed, separated by blanks.")
    authenticated_at: datetime = column(description="Sign-in it rests on.")
    issued_at: datetime = column(description="When it was issued.")
    expires_at: datetime = column(description="When it ends.")


@mapped(
    oauth.oauth_grant, subject="customer_id", description="What a customer, or staff for them, let an application do."
)
class Authorization(Node):
    """An authorization."""

    application: Application | None = one({"client_id": "id"}, description="The application.")
    scope: str = column(description="What it may do, separated by blanks.")
    authorization_details: JSON | None = column(description="What it may do in detail (RFC 9396).")
    authenticated_at: datetime = column(description="Sign-in it rests on.")
    created_at: datetime = column(description="When it was given.")
    revoked_at: datetime | None = column(description="When it was taken back.")
    reason: str | None = column(description="Why somebody who works here acted for the customer, where they did.")
    case_reference: str | None = column(description="The case they acted in.")
    tokens: list[AuthorizationToken] | None = many(
        {"id": "family_id"}, order=("issued_at", "id"), description="How it was renewed, oldest first."
    )
