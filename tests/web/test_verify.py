"""Anybody checks a certificate: genuine, altered, of an unknown signer, or no certificate at all."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from cdp.core.keys import KeyStore
from cdp.core.merkle import leaf_hash
from cdp.core.sign import Signer, canonical
from cdp.operations.packages.formats import CERTIFICATE, VERSION, subject_hash
from tests.browser import forms, title, visitor

SALT = "ab" * 16
DOCUMENT = {
    "version": VERSION,
    "kind": CERTIFICATE,
    "reference": "CE-2345-6789",
    "request": {
        "reference": "ER-2345-6789",
        "type": "erasure",
        "requestedAt": "2026-01-01T00:00:00.000000Z",
        "coolingOffUntil": None,
        "completedAt": "2026-01-09T00:00:00.000000Z",
    },
    "issuedAt": "2026-01-09T00:00:00.000000Z",
    "subject": {
        "algorithm": "SHA-256(salt || identifier)",
        "identifierType": "email",
        "hash": subject_hash(SALT, "ada@example.org"),
    },
    "systems": [
        {
            "name": "shop",
            "title": "Shop <b>One</b>",
            "kind": "sql",
            "retained": [{"collection": "invoice", "records": 2, "basis": "A law", "until": "2036-01-01"}],
            "erased": {"state": "done", "code": "ERASED", "at": None, "records": {"visit": 1, "invoice": 2}},
            "verified": {"state": "done", "code": "NOTHING_LEFT", "at": None, "records": {}},
        }
    ],
    "notScanned": [{"what": "backups", "why": "Replaced in time."}],
}


def signed(signer: Signer) -> bytes:
    """The certificate with the proof of its entry: the only one of its log."""
    hashed = hashlib.sha256(canonical(DOCUMENT)).hexdigest()
    entry = {
        "object": {"type": "Certificate", "id": None},
        "details": {"reference": DOCUMENT["reference"], "sha256": hashed},
    }
    head = {"kind": "cdp.audit-head", "version": 1, "size": 1, "time": "2026-01-09T00:00:00.000000Z", "previous": None}
    head["root"] = leaf_hash(canonical(entry)).hex()
    log = {"entry": entry, "index": 0, "path": [], "head": signer.sign(head)}
    return canonical(signer.sign({**DOCUMENT, "log": log}))


@pytest.fixture
def certificate(platform) -> bytes:
    return signed(platform.signer)


async def check(app, *, file: bytes | None = None, **fields: str) -> httpx.Response:
    async with visitor(app) as stranger:
        csrf = forms(await stranger.get("/verify"))["/verify"]["csrf"]
        upload = {"file": ("certificate.json", file or b"", "application/json")}
        return await stranger.post("/verify", data={"csrf": csrf, **fields}, files=upload)


@pytest.mark.parametrize("how", ["uploaded", "pasted"])
async def test_a_genuine_certificate_is_accepted_and_read_out(app, certificate, how):
    given = {"file": certificate} if how == "uploaded" else {"pasted": f"\r\n {certificate.decode()}\r\n"}
    answer = await check(app, **given)
    assert answer.status_code == 200
    assert "This certificate is genuine" in answer.text
    assert "Shop &lt;b&gt;One&lt;/b&gt;" in answer.text
    assert "2 invoices" in answer.text
    assert "A law, until 1 January 2036" in answer.text
    assert "Entry 1, under the signed head of 1 entry from 9 January 2026" in answer.text


async def test_one_changed_letter_is_seen(app, certificate):
    for at in range(0, len(certificate), 97):
        altered = certificate[:at] + bytes([certificate[at] ^ 1]) + certificate[at + 1 :]
        answer = await check(app, file=altered)
        assert "is genuine" not in answer.text, altered[at - 10 : at + 10]
        assert answer.status_code == 200


async def test_another_spelling_of_the_same_is_not_what_was_issued(app, certificate):
    answer = await check(app, pasted=json.dumps(json.loads(certificate), indent=1))
    assert "The bytes are not the ones that were issued." in answer.text


async def test_a_signer_we_do_not_know_is_not_us(app, tmp_path: Path):
    forged = signed(Signer(KeyStore(tmp_path)))
    assert "We did not sign this" in (await check(app, file=forged)).text


@pytest.mark.parametrize("given", ["[]", "1", "null", "{", '{"kind": 1}', "[" * 5000, "\x00", "<svg onload=x>"])
async def test_what_is_no_certificate_is_said_to_be_none(app, given):
    answer = await check(app, pasted=given)
    assert answer.status_code == 200 if given.strip("\x00") else 422
    assert "is genuine" not in answer.text
    assert "<svg" not in answer.text


async def test_bytes_that_are_no_text_are_no_certificate(app):
    assert "This document is not genuine" in (await check(app, file=bytes(range(256)))).text


async def test_nothing_given_is_asked_for(app):
    answer = await check(app)
    assert answer.status_code == 422
    assert title(answer).startswith("Error: ")


async def test_a_file_too_large_is_refused(app):
    assert (await check(app, file=b"x" * 600 * 1024)).status_code == 413


@pytest.mark.parametrize(
    ("identifier", "salt", "words"),
    [
        ("Ada@Example.org", SALT, "It is about who has this identifier."),
        ("bob@example.org", SALT, "It is not about who has this identifier"),
        ("ada@example.org", "cd" * 16, "It is not about who has this identifier"),
        ("ada@example.org", "no salt", "It is not about who has this identifier"),
    ],
)
async def test_whose_it_is_can_be_checked_by_who_has_the_salt(app, certificate, identifier, salt, words):
    assert words in (await check(app, file=certificate, identifier=identifier, salt=salt)).text


async def test_a_form_from_elsewhere_is_refused(app, certificate):
    async with visitor(app) as stranger:
        assert (await stranger.post("/verify", data={"pasted": certificate.decode()})).status_code == 403


async def test_our_public_keys_are_for_everybody(app, platform):
    async with visitor(app) as stranger:
        answer = await stranger.get("/.well-known/cdp-signing-keys")
    assert platform.signer.keys().items() <= answer.json()["keys"].items()
    assert answer.headers["access-control-allow-origin"] == "*"
