"""Fixtures of the canary."""

from tests.engine import engine

__all__ = ["engine"]
