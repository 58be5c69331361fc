"""Names and forms of the audit log as others check it; described in docs/audit-log.md. Imports nothing heavy."""

HEAD = "cdp.audit-head"
LOG = "cdp.audit-log"
VERSION = 1
HEAD_FIELDS = frozenset({"kind", "version", "size", "root", "time", "previous", "signature"})
