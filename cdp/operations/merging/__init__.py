"""Duplicate customers: find them, merge two records into one by a ledger, and take them apart again."""
