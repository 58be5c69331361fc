"""Some thousand customers with rows in every large table, made by the server itself."""

from uuid import UUID

from cdp.core.ids import CustomerId

SIZE = 4_000


def customer_id(number: int) -> CustomerId:
    """The id of one of the crowd."""
    return CustomerId(UUID(f"00000000-0001-7000-8000-{number:012d}"))


CROWD = f"""
INSERT INTO brand (id, code, name) VALUES ('00000000-0000-7000-8000-000000000001', 'crowd', 'Crowd');
INSERT INTO policy_version (id, version, title, body, body_sha256, effective_from)
  VALUES ('00000000-0000-7000-8000-000000000002', 'crowd', 'Policy', 'body', sha256('body'), '2026-01-01');
INSERT INTO purpose VALUES ('crowd', 'Crowd', 'For the crowd', 'consent', true);
CREATE TEMP TABLE n AS SELECT i, ('00000000-0001-7000-8000-' || lpad(i::text, 12, '0'))::uuid AS who,
  ('00000000-0002-7000-8000-' || lpad(i::text, 12, '0'))::uuid AS came,
  timestamptz '2025-01-01' + i * interval '1 minute' AS at FROM generate_series(1, {SIZE}) AS i;
INSERT INTO customer (id, kind, given_name, family_name, country, brand_id, audit_ref, collection_id, created_at)
  SELECT who, 'person', 'Given' || i, 'Family' || i % 700, 'DE', '00000000-0000-7000-8000-000000000001',
    gen_random_uuid(), came, at FROM n;
INSERT INTO collection (id, customer_id, point, source, collected_at, policy_version_id, brand_id)
  SELECT came, who, 'registration', 'web', at, '00000000-0000-7000-8000-000000000002',
    '00000000-0000-7000-8000-000000000001' FROM n;
INSERT INTO account (id, customer_id, collection_id, username)
  SELECT gen_random_uuid(), who, came, 'crowd' || i || '@example.org' FROM n;
INSERT INTO session (id, customer_id, account_id, token_hash, authenticated_at, expires_at)
  SELECT gen_random_uuid(), customer_id, id, sha256(id::text::bytea), now(), now() FROM account;
INSERT INTO identity (id, customer_id, collection_id, type, issuer, value)
  SELECT gen_random_uuid(), who, came, 'customer_number', 'crowd', 'C' || i FROM n;
INSERT INTO email_address (id, customer_id, collection_id, address, normalized, is_primary)
  SELECT gen_random_uuid(), who, came, 'Crowd' || i || '@example.org', 'crowd' || i || '@example.org', true FROM n;
INSERT INTO phone_number (id, customer_id, collection_id, number, e164)
  SELECT gen_random_uuid(), who, came, '030 ' || i, '+4930' || i FROM n;
INSERT INTO postal_address (id, customer_id, collection_id, kind, line1)
  SELECT gen_random_uuid(), who, came, 'home', 'Road ' || i FROM n;
INSERT INTO preference (id, customer_id, collection_id, key, value)
  SELECT gen_random_uuid(), who, came, k, 'true' FROM n, unnest(ARRAY['a', 'b']) AS k;
INSERT INTO consent (id, customer_id, collection_id, purpose, channel, action, wording)
  SELECT gen_random_uuid(), who, came, 'crowd', 'email', 'given', 'yes' FROM n, generate_series(1, 2);
INSERT INTO device (id, customer_id, collection_id, kind, first_seen_at, last_seen_at)
  SELECT gen_random_uuid(), who, came, 'mobile', at, at FROM n;
INSERT INTO event (id, customer_id, collection_id, type, occurred_at)
  SELECT gen_random_uuid(), who, came, 'page', at FROM n, generate_series(1, 3);
INSERT INTO inquiry (id, customer_id, collection_id, kind, subject, body, received_at)
  SELECT gen_random_uuid(), who, came, 'product', 'Ask', 'Body', at FROM n;
INSERT INTO quotation (id, customer_id, collection_id, number, status, currency, total, requested_at, respond_by)
  SELECT gen_random_uuid(), who, came, 'CQ' || i, 'sent', 'EUR', 5, at, at FROM n;
INSERT INTO survey_response (id, customer_id, collection_id, survey, answers, submitted_at)
  SELECT gen_random_uuid(), who, came, 'one', '{{}}', at FROM n;
INSERT INTO message (id, customer_id, purpose, template, recipient, subject, body)
  SELECT gen_random_uuid(), who, 'crowd', 'welcome', 'x@example.org', 'Hello', 'Body' FROM n;
INSERT INTO policy_acceptance (id, customer_id, collection_id, policy_version_id, decision, decided_at)
  SELECT gen_random_uuid(), who, came, '00000000-0000-7000-8000-000000000002', 'accepted', at FROM n;
INSERT INTO sales_order (id, customer_id, collection_id, number, status, placed_at, currency, total)
  SELECT gen_random_uuid(), who, came, 'CO' || i || '-' || k, 'completed', at + k * interval '1 day', 'EUR', k
  FROM n, generate_series(1, 5) AS k;
INSERT INTO sales_order_item (id, customer_id, collection_id, order_id, position, sku, title, quantity, unit_price)
  SELECT gen_random_uuid(), customer_id, collection_id, id, k, 'S', 'T', 1, 1
  FROM sales_order, generate_series(1, 2) AS k;
INSERT INTO privacy_request (id, customer_id, reference, type, status, subject_ref, channel, due_at)
  SELECT gen_random_uuid(), who, 'CR' || i, 'access', 'completed', gen_random_uuid(), 'account', at FROM n;
INSERT INTO system (id, name, title, kind) VALUES ('00000000-0000-7000-8000-000000000003', 'crowd', 'Crowd', 'sql');
INSERT INTO request_task (id, customer_id, request_id, system_id, step, status)
  SELECT gen_random_uuid(), customer_id, id, '00000000-0000-7000-8000-000000000003', 'read', 'done'
  FROM privacy_request;
INSERT INTO export (id, customer_id, request_id, reference, status)
  SELECT gen_random_uuid(), customer_id, id, 'CE' || left(reference, 18), 'expired' FROM privacy_request;
INSERT INTO audit_event (id, occurred_at, action, outcome, actor_kind, subject_ref)
  SELECT gen_random_uuid(), at + k * interval '1 day', 'customer.read', 'ok', 'staff', audit_ref
  FROM n, customer, generate_series(1, 2) AS k WHERE customer.id = who;
INSERT INTO audit_note (id, customer_id, event_id, salt, text)
  SELECT gen_random_uuid(), customer.id, audit_event.id, 'salt', 'Case'
  FROM audit_event, customer WHERE customer.audit_ref = subject_ref;
DROP TABLE n;
"""
