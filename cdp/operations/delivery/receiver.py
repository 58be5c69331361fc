"""The reference receiver: what an acquirer runs to pull a package, check it, decrypt it, sign for it, and follow up.

Everything is kept in one folder a transfer: ``bag`` as it came, ``plain`` if asked for, ``statements`` and ``deltas``.
A broken download goes on where it ended. What does not fit is rejected in the receipt, file by file, and pulled again
once it was made anew.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cdp.core import age
from cdp.core.age import AgeUnreadable
from cdp.core.errors import InvalidInput, PlatformError
from cdp.core.sign import Verdict, check, decode, encode
from cdp.operations.delivery import bag, checks, forgetting, statements
from cdp.operations.delivery.deltas import KIND as DELTA
from cdp.operations.oauth.client_assertions import ASSERTION_TYPE
from cdp.operations.oauth.proofs import PublicKey

SCOPE = "transfers:receive"
PARTIAL = "partial"
ANSWERED = ".answer"
GONE = 410
ASSERTION_LIFE_S = 60
TOKEN_EARLY_S = 30.0


class SellerRefused(PlatformError):
    """The seller refused this."""

    code = "SELLER_REFUSED"


class PackageRefused(InvalidInput):
    """This package is not what its seller signed; nothing was signed for."""

    code = "PACKAGE_REFUSED"


class DeltaRefused(InvalidInput):
    """This change is not what the seller signed, or does not follow the one before it."""

    code = "DELTA_REFUSED"


@dataclass(frozen=True)
class Account:
    """Who receives: its client, the key that proves and signs, the age identity that opens, the seller's keys."""

    client_id: str
    key: PublicKey = field(repr=False)
    identity: str = field(repr=False)
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Received:
    """A package that was signed for."""

    reference: str
    revision: int
    files: int
    rejected: tuple[str, ...]
    customers: int


