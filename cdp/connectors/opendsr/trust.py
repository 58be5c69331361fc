"""Whether an answer is the processor's: its certificate against authorities, its signature over the raw body.

OpenDSR 2.0 names neither padding nor hash beyond SHA-256 and FIPS 186-4; processors use RSA PKCS#1 v1.5, and so do we.
Source: the security part of https://github.com/opengdpr/OpenDSR; path validation, https://www.rfc-editor.org/rfc/rfc5280
"""

import binascii
import ssl
import warnings
from base64 import b64decode
from contextlib import suppress
from datetime import datetime
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import Certificate, DNSName, load_der_x509_certificate, load_pem_x509_certificates
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from cdp.core.http import Answer

MIN_KEY_BITS = 2048


class CertificateRefused(ValueError):
    """The certificate is not one, is self-signed, expired, of another domain, or of an authority nobody trusts."""


class SignatureRefused(ValueError):
    """The answer carries no signature of the certificate's key over its body."""


def authorities_in(pem: str) -> list[Certificate]:
    """The certificates of a PEM text; this machine's authorities if it is empty. Raises ValueError."""
    if pem:
        return load_pem_x509_certificates(pem.encode())
    return list(_of_this_machine())


@cache
def _of_this_machine() -> tuple[Certificate, ...]:
    """Authorities the machine trusts; those that break RFC 5280 (old ones number themselves zero) are left out."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        for one in ssl.create_default_context().get_ca_certs(binary_form=True):
            with suppress(ValueError, CryptographyDeprecationWarning):
                found.append(load_der_x509_certificate(one))
    return tuple(found)


def checked_key(pem: bytes, authorities: list[Certificate], domain: str, now: datetime) -> RSAPublicKey:
    """The public key of a domain's certificate, once everything about it holds. Raises CertificateRefused."""
    try:
        leaf, *others = load_pem_x509_certificates(pem)
        verifier = PolicyBuilder().store(Store(authorities)).time(now).build_server_verifier(DNSName(domain))
        verifier.verify(leaf, others)
        key = leaf.public_key()
    except (ValueError, VerificationError) as error:
        raise CertificateRefused from error
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise CertificateRefused
    return key


def require_signature(answer: Answer, key: RSAPublicKey, domain: str) -> None:
    """Check the headers against the raw body, before anything of it is read. Raises SignatureRefused."""
    if answer.headers.get("x-opendsr-processor-domain", "").lower() != domain.lower():
        raise SignatureRefused
    try:
        signature = b64decode(answer.headers.get("x-opendsr-signature", ""), validate=True)
        key.verify(signature, answer.body, PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise SignatureRefused from error
