"""The tour itself: one customer looks and takes away, another leaves for good, and every claim is checked.

Nothing here reaches into the platform where a customer could not; only the last look for leftovers asks the databases.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import func, or_, select

from cdp.cli.tour import systems as outside
from cdp.cli.tour.stage import Stage
from cdp.cli.tour.systems import Copy
from cdp.cli.tour.visitor import TourFailed, Visitor
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.requests import certificates
from cdp.operations.verification import Report, verify_addendum, verify_certificate, verify_package
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import identity

SCOPE = "openid profile:read privacy:read privacy:export privacy:erase"
PROFILE = """
query Profile {
  viewer {
    customer {
      id givenName familyName country
      account { username }
      contacts { emails { address isPrimary } phones { number } addresses { city country } }
      preferences { key value }
      orders(first: 10) { totalCount nodes { number placedAt total currency items { title quantity unitPrice } } }
    }
  }
}
"""
EXPORT = "mutation Take { requestExport(input: {}) { request { reference status } } }"
PREVIEW = "mutation Look { previewErasure(input: {}) { systems { title state code willErase willKeep } } }"
ERASE = """
mutation Leave {
  requestErasure(input: {confirmation: "DELETE", reason: "The tour is over"}) { request { reference status } statusKey }
}
"""
STATE = """
query State($reference: String!) {
  viewer { customer { requests(first: 1, filter: {reference: {eq: $reference}}) { nodes {
    status tasks { system { title } step status attempt }
  } } } }
}
"""
FOREIGN = "query Foreign($id: ID!) { node(id: $id) { id } }"
FINISHED_WITHIN_S = 120.0
POLL_S = 0.25


@dataclass(frozen=True)
class Person:
    """Somebody of the demo who can sign in."""

    copy: Copy
    password: str


@dataclass
class Tour:
    """The tour and what it has seen."""

    stage: Stage
    platform: Platform
    console: Console
    out: Path
    client_id: str
    redirect_uri: str

    def visitor(self) -> Visitor:
        """A new browser."""
        return Visitor(self.stage.url, client_id=self.client_id, redirect_uri=self.redirect_uri)

    def say(self, text: str) -> None:
        """Tell what just held."""
        self.console.print(f"  [green]✓[/green] {text}")

    async def take_away(self, person: Person, other: Person) -> None:
        """Sign in, look at the profile, fail to look at somebody else's, download everything, verify it."""
        self.console.rule(f"{person.copy.name} looks at her data and takes it away")
        async with self.visitor() as visitor, self.visitor() as stranger:
            await visitor.sign_in(person.copy.email, person.password, SCOPE)
            self.say("signed in by authorization code with PKCE")
            customer = (await visitor.ask(PROFILE))["viewer"]["customer"]
            bought = customer["orders"]["totalCount"]
            self.say(f"profile by GraphQL, one SQL statement: {customer['country']}, {bought} orders")
            await stranger.sign_in(other.copy.email, other.password, SCOPE)
            if (await _data_of(stranger, FOREIGN, id=customer["id"]))["node"] is not None:
                raise TourFailed("somebody else could read this profile")
            self.say("another customer asking for it by id gets nothing")
            reference = (await visitor.ask(EXPORT))["requestExport"]["request"]["reference"]
            await self._follow(visitor, reference, "COMPLETED")
            path = self.out / "export.zip"
            size = await visitor.download(f"/account/downloads/{reference}/file", path)
            self.say(f"downloaded {size:,} bytes to {path}")
        self._check_package(path)

    def _check_package(self, path: Path) -> None:
        keys = self.platform.signer.keys()
        _expect(verify_package(path, keys), "the export")
        with zipfile.ZipFile(path) as package:
            names = package.namelist()
            (self.out / "manifest.json").write_bytes(package.read("manifest.json"))
        systems = sorted({name.split("/")[1] for name in names if name.startswith("systems/")})
        self.say(
            f"verified: {len(names)} files, each as its signed manifest says; ours, and those of {', '.join(systems)}"
        )
        altered = _altered(path, self.out / "altered.zip")
        if verify_package(altered, keys).is_valid:
            raise TourFailed("an altered export was accepted")
        altered.unlink()
        self.say("the same file with one byte changed is rejected")

    async def leave(self, person: Person, bystander: Person) -> None:
        """Preview, confirm, survive the death of the worker, get the certificate, look for leftovers everywhere."""
        self.console.rule(f"{person.copy.name} leaves for good")
        async with self.visitor() as visitor:
            await visitor.sign_in(person.copy.email, person.password, SCOPE)
            systems = (await visitor.ask(PREVIEW))["previewErasure"]["systems"]
            self.say("asked first what would go and what the law keeps, and nothing changed:")
            for known in systems:
                self.console.print(f"      {known['title']}: {known['willErase']} go, {known['willKeep']} stay")
            opened = (await visitor.ask(ERASE))["requestErasure"]
            reference, key = opened["request"]["reference"], opened["statusKey"]
            self.say(f"asked for deletion, {reference}; signed out everywhere, undo possible for a moment")
        async with self.visitor() as visitor:
            document = await self._watch_erasure(visitor, reference, key)
            await self._await_addendum(visitor, reference)
        path = self.out / "certificate.json"
        path.write_bytes(document)
        self._check_certificate(path)
        self._check_addendum(path)
        await self._look_for_leftovers(person, bystander)

    async def _watch_erasure(self, visitor: Visitor, reference: str, key: str) -> bytes:
        """Follow the status page as somebody without an account; kill the worker once erasing has begun."""
        await visitor.open_status(reference, key)
        killed = False
        deadline = asyncio.get_running_loop().time() + FINISHED_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            page = await visitor.status(reference)
            if not killed and ("Deleting</span>" in page or "Making sure</span>" in page):
                killed = True
                pid = self.stage.worker_pid()
                os.kill(pid, signal.SIGKILL)
                self.say(f"killed the worker (pid {pid}) in the middle; the supervisor starts another")
            if "certificate.json" in page:
                if not killed:
                    raise TourFailed("the deletion was over before the worker could be killed")
                self.say("deleted and verified in every system")
                pdf = await visitor.fetch(f"/account/requests/{reference}/certificate.pdf")
                (self.out / "certificate.pdf").write_bytes(pdf)
                return await visitor.fetch(f"/account/requests/{reference}/certificate.json")
            await asyncio.sleep(POLL_S)
        raise TourFailed("the deletion did not finish")

    def _check_certificate(self, path: Path) -> None:
        keys = self.platform.signer.keys()
        document = path.read_bytes()
        _expect(verify_certificate(document, keys), "the certificate")
        systems = json.loads(document)["systems"]
        kept = [f"{k['records']} {k['collection']} in {s['title']}" for s in systems for k in s["retained"]]
        self.say(
            f"certificate for {len(systems)} systems verified offline; kept by law, without a name: {', '.join(kept)}"
        )
        if verify_certificate(_flipped(document), keys).is_valid:
            raise TourFailed("an altered certificate was accepted")
        self.say("the same certificate with one byte changed is rejected")

    async def _await_addendum(self, visitor: Visitor, reference: str) -> None:
        """Wait until every table was looked through, and take what says so, with the program that checks it."""
        deadline = asyncio.get_running_loop().time() + FINISHED_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if "addendum.json" in await visitor.status(reference):
                for name in ("addendum.json", certificates.VERIFIER):
                    (self.out / name).write_bytes(await visitor.fetch(f"/account/requests/{reference}/{name}"))
                return
            await asyncio.sleep(POLL_S)
        raise TourFailed("the addendum did not come")

    def _check_addendum(self, certificate: Path) -> None:
        """Check both with the standalone verifier, in a process that knows nothing of the platform."""
        path, keys = self.out / "addendum.json", self.out / "verify-keys.json"
        keys.write_text(json.dumps({"keys": self.platform.signer.keys()}), encoding="utf-8")
        document = path.read_bytes()
        _expect(
            verify_addendum(document, self.platform.signer.keys(), certificate=certificate.read_bytes()), "the addendum"
        )
        command: list[str | Path] = [sys.executable, "-I", self.out / certificates.VERIFIER, certificate]
        command += ["--addendum", path, "--keys", keys]
        told = subprocess.run(command, capture_output=True, check=False, timeout=60)  # noqa: S603 - our own file
        if told.returncode != 0:
            raise TourFailed("the standalone verifier does not accept them")
        looked = json.loads(document)["pass"]
        self.say(
            f"looked through {looked['rows']:,} rows of {looked['columns']} text columns: nothing left;"
            f" the addendum and the certificate also pass {certificates.VERIFIER} alone"
        )

    async def _look_for_leftovers(self, person: Person, bystander: Person) -> None:
        owner = self.stage.settings.database_owner_url or self.platform.settings.database_url
        counts: dict[str, Callable[[Copy], int]] = {
            "crm": lambda who: outside.crm_copies(self.stage.crm, who),
            "newsletter": lambda who: outside.newsletter_copies(self.stage.newsletter, who),
            "warehouse": lambda who: outside.warehouse_copies(owner, who),
        }
        for name, count in counts.items():
            if await asyncio.to_thread(count, person.copy):
                raise TourFailed(f"something is left in {name}")
            if not await asyncio.to_thread(count, bystander.copy):
                raise TourFailed(f"{name} lost somebody who stays")
        if await self._own_copies(person.copy):
            raise TourFailed("something is left in our own tables")
        if not await self._own_copies(bystander.copy):
            raise TourFailed("our own tables lost somebody who stays")
        self.say("nothing is left in our tables, the CRM, the warehouse and the newsletter; who stays is still there")

    async def _own_copies(self, person: Copy) -> int:
        async with self.platform.db.transaction(Role.WORKER) as tx:
            emails = select(func.count()).where(email_address.c.normalized == person.email)
            accounts = select(func.count()).where(account.c.username == person.email)
            identities = select(func.count()).where(or_(identity.c.value == person.email))
            return int(sum([await tx.scalar(query) for query in (emails, accounts, identities)]))

    async def _follow(self, visitor: Visitor, reference: str, wanted: str) -> None:
        """Wait for a request of somebody who is signed in; says each new state."""
        seen = ""
        deadline = asyncio.get_running_loop().time() + FINISHED_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            found = await visitor.ask(STATE, {"reference": reference})
            request = found["viewer"]["customer"]["requests"]["nodes"][0]
            if request["status"] != seen:
                seen = request["status"]
                done = sum(task["status"] in {"DONE", "UNSUPPORTED"} for task in request["tasks"])
                self.say(f"{reference} {seen.lower()}: {done} of {len(request['tasks'])} tasks done")
            if seen == wanted:
                return
            if seen in {"FAILED", "REFUSED", "NEEDS_ATTENTION", "CANCELLED"}:
                break
            await asyncio.sleep(POLL_S)
        raise TourFailed(f"{reference} ended as {seen.lower()}")


async def _data_of(visitor: Visitor, document: str, **variables: object) -> dict[str, Any]:
    return await visitor.ask(document, variables)


def _expect(report: Report, what: str) -> None:
    if not report.is_valid:
        raise TourFailed(f"{what} does not verify: {'; '.join(report.problems)}")


def _altered(path: Path, to: Path) -> Path:
    """A copy with one byte changed in the middle."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    to.write_bytes(body)
    return to


def _flipped(document: bytes) -> bytes:
    """The certificate with one digit of a count or date changed."""
    at = next(index for index in range(len(document) // 2, len(document)) if chr(document[index]).isdigit())
    digit = (int(chr(document[at])) + 1) % 10
    return document[:at] + str(digit).encode() + document[at + 1 :]
