"""Eight connected systems and the people they know; each is looked into directly, past its connector.

Postgres twice, SQLite, Valkey and SeaweedFS are servers of their own; a webhook, an OpenDSR processor and a service
behind the GDPR API answer over HTTP, and get into trouble by a plan.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
import redis
from obstore.store import S3Store
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import NullPool, create_engine, make_url, text

from cdp.access.viewer import SYSTEM
from cdp.core.platform import Platform
from cdp.operations import systems
from cdp.operations.oauth.token_keys import TokenKeys
from cdp.operations.systems import Registration
from tests.connectors import opendsr_peer
from tests.connectors.gdpr_api_peer import AUDIENCE, Service
from tests.connectors.opendsr_peer import Processor, certificate, pem
from tests.connectors.serving import Call, Raw
from tests.connectors.webhook_peer import SECRET, Peer
from tests.faults.trouble import Plan, troubled
from tests.population import Person
from tests.processes import Valkey
from tests.seaweed import Seaweed

HTTP_TIMEOUT_S = 1.0
TABLES = (
    "CREATE TABLE client (id INTEGER PRIMARY KEY, email VARCHAR(120) NOT NULL)",
    "CREATE TABLE visit (client_id INTEGER NOT NULL REFERENCES client (id), page VARCHAR(200))",
    "CREATE TABLE ledger (id INTEGER PRIMARY KEY, payer VARCHAR(120) NOT NULL, amount INTEGER NOT NULL)",
    "CREATE INDEX client_email ON client (email)",
    "CREATE INDEX ledger_payer ON ledger (payer)",
    "CREATE INDEX visit_client ON visit (client_id)",
)
MAPPING: dict[str, Any] = {
    "tables": [
        {"name": "client", "rows": "delete", "identities": [{"type": "email", "column": "email"}]},
        {
            "name": "visit",
            "rows": "delete",
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
        },
        {
            "name": "ledger",
            "rows": "keep",
            "identities": [{"type": "email", "column": "payer"}],
            "columns": {"id": "preserve", "payer": "keyed_hash", "amount": "preserve"},
            "retention": {"basis": "Accounting records"},
        },
    ]
}


def hashed(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


@dataclass
class Accountable(Service):
    """A service behind the GDPR API that counts how often somebody really went."""

    gone: Counter[str] = field(default_factory=Counter)

    def _delete(self, call: Call, person: str) -> Raw:
        before = person in self.people
        raw = super()._delete(call, person)
        self.gone[person] += before and person not in self.people
        return raw


@dataclass
class Estate:
    """The peers."""

    databases: dict[str, SqlEngine]
    cache: redis.Redis
    cache_url: str
    files: S3Store
    files_url: str
    files_secrets: dict[str, str]
    webhook: Peer
    processor: Processor
    service: Accountable
    plans: list[Plan]

    def settle_in(self, person: Person, number: int) -> None:
        """Let every system know somebody."""
        for database in self.databases.values():
            with database.begin() as connection:
                row = {"id": number, "email": person.email}
                connection.execute(text("INSERT INTO client VALUES (:id, :email)"), row)
                connection.execute(text("INSERT INTO visit VALUES (:id, '/'), (:id, '/shoes')"), row)
                connection.execute(text("INSERT INTO ledger VALUES (:id, :email, 7)"), row)
        self.cache.set(f"profile:{hashed(person.email)}", person.email)
        self.cache.sadd("newsletter", person.email)
        obstore.put(self.files, f"letters/{hashed(person.email)}/welcome.txt", f"Dear {person.email}".encode())
        self.webhook.people[person.email] = {"profile": [{"email": person.email}]}
        self.processor.people[hashed(person.email)] = [{"clicked": "shoes"}]
        self.service.people[str(person.customer_id)] = {"name": [person.email], "reservations": ["Boat"]}

    def left_of(self, person: Person) -> dict[str, int]:
        """What each system still holds about somebody; those that hold nothing are left out."""
        found = {name: _rows(database, person.email) for name, database in self.databases.items()}
        found["cache"] = int(self.cache.exists(f"profile:{hashed(person.email)}"))
        found["cache"] += int(self.cache.sismember("newsletter", person.email))
        found["files"] = sum(len(page) for page in obstore.list(self.files, prefix=f"letters/{hashed(person.email)}/"))
        found["webhook"] = int(person.email in self.webhook.people)
        found["opendsr"] = int(hashed(person.email) in self.processor.people)
        found["gdpr-api"] = int(str(person.customer_id) in self.service.people)
        return {name: count for name, count in found.items() if count}

    def ledger_rows(self) -> dict[str, int]:
        """How many facts are kept, with or without a person."""
        counts = {}
        for name, database in self.databases.items():
            with database.connect() as connection:
                counts[name] = int(connection.scalar(text("SELECT count(*) FROM ledger")) or 0)
        return counts

    async def connect(self, platform: Platform) -> None:
        """Register them all, each tried first."""
        for wanted in self._registrations():
            await systems.add(platform, SYSTEM, wanted)

    def be_calm(self, is_calm: bool) -> None:
        for plan in self.plans:
            plan.is_calm = is_calm

    def _registrations(self) -> Iterator[Registration]:
        for name, database in self.databases.items():
            url, secrets = database.url, {}
            if url.password:
                secrets = {"password": str(url.password)}
            plain = url._replace(password=None).render_as_string()
            yield Registration(name, name.capitalize(), "sql", {"url": plain, "mapping": MAPPING}, secrets)
        places = [
            {"collection": "profile", "key": "profile:{email:sha256}"},
            {"collection": "newsletter", "key": "newsletter", "member": "{email}"},
        ]
        yield Registration("cache", "Cache", "valkey", {"url": self.cache_url, "places": places}, {})
        letters = [{"collection": "letters", "folder": "letters/{email:sha256}/"}]
        yield Registration("files", "Files", "blobs", {"url": self.files_url, "places": letters}, self.files_secrets)
        hook = {"url": self.webhook.url, "timeout_s": HTTP_TIMEOUT_S, "identifiers": ["email"]}
        yield Registration("webhook", "Webhook", "webhook", hook, {"secret": SECRET})
        yield Registration("opendsr", "OpenDSR", "opendsr", self._agreement(), {"key": opendsr_peer.KEY})
        gdpr_api = {
            "url": f"{self.service.base}/gdpr-api/v1/user/$user_uuid",
            "auth": {"type": "signed", "audience": AUDIENCE},
            "by": "customer_id",
            "timeout_s": HTTP_TIMEOUT_S,
        }
        yield Registration("gdpr-api", "GDPR API", "gdpr_api", gdpr_api, {})

    def _agreement(self) -> dict[str, Any]:
        return {
            "url": f"{self.processor.base}/v2",
            "domain": opendsr_peer.DOMAIN,
            "controller_id": "platform",
            "authorities": pem(certificate("authority", domain="authority")),
            "identities": [{"type": "email", "identity_type": "email", "identity_format": "sha256"}],
            "auth": {"type": "header"},
            # Counting before and after takes three requests a step; the peer itself is looked into in the end.
            "proof": "status",
            "timeout_s": HTTP_TIMEOUT_S,
            "poll_s": 1,
        }


def _rows(database: SqlEngine, email: str) -> int:
    """Rows that name somebody, and visits nobody can be found for any more."""
    with database.connect() as connection:
        named = connection.scalar(
            text(
                "SELECT (SELECT count(*) FROM client WHERE email = :e) + (SELECT count(*) FROM ledger WHERE payer = :e)"
            ),
            {"e": email},
        )
        lost = connection.scalar(text("SELECT count(*) FROM visit WHERE client_id NOT IN (SELECT id FROM client)"))
    return int(named or 0) + int(lost or 0)


@contextmanager
def estate(platform: Platform, foreign_url: str, weed: Seaweed, folder: Path, *, seed: int) -> Iterator[Estate]:
    """Run the peers for the length of the block, calm at first."""
    with ExitStack() as stack:
        databases = {name: _postgres(foreign_url, f"faults_{name}", stack) for name in ("shop", "warehouse")}
        (folder / "desk.sqlite").touch()
        databases["desk"] = create_engine(f"sqlite:///{folder}/desk.sqlite", poolclass=NullPool)
        for database in databases.values():
            with database.begin() as connection:
                for statement in TABLES:
                    connection.execute(text(statement))
        (folder / "cache").mkdir()
        cache = Valkey(folder / "cache")
        stack.callback(cache.stop)
        bucket = f"faults-{seed}"
        made = weed.bucket(bucket)
        keys = {"access_key_id": weed.access_key_id, "secret_access_key": weed.secret_access_key}
        plans = [Plan(name, seed) for name in ("webhook", "opendsr", "gdpr-api")]
        webhook, processor = Peer(), Processor()
        service = Accountable(TokenKeys(platform.keys).public, platform.settings.url)
        hooked = stack.enter_context(
            troubled(plans[0], lambda call: webhook.respond(call.path, call.headers, call.body))
        )
        webhook.url = f"{hooked}/hook"
        processor.base = stack.enter_context(troubled(plans[1], processor.respond))
        service.base = stack.enter_context(troubled(plans[2], service.respond))
        client = stack.enter_context(redis.Redis.from_url(cache.url))
        store = weed.store(bucket)
        yield Estate(databases, client, cache.url, store, made, keys, webhook, processor, service, plans)


def _postgres(foreign_url: str, name: str, stack: ExitStack) -> SqlEngine:
    url = make_url(foreign_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))

    def drop() -> None:
        with server.connect() as again:
            again.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))

    stack.callback(drop)
    return create_engine(url.set(database=name), poolclass=NullPool)
