"""A processor that speaks OpenDSR 2.0, written from the specification, with a certificate authority of its own.

``mode`` makes it misbehave in one way; ``pace`` is how often a request is asked after before it is completed.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.connectors.serving import Call, Raw, answer, hang, serving

DOMAIN = "opendsr.processor.example"
KEY = "an agreed key"
NOW = datetime.now(UTC)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key for a name; 2048 bits, because 4096 take seconds to make."""
    del name
    return rsa.generate_private_key(65537, 2048)


def certificate(
    issuer: str,
    *,
    domain: str = DOMAIN,
    days: tuple[int, int] = (-1, 30),
    key: str = "leaf",
) -> x509.Certificate:
    """A certificate of a domain, issued by a named authority; an authority's own if the domain is its name."""
    is_authority = domain == issuer
    public = rsa_key(issuer if is_authority else key).public_key()
    signer = rsa_key(issuer)
    constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


@dataclass
class Request:
    """A request as the processor keeps it: nothing of the body but what it needs."""

    kind: str
    values: list[str]
    controller_id: str
    asked: int = 0
    status: str = "pending"
    found: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Processor:
    """What the processor holds and how it behaves."""

    people: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    base: str = ""
    mode: str = "honest"
    pace: int = 0
    extension: object = None
    certificate: str = field(default_factory=lambda: pem(certificate("authority")))
    signing_key: str = "leaf"
    types: list[str] = field(default_factory=lambda: ["access", "erasure"])
    answer: Raw | None = None
    opened: list[dict[str, Any]] = field(default_factory=list)

    async def respond(self, call: Call) -> Raw:
        if call.path == "/v2/certificate.pem":
            return answer(200, self.certificate.encode())
        if call.headers.get("x-api-key") != KEY:
            return answer(401, b"")
        if self.mode == "hanging":
            await hang()
        if self.answer is not None:
            return self.answer
        _, version, *rest = call.path.split("/")
        assert version == "v2"
        match call.method, rest:
            case "GET", ["discovery"]:
                return self._discovery()
            case "POST", ["requests"]:
                return self._open(call)
            case "GET", ["requests", name]:
                return self._standing(name)
            case "GET", ["results", name]:
                return answer(200, self.requests[name].found)
            case _:
                return answer(404, b"")

    def _discovery(self) -> Raw:
        where = (
            "http://127.0.0.1:9/cert.pem" if self.mode == "certificate_elsewhere" else f"{self.base}/v2/certificate.pem"
        )
        return answer(
            200,
            {
                "api_version": "2.0",
                "supported_identities": [
                    {"identity_type": "email", "identity_format": "sha256"},
                    {"identity_type": "controller_customer_id", "identity_format": "raw"},
                ],
                "supported_subject_request_types": self.types,
                "processor_certificate": where,
            },
        )

    def _open(self, call: Call) -> Raw:
        body = call.json
        name = body["subject_request_id"]
        assert name == name.lower()
        assert body["regulation"] == "gdpr"
        assert datetime.fromisoformat(body["submitted_time"]).tzinfo
        if name in self.requests:
            return answer(400, {"error": {"code": 400, "message": "This id was used"}})
        self.opened.append(body)
        values = [one["identity_value"] for one in body["subject_identities"]]
        self.requests[name] = Request(body["subject_request_type"], values, "platform")
        if self.mode == "dropping" and len(self.opened) == 1:
            return answer(500, b"the answer was lost")
        encoded = b"{}" if self.mode == "misreads" else call.body
        return self._signed(
            201,
            {
                "controller_id": "platform",
                "expected_completion_time": "2026-12-01T00:00:00Z",
                "received_time": "2026-11-01T00:00:00Z",
                "encoded_request": base64.b64encode(encoded).decode(),
                "subject_request_id": name,
            },
        )

    def _standing(self, name: str) -> Raw:
        request = self.requests.get(name)
        if request is None:
            return answer(404, {"error": {"code": 404}})
        request.asked += 1
        if request.asked > self.pace and request.status == "pending":
            self._carry_out(request)
        said: dict[str, Any] = {
            "controller_id": "somebody else" if self.mode == "another" else request.controller_id,
            "expected_completion_time": "2026-12-01T00:00:00Z",
            "subject_request_id": name,
            "request_status": request.status,
        }
        if request.kind == "access" and request.status == "completed":
            said["results_count"] = len(request.found) + (1 if self.mode == "miscounts" else 0)
            there = "http://127.0.0.1:9" if self.mode == "results_elsewhere" else self.base
            said["results_url"] = f"{there}/v2/results/{name}"
            if self.mode == "counts_nothing":
                del said["results_count"]
        if self.extension is not None and request.kind == "erasure":
            said["extensions"] = {DOMAIN: self.extension}
        return self._signed(200, said)

    def _carry_out(self, request: Request) -> None:
        request.status = "cancelled" if self.mode == "cancels" else "completed"
        request.found = [row for value in request.values for row in self.people.get(value, [])]
        if request.kind == "erasure" and self.mode not in {"deletes_nothing", "cancels"} and self.extension is None:
            for value in request.values:
                self.people.pop(value, None)

    def _signed(self, status: int, value: object) -> Raw:
        body = json.dumps(value).encode()
        signature = base64.b64encode(rsa_key(self.signing_key).sign(body, padding.PKCS1v15(), hashes.SHA256()))
        headers = {"x-opendsr-processor-domain": DOMAIN, "x-opendsr-signature": signature.decode()}
        match self.mode:
            case "unsigned":
                headers = {}
            case "wrong_domain":
                headers["x-opendsr-processor-domain"] = "another.example"
            case "garbled":
                headers["x-opendsr-signature"] = "not base64!"
            case "changed":
                body = body.replace(b"}", b" }")
        return answer(status, body, **headers)


@contextmanager
def served_processor() -> Iterator[Processor]:
    """Serve a processor for the length of the block."""
    processor = Processor()
    with serving(processor.respond) as base:
        processor.base = base
        yield processor
