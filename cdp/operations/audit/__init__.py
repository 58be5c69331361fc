"""Audit: who did what to whom, written in the transaction of what it records, and the tree that proves it whole."""

from cdp.operations.audit.events import Note, record, record_refusal, refusing

__all__ = ["Note", "record", "record_refusal", "refusing"]
