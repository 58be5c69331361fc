"""What our answers are signed with: an RSA key of 4096 bits, and the certificate that names our domain.

Both come from settings. Where they name none, a development authority of our own issues one: it says so in its name, is
forgotten at once, and its certificate lies in the state folder for whoever wants to trust it. Production has none.
Source: OpenDSR 2.0 names neither padding nor key size; its sample is 512 bytes long: RSA-4096, PKCS #1 v1.5, SHA-256.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cdp.core.db import Database
from cdp.core.errors import InvalidInput, Unavailable
from cdp.core.platform import Platform
from cdp.core.settings import Environment, Settings

KEY_BITS = 4096
DEVELOPMENT_KEY = "opendsr-development"
DEVELOPMENT_AUTHORITY = "CDP development authority, not for production"
DEVELOPMENT_LIFE = timedelta(days=3650)
AUTHORITY_FILE = "opendsr-development-authority.pem"
_SPLIT = b"-----BEGIN CERTIFICATE-----"


class NotServed(Unavailable):
    """OpenDSR is not served here: CDP_OPENDSR_CERTIFICATE_FILE and CDP_OPENDSR_KEY_FILE name nothing."""

    code = "OPENDSR_NOT_SERVED"


class CertificateUnfit(InvalidInput):
    """The certificate or key of OpenDSR does not fit."""

    code = "OPENDSR_CERTIFICATE_UNFIT"


@dataclass(frozen=True)
class Signature:
    """Signs answers in the name of a domain; ``chain`` is its certificate and those above it, PEM."""

    domain: str
    chain: bytes
    key: RSAPrivateKey = field(repr=False)

    def headers(self, body: bytes, *, is_older: bool) -> Mapping[str, str]:
        """The headers of an answer or a callback; who calls by the older name gets the older ones too."""
        value = b64encode(self.key.sign(body, PKCS1v15(), hashes.SHA256())).decode()
        names = ("OpenDSR", "OpenGDPR") if is_older else ("OpenDSR",)
        said = {f"X-{name}-Processor-Domain": self.domain for name in names}
        return said | {f"X-{name}-Signature": value for name in names}


def domain_of(settings: Settings) -> str:
    """The domain we are the processor of."""
    return (settings.opendsr_domain or str(urlsplit(settings.url).hostname)).lower()


_open: WeakKeyDictionary[Database, Signature] = WeakKeyDictionary()


async def signature_of(platform: Platform) -> Signature:
    """The signature of a platform, read once a process. Raises NotServed, CertificateUnfit."""
    found = _open.get(platform.db)
    if found is None:
        found = _open[platform.db] = await asyncio.to_thread(_read, platform)
    return found


def _read(platform: Platform) -> Signature:
    settings, domain = platform.settings, domain_of(platform.settings)
    certificate, key = settings.opendsr_certificate_file, settings.opendsr_key_file
    if certificate is not None and key is not None:
        return fitting(certificate.read_bytes(), key.read_bytes(), domain)
    if settings.env is Environment.PRODUCTION or certificate is not None or key is not None:
        raise NotServed
    return _development(platform, domain)


def fitting(chain: bytes, key: bytes, domain: str) -> Signature:
    """A certificate and a key that belong together and to the domain. Raises CertificateUnfit."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        private = load_pem_private_key(key, None)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        domains = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except (ValueError, TypeError, IndexError, x509.ExtensionNotFound) as error:
        raise CertificateUnfit from error
    if not isinstance(private, RSAPrivateKey) or private.key_size < KEY_BITS:
        raise CertificateUnfit("The key of OpenDSR is RSA of 4096 bits.")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise CertificateUnfit("The certificate of OpenDSR is of another key.")
    if leaf.issuer == leaf.subject or domain not in domains:
        raise CertificateUnfit("The certificate of OpenDSR is issued by an authority, for CDP_OPENDSR_DOMAIN.")
    return Signature(domain, chain, private)


def _development(platform: Platform, domain: str) -> Signature:
    """The key and certificate this machine made for a domain; made now, whole, if there are none yet."""
    name = f"{DEVELOPMENT_KEY}-{domain}"
    if not platform.keys.exists(name):
        platform.keys.create(name, _made(domain, platform.clock()))
    key, *certificates = platform.keys.get(name).split(_SPLIT)
    leaf, authority = (_SPLIT + one for one in certificates)
    folder = platform.settings.state_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / AUTHORITY_FILE).write_bytes(authority)
    return fitting(leaf, key, domain)


def _made(domain: str, now: datetime) -> bytes:
    """A key, its certificate, and the certificate of the authority, whose key nobody keeps."""
    key = generate_private_key(65537, KEY_BITS)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DEVELOPMENT_AUTHORITY)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    named = x509.SubjectAlternativeName([x509.DNSName(domain)])
    leaf = _builder(subject, issuer, now).public_key(key.public_key()).add_extension(named, critical=False)
    above = _builder(issuer, issuer, now).public_key(authority.public_key())
    made = [
        _completed(leaf, key, authority, is_authority=False).add_extension(server, critical=False),
        _completed(above, authority, authority, is_authority=True),
    ]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + b"".join(one.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM) for one in made)


def _builder(subject: x509.Name, issuer: x509.Name, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + DEVELOPMENT_LIFE)
    )


def _completed(
    builder: x509.CertificateBuilder,
    key: RSAPrivateKey | ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.CertificateBuilder:
    """What path validation demands (RFC 5280)."""
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    signs = {"digital_signature": not is_authority, "key_cert_sign": is_authority, "crl_sign": is_authority}
    usage = x509.KeyUsage(**dict.fromkeys(unused, False), **signs, encipher_only=False, decipher_only=False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
    )
