"""The one statement that judges customers: which cohort takes them, or the one reason why they do not go.

It reads the deal's terms from the deal itself and looks at each table once, whatever the number of customers. Selected
is whoever the brand knows: customers of the brand, and customers of another from whom it collected something. Reasons
apply in the order of ``ExclusionReason``; the first that fits is the one. A minor is whoever has the preference
``minor`` set to true; duplicates that nobody merged are customers with the same proven e-mail address or number; a
partner's are customers of whom every record of the brand came from one of the deal's partner sources. Sold are those
whom another deal of the brand has frozen or handed over, unless it was recalled or they objected to it.
"""

from cdp.operations.merging.duplicates import TWINS

# Customers, their orders and what became of them under the sold brand alone; everything else is looked at as a whole.
_JUDGED = """
WITH deal AS MATERIALIZED (SELECT * FROM transfer WHERE id = :transfer_id),
touched AS (
  SELECT c.customer_id,
         bool_or(c.brand_id = d.brand_id) AS in_brand,
         bool_or(c.brand_id = d.brand_id AND (d.sources = '{{}}' OR c.source = ANY (d.sources))) AS in_scope,
         bool_or(c.brand_id <> d.brand_id) AS elsewhere,
         coalesce(bool_and(c.source = ANY (d.partner_sources)) FILTER (WHERE c.brand_id = d.brand_id), false)
           AS of_partner,
         max(c.collected_at) AS collected_at
    FROM collection c CROSS JOIN deal d GROUP BY c.customer_id
),
erasing AS (
  SELECT DISTINCT customer_id FROM privacy_request
   WHERE type = 'erasure' AND status NOT IN ('completed', 'cancelled', 'refused', 'failed')
     AND customer_id IS NOT NULL
),
listed AS (SELECT DISTINCT unnest(CAST(:suppressed AS uuid[])) AS customer_id),
held AS (
  SELECT DISTINCT customer_id FROM legal_hold
   WHERE status IN ('proposed', 'active', 'releasing') AND customer_id IS NOT NULL
),
minors AS (SELECT customer_id FROM preference WHERE key = 'minor' AND value = 'true'),
twins AS ({twins}),
sold AS (
  SELECT DISTINCT m.customer_id
    FROM transfer s JOIN deal d ON d.brand_id = s.brand_id AND d.id <> s.id
    JOIN transfer_customer m ON m.transfer_id = s.id
   WHERE m.customer_id IS NOT NULL AND m.removed_at IS NULL
     AND s.status IN ('frozen', 'approved', 'packaging', 'delivering', 'completed')
     AND CASE s.status WHEN 'completed' THEN m.stopped_at IS NOT NULL
                       ELSE m.cohort_id IS NOT NULL AND m.objected_at IS NULL END
),
reachable AS (SELECT DISTINCT customer_id FROM email_address),
bought AS (
  SELECT o.customer_id, bool_or(o.status IN ('open', 'confirmed', 'shipped')) AS running, max(o.placed_at) AS placed_at
    FROM sales_order o JOIN collection c ON c.id = o.collection_id JOIN deal d ON d.brand_id = c.brand_id
   WHERE o.customer_id IS NOT NULL GROUP BY o.customer_id
),
asked AS (
  SELECT customer_id FROM inquiry WHERE status = 'open'
   UNION SELECT customer_id FROM quotation WHERE status IN ('requested', 'sent')
),
permitted AS (SELECT p.id FROM policy_version p, deal d WHERE d.reviews -> p.version = 'true'),
accepted AS (
  SELECT DISTINCT ON (customer_id) customer_id, policy_version_id FROM policy_acceptance
   WHERE decision = 'accepted' ORDER BY customer_id, decided_at DESC, id DESC
),
cohorts AS (SELECT k.* FROM transfer_cohort k JOIN deal d ON d.id = k.transfer_id),{told}
fitting AS MATERIALIZED (
  SELECT kind, k.id, k.basis, k.purpose
    FROM unnest(ARRAY['running_contract', 'ended_contract', 'prospect', 'nothing']) AS kind
    JOIN LATERAL (
      SELECT * FROM cohorts WHERE rule IN ('everybody', kind) ORDER BY ordinal LIMIT 1) k ON true
),
decided AS (
  SELECT DISTINCT ON (customer_id, purpose, channel) customer_id, purpose, action FROM consent
   WHERE purpose IN (SELECT purpose FROM cohorts WHERE basis = 'opt_in')
   ORDER BY customer_id, purpose, channel, recorded_at DESC, id DESC
),
agreed AS (SELECT DISTINCT customer_id, purpose FROM decided WHERE action = 'given'),
against AS (
  SELECT DISTINCT customer_id, purpose FROM objection WHERE status <> 'refused' AND customer_id IS NOT NULL
),
judged AS (
  SELECT u.id AS customer_id, u.audit_ref, f.id AS cohort_id, coalesce(t.elsewhere, false) AS is_shared,
    CASE
      WHEN NOT coalesce(t.in_scope, false) THEN 'not_in_brand'
      WHEN u.status = 'frozen' OR erasing.customer_id IS NOT NULL THEN 'erasure'
      WHEN listed.customer_id IS NOT NULL THEN 'suppressed'
      WHEN u.restricted_at IS NOT NULL THEN 'restricted'
      WHEN held.customer_id IS NOT NULL THEN 'held'
      WHEN minors.customer_id IS NOT NULL THEN 'minor'
      WHEN t.of_partner THEN 'partner_owned'
      WHEN sold.customer_id IS NOT NULL THEN 'already_sold'
      WHEN twins.customer_id IS NOT NULL THEN 'unresolved_merge'
      WHEN against.customer_id IS NOT NULL THEN 'objected'
      WHEN permitted.id IS NULL THEN 'policy_forbids'
      WHEN f.id IS NULL {ended} THEN 'no_basis'
      WHEN {of}.basis = 'opt_in' AND agreed.customer_id IS NULL THEN 'no_consent'
      WHEN d.inactive_days IS NOT NULL AND greatest(t.collected_at, bought.placed_at, account.last_sign_in_at)
           < now() - make_interval(days => d.inactive_days) THEN 'inactive'
      WHEN d.bounce = 'exclude' AND reachable.customer_id IS NULL THEN 'undeliverable_notice'
    END AS reason
  FROM customer u CROSS JOIN deal d
  LEFT JOIN touched t ON t.customer_id = u.id
  LEFT JOIN erasing ON erasing.customer_id = u.id
  LEFT JOIN listed ON listed.customer_id = u.id
  LEFT JOIN held ON held.customer_id = u.id
  LEFT JOIN minors ON minors.customer_id = u.id
  LEFT JOIN twins ON twins.customer_id = u.id
  LEFT JOIN sold ON sold.customer_id = u.id
  LEFT JOIN reachable ON reachable.customer_id = u.id
  LEFT JOIN bought ON bought.customer_id = u.id
  LEFT JOIN asked ON asked.customer_id = u.id
  LEFT JOIN account ON account.customer_id = u.id
  LEFT JOIN accepted ON accepted.customer_id = u.id
  LEFT JOIN collection origin ON origin.id = u.collection_id
  LEFT JOIN permitted ON permitted.id = coalesce(accepted.policy_version_id, origin.policy_version_id)
  LEFT JOIN fitting f ON f.kind = CASE
    WHEN bought.running THEN 'running_contract'
    WHEN bought.customer_id IS NOT NULL THEN 'ended_contract'
    WHEN asked.customer_id IS NOT NULL THEN 'prospect'
    ELSE 'nothing' END
  {join}
  LEFT JOIN agreed ON agreed.customer_id = u.id AND agreed.purpose = {of}.purpose
  LEFT JOIN against ON against.customer_id = u.id AND against.purpose = {of}.purpose
  WHERE u.brand_id = d.brand_id OR t.in_brand
)
"""
JUDGED = _JUDGED.format(twins=TWINS, of="f", told="", join="", ended="")
# Again: by the cohort that people were told they are in, not by the one that fits now. They do not change into another;
# and a contract that has ended meanwhile can be assumed by nobody.
JUDGED_AGAIN = _JUDGED.format(
    twins=TWINS,
    of="told",
    told="""
told AS (SELECT m.customer_id, k.* FROM transfer_customer m JOIN cohorts k ON k.id = m.cohort_id),""",
    join="LEFT JOIN told ON told.customer_id = u.id",
    ended="OR told.basis = 'contract_assumption' AND told.rule = 'running_contract' AND bought.running IS NOT TRUE",
)
# A UUID of version 8: SHA-256 over the deal's salt and who it is in the log. ``digest`` is the first half of that.
_NAME = """encode(set_byte(set_byte(digest, 6, (get_byte(digest, 6) & 15) | 128), 8, (get_byte(digest, 8) & 63) | 128),
              'hex')::uuid"""
