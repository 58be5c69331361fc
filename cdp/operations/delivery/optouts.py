"""The opt-outs of living customers, for an acquirer to honour whoever it got them from: keyed hashes, no addresses.

The key is fresh in every file and travels inside it, so that the acquirer can look up the addresses it has, and nobody
can compare the lists of two deals. Everybody in the scope of a deal is on it who said no to something: also those who
do not go. Source: California AB 1824; GDPR art. 5(1)(c), 21(3).
"""

import json
import secrets

from cdp.core.sign import encode
from cdp.operations.bulk.pseudonyms import padded

KEY_BYTES = 32
MESSAGE = "kind:value, value normalised as kind says: email in lower case, phone as E.164"
QUERY = """
WITH scope AS (
    SELECT customer_id FROM transfer_customer WHERE transfer_id = $1 AND customer_id IS NOT NULL
), newest AS (
    SELECT DISTINCT ON (s.customer_id, s.purpose, s.channel) s.customer_id, s.purpose, s.channel, s.action
      FROM consent s JOIN collection k ON k.id = s.collection_id AND k.brand_id = $2
     WHERE s.customer_id IN (SELECT customer_id FROM scope)
     ORDER BY s.customer_id, s.purpose, s.channel, s.recorded_at DESC, s.id DESC
), said AS (
    SELECT customer_id, purpose || '/' || channel AS against FROM newest WHERE action = 'withdrawn'
     UNION
    SELECT customer_id, purpose FROM objection
     WHERE status <> 'refused' AND customer_id IN (SELECT customer_id FROM scope)
     UNION
    SELECT customer_id, 'transfer' FROM transfer_customer
     WHERE transfer_id = $1 AND objected_at IS NOT NULL AND customer_id IS NOT NULL
), known AS (
    SELECT customer_id, 'email' AS kind, normalized AS value, collection_id FROM email_address
     UNION
    SELECT customer_id, 'phone', e164, collection_id FROM phone_number WHERE e164 IS NOT NULL
), hashed AS (
    SELECT kind, against,
           encode(sha256($4::bytea || sha256($3::bytea || convert_to(kind || ':' || value, 'UTF8'))), 'hex') AS hash
      FROM said JOIN known USING (customer_id) JOIN collection k ON k.id = collection_id AND k.brand_id = $2
)
SELECT json_build_object('kind', kind, 'hash', hash, 'against', json_agg(DISTINCT against))
  FROM hashed GROUP BY kind, hash ORDER BY hash
"""


def fresh_key() -> bytes:
    """A key for one file."""
    return secrets.token_bytes(KEY_BYTES)


def header(key: bytes) -> bytes:
    """The first line of the list: how to look somebody up."""
    said = {"algorithm": "HMAC-SHA256", "key": encode(key), "message": MESSAGE, "output": "hexadecimal"}
    return json.dumps(said).encode() + b"\n"


def halves(key: bytes) -> tuple[bytes, bytes]:
    """The inner and outer key as the statement takes them (RFC 2104)."""
    inner, outer = padded(key)
    return bytes.fromhex(inner), bytes.fromhex(outer)
