"""Secrets at rest: what is sealed under which master key, and how it moves to another."""