# Without OFFSET names would be made twice. In their customers' order, rows and what they refer to lie together.
_NAMED = f"""
INSERT INTO transfer_customer (id, customer_id, subject_ref, transfer_id, cohort_id, reason, is_shared)
{JUDGED}, hashed AS (
  SELECT j.*, substr(sha256(d.salt || uuid_send(j.audit_ref)), 1, 16) AS digest FROM judged j CROSS JOIN deal d
),
named AS (SELECT *, {_NAME} AS id FROM hashed OFFSET 0)
SELECT id, customer_id, audit_ref, :transfer_id, CASE WHEN reason IS NULL THEN cohort_id END, reason, is_shared
  FROM named"""  # noqa: S608  # constants of this module
CLASSIFY = f"{_NAMED} ORDER BY customer_id"
# Where some of the deal's people stayed. Its row is locked, so nobody else writes them: asking once who is there costs
# less than a conflict that is looked for row by row.
CLASSIFY_OTHERS = f"""{_NAMED}
 WHERE NOT EXISTS (SELECT 1 FROM transfer_customer k WHERE k.transfer_id = :transfer_id AND k.id = named.id)
 ORDER BY customer_id"""  # noqa: S608  # constants of this module
# Who no longer may go, of those who were to.
RECHECK = f"""
UPDATE transfer_customer m SET cohort_id = NULL, reason = j.reason
  FROM ({JUDGED_AGAIN} SELECT customer_id, reason FROM judged WHERE reason IS NOT NULL) j
 WHERE m.transfer_id = :transfer_id AND m.cohort_id IS NOT NULL AND m.customer_id = j.customer_id"""  # noqa: S608
# Who objected or is gone; before the freeze that takes them out of the deal.
WITHDRAWN = """
UPDATE transfer_customer
   SET cohort_id = NULL, reason = CASE WHEN customer_id IS NULL THEN 'erasure' ELSE 'objected' END
 WHERE transfer_id = :transfer_id AND cohort_id IS NOT NULL AND (customer_id IS NULL OR objected_at IS NOT NULL)"""
# Rows that are not of the person whose name they carry. Without OFFSET a digest would be made for each of its uses.
STRANGE = f"""
SELECT count(*) FROM (
  SELECT m.id, m.customer_id, m.subject_ref, substr(sha256(d.salt || uuid_send(m.subject_ref)), 1, 16) AS digest
    FROM transfer_customer m JOIN transfer d ON d.id = m.transfer_id WHERE m.transfer_id = :transfer_id OFFSET 0) m
  LEFT JOIN customer u ON u.id = m.customer_id
 WHERE m.id <> {_NAME} OR (m.customer_id IS NOT NULL AND u.audit_ref <> m.subject_ref)"""  # noqa: S608
