"""Fixtures of merges."""

from tests.engine import engine
from tests.merging.desk import desk

__all__ = ["desk", "engine"]
