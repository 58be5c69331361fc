"""Bulk exports: kicked off, approved, made in parts from one snapshot, signed, fetched, continued, forgotten."""
