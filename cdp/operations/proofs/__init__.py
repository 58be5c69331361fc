"""What anybody can check of the audit log offline, written from docs/audit-log.md. Imports nothing heavy."""
