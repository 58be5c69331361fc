"""Settings: the environment, prefix ``CDP_``, read once at a composition root and passed down.

Every setting names its unit. A secret may also be given as a file: ``CDP_MASTER_KEYS_FILE=/run/secrets/keys``
fills ``CDP_MASTER_KEYS``. Source: https://12factor.net/config
"""

import ipaddress
import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

SECRETS = (
    "database_url",
    "database_owner_url",
    "redis_url",
    "objects_url",
    "smtp_url",
    "audit_witness_url",
    "master_keys",
    "oidc_client_secret",
)


class Environment(StrEnum):
    """Where this process runs; production refuses every convenience of development."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Documents(StrEnum):
    """Which GraphQL documents are let in."""

    ANY = "any"
    STORED = "stored"


class Introspection(StrEnum):
    """Who is shown the schema."""

    EVERYONE = "everyone"
    EXPLORERS = "explorers"


class Realms(StrEnum):
    """Whom an external provider signs in."""

    CUSTOMERS = "customers"
    STAFF = "staff"
    BOTH = "both"


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets given as ``CDP_<NAME>_FILE``: the file's text without its trailing newline."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002
        """Read one secret; the base class demands this shape."""
        path = os.environ.get(f"CDP_{field_name.upper()}_FILE")
        return (Path(path).read_text(encoding="utf-8").rstrip("\n") if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Read every secret that is given as a file."""
        values = {name: self.get_field_value(None, name)[0] for name in SECRETS}
        return {name: value for name, value in values.items() if value is not None}


def _plain_seconds(value: object) -> object:
    """A bare number in the environment is a number of seconds."""
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdigit():
        return float(value)
    return value


def _networks(value: object) -> object:
    """Addresses and networks, comma-separated."""
    if isinstance(value, str):
        return tuple(ipaddress.ip_network(one.strip()) for one in value.split(",") if one.strip())
    return value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# The machine itself, its neighbours on the wire (and a cloud's metadata), everybody at once: no company's own network.
_NOBODYS = tuple(
    ipaddress.ip_network(one)
    for one in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
)