class Receiver:
    """One acquirer at one seller. ``http`` has the seller's base address."""

    def __init__(self, http: httpx.AsyncClient, account: Account, folder: Path) -> None:
        self._http, self._account, self._folder = http, account, folder
        self._token, self._until = "", 0.0

    def place(self, reference: str) -> Path:
        """Where everything of a transfer is kept."""
        return self._folder / reference

    async def receive(self, reference: str, *, keep_plain: bool = False) -> Received:
        """Pull the newest package, check it, sign for it. Raises SellerRefused, PackageRefused.

        Where the seller's answer to a receipt was lost, the one that was kept is sent again.
        """
        try:
            await self._call("POST", f"{reference}/pull")
        except SellerRefused as refusal:
            if refusal.extensions.get("status") == GONE and (kept := self._unanswered(reference)) is not None:
                return await self._send_again(reference, kept)
            raise
        place = self.place(reference)
        folder = place / "bag"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in bag.TAGS:
            (folder / name).write_bytes((await self._call("GET", f"{reference}/files/{name}")).content)
        package = self._package(folder, reference)
        self._remove_others(folder, package)
        verdicts = [await self._file(package, place, one, keep_plain=keep_plain) for one in package["files"]]
        if keep_plain:  # who was to be forgotten before may be in what was decrypted again
            await asyncio.to_thread(forgetting.forget, place, ())
        said = {
            "kind": statements.RECEIPT,
            "reference": reference,
            "revision": package["revision"],
            "package": bag.sha256((folder / bag.PACKAGE).read_bytes()),
            "receivedAt": int(time.time()),
            "files": verdicts,
        }
        await self._sign(reference, f"{reference}/receipt", said, f"receipt-{package['revision']:04d}")
        return _received(package, verdicts)

    def _unanswered(self, reference: str) -> str | None:
        """The newest receipt that was kept and never answered, if it is of the package that lies here."""
        kept = sorted((self.place(reference) / "statements").glob("receipt-*.jws"))
        if not kept or kept[-1].with_suffix(ANSWERED).exists():
            return None
        return kept[-1].read_text()

    async def _send_again(self, reference: str, statement: str) -> Received:
        package = self._package(self.place(reference) / "bag", reference)
        said, _ = statements.read(statement, {"keys": [self._account.key.as_dict(private=False)]})
        await self._send(f"{reference}/receipt", statement, f"receipt-{package['revision']:04d}")
        return _received(package, said["files"])

    def _package(self, folder: Path, reference: str) -> dict[str, Any]:
        """The signed list, checked as far as it goes without the files. Raises PackageRefused."""
        package = checks.read_package((folder / bag.PACKAGE).read_bytes())
        if package is None or check(package, self._account.keys) is not Verdict.VALID:
            raise PackageRefused(reason="signature")
        try:
            manifest = bag.read_manifest((folder / bag.MANIFEST).read_text())
            sums = {one["encrypted"]["path"]: one["encrypted"]["sha256"] for one in package["files"]}
            are_named = all(
                one["encrypted"]["path"] == bag.path_of(one["name"]) and isinstance(one["encrypted"]["bytes"], int)
                for one in package["files"]
            )
            is_ours = package["reference"] == reference and package["terms"]["acquirer"]["key"] == age.recipient_of(
                self._account.identity
            )
        except (KeyError, TypeError, ValueError, UnicodeDecodeError):
            raise PackageRefused(reason="form") from None
        # A path of the manifest leads nowhere else, and a hash of it is one: names and places follow from them alone.
        if not is_ours or not are_named or sums != manifest or len(sums) != len(package["files"]):
            raise PackageRefused(reason="form")
        return package

    def _remove_others(self, folder: Path, package: Mapping[str, Any]) -> None:
        """Files of an earlier revision that are not part of this one."""
        wanted = {folder / one["encrypted"]["path"] for one in package["files"]}
        for path in [one for one in (folder / "data").rglob("*") if one.is_file() and one not in wanted]:
            path.unlink()

    async def _file(
        self, package: Mapping[str, Any], place: Path, one: Mapping[str, Any], *, keep_plain: bool
    ) -> dict[str, Any]:
        """Download, check, decrypt: the verdict on one file."""
        reference, cohort = package["reference"], checks.cohort_of(package, one)
        path = place / "bag" / one["encrypted"]["path"]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = await asyncio.to_thread(checks.measure, path) if path.exists() else None
        if known is None or known.sha256 != one["encrypted"]["sha256"]:
            begun = place / PARTIAL / one["encrypted"]["sha256"]
            await self._download(reference, begun, one)
            begun.replace(path)
        plain = place / forgetting.PLAIN / one["name"] if keep_plain else None
        if plain is not None:
            plain.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        measured = await asyncio.to_thread(checks.measure, path, self._account.identity, plain=plain, cohort=cohort)
        problems = [*checks.differences(one, measured)]
        if problems:
            path.unlink()
            return {"name": one["name"], "verdict": "rejected", "problems": problems}
        return {
            "name": one["name"],
            "verdict": "accepted",
            "sha256": measured.sha256,
            "plainSha256": measured.plain_sha256,
            "rows": one["rows"],
        }

    async def _download(self, reference: str, path: Path, one: Mapping[str, Any]) -> None:
        """Fetch what is missing of a file; what is there was begun before, of just these bytes."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        have = _size(path)
        if have >= one["encrypted"]["bytes"]:
            return
        headers = {**await self._authorization(), **({"Range": f"bytes={have}-"} if have else {})}
        url = f"/transfers/{reference}/files/{one['encrypted']['path']}"
        async with self._http.stream("GET", url, headers=headers) as answer:
            if answer.status_code not in {200, 206}:
                raise await _refusal(answer)
            is_rest = answer.status_code == 206
            left = one["encrypted"]["bytes"] - (have if is_rest else 0)
            with path.open("ab" if is_rest else "wb") as file:
                async for chunk in answer.aiter_bytes():
                    file.write(chunk[: left + 1])
                    left -= len(chunk)
                    if left < 0:
                        return  # one byte too many is enough to be refused by its hash

    async def follow(self, reference: str) -> list[dict[str, Any]]:
        """Apply and acknowledge every change that was told since; a recall destroys what is here.

        Whom a change concerns goes from what was decrypted here; the bag stays as it came, and whoever took records
        over has to forget them there. Returns the changes that were new, with their entries. Raises SellerRefused,
        DeltaRefused, NotDestroyed.
        """
        folder = self.place(reference) / "deltas"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        listed = _in_order((await self._call("GET", f"{reference}/deltas")).content, least=len([*folder.iterdir()]))
        previous, applied = None, []
        for one in listed:
            raw = (await self._call("GET", f"{reference}/deltas/{one['ordinal']}")).content
            delta = self._delta(raw, reference, one["ordinal"], previous)
            known = folder / f"{one['ordinal']:04d}.json"
            if known.exists() and known.read_bytes() != raw:
                raise DeltaRefused(ordinal=one["ordinal"])
            previous = bag.sha256(raw)
            if one["isAcknowledged"]:
                continue
            entries = self._entries(delta)
            known.write_bytes(raw)
            is_recall = delta["change"] == "recall"
            if is_recall:
                await asyncio.to_thread(forgetting.destroy, self.place(reference), ("bag", forgetting.PLAIN, PARTIAL))
            else:
                gone = [str(entry["id"]) for entry in entries]
                await asyncio.to_thread(forgetting.forget, self.place(reference), gone)
            said = {
                "kind": statements.DESTRUCTION if is_recall else statements.ACKNOWLEDGEMENT,
                "reference": reference,
                "ordinal": one["ordinal"],
                "delta": previous,
                "count": delta["count"],
                "doneAt": int(time.time()),
            }
            name = f"{'destruction' if is_recall else 'acknowledgement'}-{one['ordinal']:04d}"
            await self._sign(reference, f"{reference}/deltas/{one['ordinal']}", said, name)
            applied.append({**delta, "entries": entries})
        return applied

    def _delta(self, raw: bytes, reference: str, ordinal: int, previous: str | None) -> dict[str, Any]:
        try:
            delta = json.loads(raw)
            about = (delta["kind"], delta["reference"], delta["ordinal"], delta["previous"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DeltaRefused(ordinal=ordinal) from None
        is_signed = check(delta, self._account.keys) is Verdict.VALID
        if not is_signed or about != (DELTA, reference, ordinal, previous):
            raise DeltaRefused(ordinal=ordinal)
        return dict(delta)

    def _entries(self, delta: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Whom a delta concerns. Raises DeltaRefused."""
        try:
            plain = age.decrypt(self._account.identity, decode(delta["entries"]["encrypted"]))
            entries = json.loads(plain)
        except (AgeUnreadable, ValueError, KeyError, TypeError):
            raise DeltaRefused(ordinal=delta["ordinal"]) from None
        if bag.sha256(plain) != delta["entries"]["sha256"] or len(entries) != delta["count"]:
            raise DeltaRefused(ordinal=delta["ordinal"])
        return list(entries)

    async def _sign(self, reference: str, path: str, said: Mapping[str, Any], name: str) -> None:
        """Sign a statement, keep it, then send it."""
        folder = self.place(reference) / "statements"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        statement = statements.sign(said, self._account.key)
        (folder / f"{name}.jws").write_text(statement)
        (folder / f"{name}{ANSWERED}").unlink(missing_ok=True)
        await self._send(path, statement, name)

    async def _send(self, path: str, statement: str, name: str) -> None:
        """Send a statement, and keep that it was answered."""
        answer = await self._call("POST", path, content=statement, media_type="application/jose")
        reference = path.partition("/")[0]
        (self.place(reference) / "statements" / f"{name}{ANSWERED}").write_bytes(answer.content)

    async def _call(self, method: str, path: str, *, content: str = "", media_type: str = "") -> httpx.Response:
        headers = {**await self._authorization(), **({"Content-Type": media_type} if media_type else {})}
        answer = await self._http.request(method, f"/transfers/{path}", headers=headers, content=content or None)
        if answer.is_error:
            raise await _refusal(answer)
        return answer

    async def _authorization(self) -> dict[str, str]:
        """A token got by a statement of the client's own key (RFC 7523 section 2.2)."""
        if time.monotonic() > self._until:
            found = (await self._http.get("/.well-known/oauth-authorization-server")).json()
            asked = {
                "grant_type": "client_credentials",
                "scope": SCOPE,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self._assertion(found["issuer"]),
            }
            answer = await self._http.post("/oauth/token", data=asked)
            if answer.is_error:
                raise await _refusal(answer)
            given = answer.json()
            self._token = given["access_token"]
            self._until = time.monotonic() + float(given["expires_in"]) - TOKEN_EARLY_S
        return {"Authorization": f"Bearer {self._token}"}

    def _assertion(self, audience: str) -> str:
        now, me = int(time.time()), self._account.client_id
        claims = {
            "iss": me,
            "sub": me,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_LIFE_S,
            "jti": encode(secrets.token_bytes(16)),
        }
        return statements.sign(claims, self._account.key, kind="JWT")


def _received(package: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> Received:
    rejected = tuple(one["name"] for one in verdicts if one["verdict"] == "rejected")
    return Received(package["reference"], package["revision"], len(verdicts), rejected, package["delivered"])


def _in_order(raw: bytes, *, least: int) -> list[dict[str, Any]]:
    """What a seller lists, from the first on and without a gap, none gone that was there. Raises DeltaRefused."""
    try:
        listed = [
            {"ordinal": one["ordinal"], "isAcknowledged": one["isAcknowledged"]} for one in json.loads(raw)["deltas"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DeltaRefused(reason="form") from None
    if [one["ordinal"] for one in listed] != [*range(1, len(listed) + 1)] or len(listed) < least:
        raise DeltaRefused(reason="gap")
    return listed


def _size(path: Path) -> int:
    """Bytes that are there already."""
    return path.stat().st_size if path.exists() else 0


async def _refusal(answer: httpx.Response) -> SellerRefused:
    """What the seller said, by its code."""
    await answer.aread()
    try:
        said = answer.json()
        code = said.get("code", said.get("error"))  # OAuth's endpoints have their own form (RFC 6749 section 5.2)
    except (ValueError, AttributeError):
        code = None
    return SellerRefused(status=answer.status_code, reason=str(code) if code else None)
