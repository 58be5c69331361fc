"""Database roles, grants, and row-level security as the second wall.

Customers see and change only rows of the subject that the statement set; staff and workers see all rows, their wall is
the predicate the compiler writes. Roles belong to the cluster, so a downgrade takes their rights and leaves the roles.
"""

from alembic import op

revision = "c0d1a5e00002"
down_revision = "c0d1a5e00001"
branch_labels = None
depends_on = None

ROLES = ("cdp_customer", "cdp_staff", "cdp_worker")
SUBJECT = "nullif(current_setting('cdp.subject', true), '')::uuid"

# Every table with rows of one customer, and what a customer's own session may do to it beside reading.
BY_CUSTOMER = {
    "account": "UPDATE",
    "collection": "INSERT",
    "consent": "INSERT",
    "device": "",
    "email_address": "INSERT, UPDATE, DELETE",
    "event": "",
    "export": "INSERT, UPDATE",
    "identity": "INSERT, DELETE",
    "inquiry": "INSERT",
    "message": "INSERT",
    "oauth_code": None,
    "oauth_token": None,
    "phone_number": "INSERT, UPDATE, DELETE",
    "policy_acceptance": "INSERT",
    "postal_address": "INSERT, UPDATE, DELETE",
    "preference": "INSERT, UPDATE, DELETE",
    "privacy_request": "INSERT, UPDATE",
    "quotation": "",
    "request_task": "INSERT, UPDATE",
    "sales_order": "",
    "sales_order_item": "",
    "session": "UPDATE",
    "survey_response": "INSERT",
}
REFERENCE = ("brand", "policy_version", "purpose")
# Columns no session but the worker's may read.
SECRET = {
    "account": ("password_hash",),
    "privacy_request": ("identifiers_sealed", "secret_hash"),
    "session": ("token_hash",),
    "system": ("configuration", "secrets_sealed"),
}
STAFF_WRITES = {
    "collection": "INSERT",
    "consent": "INSERT",
    "customer": "UPDATE",
    "email_address": "INSERT, UPDATE, DELETE",
    "export": "INSERT, UPDATE",
    "identity": "INSERT, DELETE",
    "inquiry": "INSERT, UPDATE",
    "message": "INSERT",
    "phone_number": "INSERT, UPDATE, DELETE",
    "postal_address": "INSERT, UPDATE, DELETE",
    "preference": "INSERT, UPDATE, DELETE",
    "privacy_request": "INSERT, UPDATE",
    "quotation": "INSERT, UPDATE",
    "request_task": "INSERT, UPDATE",
}


def _select(table: str, role: str) -> None:
    if table not in SECRET:
        op.execute(f"GRANT SELECT ON {table} TO {role}")
        return
    hidden = ", ".join(f"'{name}'" for name in SECRET[table])
    op.execute(
        f"""DO $$ DECLARE names text; BEGIN
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
         WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ({hidden});
        EXECUTE format('GRANT SELECT (%s) ON {table} TO {role}', names); END $$"""
    )


def _policies(table: str, column: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY {table}_customer ON {table} TO cdp_customer USING ({column} = {SUBJECT}) WITH CHECK ({column} = {SUBJECT})"
    )
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def upgrade() -> None:
    """Create the roles where missing, then rights and policies table by table."""
    for role in ROLES:
        op.execute(
            # Asked first: who may not create roles is refused even for one that an administrator has made already.
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; "
            f"END IF; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        op.execute(f"GRANT {role} TO CURRENT_USER")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cdp_worker")
    op.execute("REVOKE ALL ON alembic_version FROM cdp_worker")
    for table, writes in BY_CUSTOMER.items():
        _policies(table, "customer_id")
        if writes is not None:
            _select(table, "cdp_customer")
            _select(table, "cdp_staff")
        if writes:
            op.execute(f"GRANT {writes} ON {table} TO cdp_customer")
    _policies("customer", "id")
    op.execute("GRANT SELECT, UPDATE ON customer TO cdp_customer")
    op.execute("GRANT SELECT ON customer TO cdp_staff")
    for table, writes in STAFF_WRITES.items():
        op.execute(f"GRANT {writes} ON {table} TO cdp_staff")
    for table in REFERENCE:
        op.execute(f"GRANT SELECT ON {table} TO cdp_customer, cdp_staff")
    for role in ("cdp_customer", "cdp_staff"):
        _select("system", role)
    op.execute("GRANT SELECT ON certificate, staff TO cdp_staff")
    op.execute("GRANT INSERT ON audit_event TO cdp_customer, cdp_staff")
    op.execute("GRANT SELECT ON audit_event, certificate TO cdp_customer")
    op.execute("GRANT SELECT ON audit_event TO cdp_staff")
    _reached("audit_event", "subject_ref IN (SELECT audit_ref FROM customer)", check="true")
    _reached("certificate", "request_id IN (SELECT id FROM privacy_request)", check="false")
    op.execute(
        "CREATE FUNCTION cdp_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME USING ERRCODE = '23001'; END $$"
    )
    for table, events in (
        ("audit_event", "UPDATE OR DELETE"),
        ("consent", "UPDATE"),
        ("certificate", "UPDATE OR DELETE"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION cdp_append_only()"
        )


def _reached(table: str, using: str, *, check: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_customer ON {table} FOR SELECT TO cdp_customer USING ({using})")
    op.execute(f"CREATE POLICY {table}_customer_insert ON {table} FOR INSERT TO cdp_customer WITH CHECK ({check})")
    op.execute(f"CREATE POLICY {table}_staff ON {table} TO cdp_staff USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY {table}_worker ON {table} TO cdp_worker USING (true) WITH CHECK (true)")


def downgrade() -> None:
    """Remove policies and rights; keep the cluster's roles."""
    for table in ("audit_event", "consent", "certificate"):
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION cdp_append_only()")
    for table in ("audit_event", "certificate"):
        op.execute(f"DROP POLICY {table}_customer_insert ON {table}")
    for table in (*BY_CUSTOMER, "customer", "audit_event", "certificate"):
        for name in ("customer", "staff", "worker"):
            op.execute(f"DROP POLICY {table}_{name} ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role in ROLES:
        op.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        op.execute(f"REVOKE ALL ON SCHEMA public FROM {role}")