def _own(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    for network in networks:
        if any(network.version == other.version and network.overlaps(other) for other in _NOBODYS):
            raise ValueError(f"{network} holds loopback, link-local or multicast addresses")
    return networks


Duration = Annotated[timedelta, BeforeValidator(_plain_seconds)]


class Settings(BaseSettings):
    """Everything an operator can set; ``docs/settings.md`` is generated from the descriptions."""

    model_config = SettingsConfigDict(env_prefix="CDP_", frozen=True, extra="ignore")

    env: Environment = Field(Environment.DEVELOPMENT, description="development, test or production")
    state_dir: Path = Field(Path(".cdp"), description="folder that holds all state of the embedded stack")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, description="TCP port the API listens on")
    base_url: str = Field("", description="public URL of the API; default http://localhost:PORT")
    tls_cert_file: Path | None = Field(None, description="certificate chain (PEM): the API serves TLS itself")
    tls_key_file: Path | None = Field(None, description="private key (PEM) of CDP_TLS_CERT_FILE")
    http_port: int | None = Field(
        None,
        description="plain HTTP port that only leads to https, where the API serves TLS itself; default 80 beside 443",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto count,"
        " comma-separated; nobody else's do",
    )
    database_url: str = Field("", description="Postgres URL; empty: the embedded server. May SET ROLE to the app roles")
    database_owner_url: str = Field("", description="Postgres URL of the role that migrates; default CDP_DATABASE_URL")
    redis_url: str = Field("", description="Valkey or Redis URL of the doorbell; empty: the embedded server")
    objects_url: str = Field("", description="object store: file:///folder, s3://bucket/prefix or memory:///")
    objects_retry_s: float = Field(
        60.0, description="how long a call of an S3 store that answers 5xx or breaks off is tried again, seconds", ge=0
    )
    smtp_url: str = Field(
        "", description="smtp://user:password@host:port; empty: messages land in STATE_DIR/outbox as .eml"
    )
    mail_from: str = Field("privacy@localhost", description="sender address of every message")
    master_keys: str = Field(
        "",
        description="sealing keys, id:base64 of 32 bytes, comma-separated, newest first; empty: kept in the key store",
    )
    key_store_dir: Path | None = Field(
        None, description="folder of keys that must be able to die; default STATE_DIR/keys"
    )
    cooling_off: Duration = Field(
        timedelta(days=7),
        description="time between confirmation and erasure in which the customer can undo (seconds or ISO 8601)",
    )
    export_retry: Duration = Field(
        timedelta(days=1),
        description="time until systems that gave nothing for an export are asked again (seconds or ISO 8601)",
    )
    export_ttl: Duration = Field(timedelta(days=7), description="life of a finished export (seconds or ISO 8601)")
    step_up_max_age_s: int = Field(
        600, description="seconds a sign-in counts as fresh for export, download and deletion"
    )
    staff_second_factor: bool | None = Field(
        None, description="staff need an authenticator app or a passkey to sign in; default: in production"
    )
    reveals_per_hour: int = Field(30, ge=1, description="how often a member of staff may unmask a customer in an hour")
    oidc_issuer: str = Field(
        "", description="issuer of an OpenID provider that signs people in instead of us; empty: we do"
    )
    oidc_client_id: str = Field("", description="our client id at CDP_OIDC_ISSUER")
    oidc_client_secret: str = Field("", description="our client secret there; empty: a public client")
    oidc_for: Realms = Field(Realms.BOTH, description="whom it signs in: customers, staff or both")
    oidc_name: str = Field("", description="what the provider is called on pages; default its host")
    oidc_scopes: str = Field("openid profile email", description="scopes asked of the provider")
    oidc_roles_claim: str = Field("roles", description="claim that holds roles of staff; dots lead into objects")
    oidc_roles: str = Field(
        "", description='JSON, claim value to our roles: {"cdp-agents": ["agent"]}; who has none may not work here'
    )
    oidc_demands_mfa: bool = Field(False, description="the provider asks everybody for a second factor")
    oidc_leeway_s: int = Field(60, description="how far the provider's clock may be off, seconds")
    access_token_ttl_s: int = Field(600, description="life of an access token, seconds")
    refresh_token_ttl_s: int = Field(30 * 86400, description="life of a refresh token, seconds")
    client_registration: bool = Field(
        False, description="apps may register themselves with an invitation (cdp client invite)"
    )
    session_ttl_s: int = Field(12 * 3600, description="life of a browser session without use, seconds")
    lease_s: float = Field(30.0, description="seconds a claimed task stays with its worker without a heartbeat")
    sweep_s: float = Field(10.0, description="seconds between two sweeps for work whose doorbell was lost")
    residual_every: Duration = Field(
        timedelta(days=1),
        description="how often the whole database is looked through for what is left of people who were erased,"
        " counted from 02:00 UTC; 0: as soon as somebody was (seconds or ISO 8601)",
    )
    canary_every: Duration | None = Field(
        None,
        description="how often a person who never was is erased through every system, to see that it works;"
        " default: every day, never in tests; 0: never (seconds or ISO 8601)",
    )
    audit_sequence_s: float = Field(5.0, description="seconds between two rounds that put audit events into the tree")
    audit_witness_url: str = Field("", description="second object store that signed audit heads are put into")
    audit_witness_mail: str = Field("", description="address outside that signed audit heads are mailed to")
    audit_witness_every: Duration = Field(
        timedelta(hours=1), description="shortest time between two heads sent to a witness (seconds or ISO 8601)"
    )
    task_timeout_s: float = Field(60.0, description="longest call of one connected system, seconds")
    system_concurrency: int = Field(8, description="calls of one connected system at a time, over all workers")
    worker_concurrency: int = Field(
        128, ge=1, description="tasks one worker does at a time; most of a task is waiting for a connected system"
    )
    retry_base_s: float = Field(1.0, description="longest wait before the second try, seconds; doubles with each try")
    retry_longest_s: float = Field(
        900.0, description="longest wait between two tries that no system asked for, seconds"
    )
    max_attempts: int = Field(8, description="tries of one task before it needs attention")
    bulk_ttl: Duration = Field(timedelta(days=7), description="life of a finished bulk export (seconds or ISO 8601)")
    bulk_part_rows: int = Field(20_000, description="customers a part of a bulk export looks at, at most")
    bulk_slots: int = Field(1, description="parts of bulk exports one worker makes at a time; 0: none")
    bulk_max_bytes_per_s: int = Field(0, description="JSON bytes a second one part may take from Postgres; 0: any")
    bulk_snapshot_max: Duration = Field(
        timedelta(hours=4), description="oldest snapshot of a bulk export before it starts anew (seconds or ISO 8601)"
    )
    transfer_pull_ttl: Duration = Field(
        timedelta(days=14), description="how long an acquirer may pull a package it was offered (seconds or ISO 8601)"
    )
    transfer_retain: Duration = Field(
        timedelta(days=180),
        description="how long the seller keeps what an acquirer has signed for, where a deal says nothing else: for"
        " complaints about the handing over, and a recall (seconds or ISO 8601)",
    )
    bulk_changes_kept: Duration = Field(
        timedelta(days=35), description="how far back a bulk export can continue (seconds or ISO 8601)"
    )
    gdpr_api_issuer: str = Field(
        "", description="issuer whose tokens may call /gdpr-api (its discovery names its keys); empty: nobody's"
    )
    gdpr_api_audience: str = Field("", description="what those tokens call us, their aud, exactly")
    gdpr_api_scope_claim: str = Field(
        "", description="claim that lists the scopes; empty: authorization.permissions[].scopes[]"
    )
    gdpr_api_query_scope: str = Field("gdprquery", description="scope that shows a person's data")
    gdpr_api_delete_scope: str = Field("gdprdelete", description="scope that deletes a person's data")
    gdpr_api_levels: str = Field("substantial,high", description="values of loa that suffice, comma-separated")
    gdpr_api_numbering: str = Field(
        "", description="issuer under which customer numbers hold that issuer's ids; default CDP_GDPR_API_ISSUER"
    )
    gdpr_api_wait_s: float = Field(8.0, ge=0, le=60, description="longest a deletion is waited for, seconds")
    opendsr_domain: str = Field("", description="our domain as an OpenDSR processor; default that of CDP_BASE_URL")
    opendsr_certificate_file: Path | None = Field(
        None, description="certificate chain (PEM) for that domain, of an authority that controllers trust"
    )
    opendsr_key_file: Path | None = Field(
        None,
        description="its private key (PEM, RSA of 4096 bits); without both, development makes its own, "
        "production serves no OpenDSR",
    )
    pool_size: int = Field(8, description="database connections per role and process")
    statement_timeout_s: float = Field(15.0, description="longest SQL statement of a read, seconds")
    log_format: str = Field("console", description="console or json")
    log_level: str = Field("info", description="debug, info, warning or error")
    graphql_max_depth: int = Field(16, description="deepest selection of a document")
    graphql_max_aliases: int = Field(100, description="aliases in one document")
    graphql_max_cost: int = Field(20_000, description="rows times fields a document may ask for")
    graphql_max_page: int = Field(500, description="largest first/last of a connection")
    graphql_budget: int = Field(
        500_000, description="points of cost one viewer may spend at once; 0: as many as they like"
    )
    graphql_budget_per_s: int = Field(5_000, description="points of cost that come back to a viewer every second")
    graphql_documents: Documents = Field(
        Documents.ANY, description="any, or stored: only documents added before, except for staff with graphql:explore"
    )
    graphql_introspection: Introspection = Field(
        Introspection.EVERYONE, description="who is shown the schema: everyone who is signed in, or explorers (staff)"
    )
    graphql_streams: int = Field(1_000, description="open event streams per process")
    graphql_streams_per_viewer: int = Field(10, description="open event streams per viewer and process")
    cors_origins: str = Field(
        "",
        description="origins whose pages may call /graphql and the OAuth endpoints with a token, comma-separated; "
        "never with cookies",
    )
    internal_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks), AfterValidator(_own)] = (
        Field(
            (),
            description="private networks where connected systems and the OpenID provider may live, comma-separated; "
            "addresses that clients, customers or other systems name are never called there",
        )
    )
    allow_private_targets: bool = Field(
        False,
        description="connected systems may live on loopback and private addresses (never in production)",
    )
    pg_bin: Path | None = Field(None, description="folder of other Postgres binaries for the embedded stack")
    valkey_bin: Path | None = Field(None, description="another valkey-server binary for the embedded stack")

    @property
    def url(self) -> str:
        """Public base URL without a trailing slash."""
        scheme = "https" if self.tls_cert_file else "http"
        return (self.base_url or f"{scheme}://localhost:{self.port}").rstrip("/")

    @property
    def is_secure(self) -> bool:
        """Whether customers reach us by TLS: decides __Host- cookies, Secure and HSTS."""
        return self.url.startswith("https://")

    @property
    def staff_needs_second_factor(self) -> bool:
        """Whether a password alone lets nobody into the console."""
        return self.env is Environment.PRODUCTION if self.staff_second_factor is None else self.staff_second_factor

    @property
    def password_memory_kib(self) -> int:
        """Memory of one Argon2id hash: 64 MiB (RFC 9106, section 4), next to nothing where passwords guard nothing."""
        return 64 if self.env is Environment.TEST else 65_536

    @property
    def canary_period(self) -> timedelta:
        """How often the canary is erased; zero: never."""
        if self.canary_every is None:
            return timedelta(0) if self.env is Environment.TEST else timedelta(days=1)
        return self.canary_every

    @property
    def redirect_port(self) -> int | None:
        """Where plain HTTP is answered with the way to https; None where somebody else serves TLS."""
        if self.tls_cert_file is None:
            return None
        return 80 if self.http_port is None and self.port == 443 else self.http_port

    @property
    def keys_dir(self) -> Path:
        """Folder of the key store: outside Postgres and outside its backups."""
        return self.key_store_dir or self.state_dir / "keys"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over secret files."""
        return init_settings, env_settings, SecretFiles(settings_cls)


def reference() -> str:
    """Every setting as a Markdown table; ``docs/settings.md`` is this text and a test compares them."""
    rows = ["| variable | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        secret = f" Also `CDP_{name.upper()}_FILE`." if name in SECRETS else ""
        default = "" if field.default in ("", None, ()) else f"`{getattr(field.default, 'value', field.default)}`"
        rows.append(f"| `CDP_{name.upper()}` | {default} | {field.description}.{secret} |")
    return "# Settings\n\nGenerated from `cdp/core/settings.py`.\n\n" + "\n".join(rows) + "\n"
