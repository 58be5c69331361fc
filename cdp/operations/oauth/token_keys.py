"""The RSA keys that sign tokens, in the key store; the newest signs, older ones are accepted while a token may live.

Sources: RFC 7517 (JWK), RFC 7638 (a key's id is its thumbprint), RFC 8725 (one algorithm, decided by us and not by the
token).
"""

import time
from collections.abc import Mapping
from itertools import pairwise

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet, RSAKey

from cdp.core.keys import KeyGone, KeyStore

ALGORITHM = "RS256"
PREFIX = "oauth-rs256-"
SIZE_BITS = 2048
RELOAD_EVERY_S = 60.0
RELOAD_AT_MOST_EVERY_S = 5.0

Claims = dict[str, object]


class TokenKeys:
    """Signs and checks tokens; notices within a minute that another process has rotated."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        if not store.names(PREFIX):
            store.create(f"{PREFIX}0001", _new_key())
        self._load()

    def _load(self) -> None:
        keys = []
        for name in reversed(self._store.names(PREFIX)):
            try:
                pem = self._store.get(name)
            except KeyGone:  # dropped by a rotation since the names were read
                continue
            keys.append(RSAKey.import_key(pem, {"use": "sig", "alg": ALGORITHM}))
        self._keys = KeySet(list(keys))
        self._signing = keys[0]
        self._loaded_at = time.monotonic()

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        """Sign with the newest key; ``typ`` keeps kinds of tokens apart (RFC 8725 section 3.11)."""
        self._reload_after(RELOAD_EVERY_S)
        header = {"alg": ALGORITHM, "kid": str(self._signing.kid), "typ": typ}
        return jwt.encode(header, dict(claims), self._signing, [ALGORITHM])

    def read(self, token: str) -> tuple[Mapping[str, object], Claims]:
        """Header and claims of a token whose signature is ours; says nothing about time or audience.

        Raises joserfc.errors.JoseError and ValueError.
        """
        try:
            found = jwt.decode(token, self._keys, [ALGORITHM])
        except InvalidKeyIdError:
            if not self._reload_after(RELOAD_AT_MOST_EVERY_S):
                raise
            found = jwt.decode(token, self._keys, [ALGORITHM])
        return found.header, found.claims

    def public(self) -> Mapping[str, object]:
        """The JWK set that others check our tokens with."""
        self._reload_after(RELOAD_EVERY_S)
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    @property
    def key_set(self) -> KeySet:
        """The keys as Authlib takes them."""
        return self._keys

    @property
    def signing(self) -> RSAKey:
        """The key that signs."""
        return self._signing

    def rotate(self, *, life_s: float) -> None:
        """Make a new signing key, and drop those whose last token has ended; tokens live for ``life_s``.

        A key signs until every process has met the next one, so it is kept for that long after the next one was made.
        """
        names = self._store.names(PREFIX)
        number = int(names[-1].removeprefix(PREFIX)) + 1
        self._store.create(f"{PREFIX}{number:04}", _new_key())
        needed_since = time.time() - life_s - 2 * RELOAD_EVERY_S
        for name, following in pairwise(names):
            if self._store.made_at(following) < needed_since:
                self._store.destroy(name)
        self._load()

    def _reload_after(self, age_s: float) -> bool:
        if time.monotonic() - self._loaded_at < age_s:
            return False
        self._load()
        return True


def _new_key() -> bytes:
    return RSAKey.generate_key(SIZE_BITS).as_pem(private=True)
