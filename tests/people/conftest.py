"""Fixtures of the request engine."""

from tests.engine import engine

__all__ = ["engine"]
