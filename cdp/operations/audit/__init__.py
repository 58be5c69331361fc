"""Audit: who did what to whom, written in the transaction of what it records, and the tree that proves it whole."""

from cdp.operations.audit.events import Happened, Note, record, record_many, record_refusal, refusing

__all__ = ["Happened", "Note", "record", "record_many", "record_refusal", "refusing"]
