"""Fixtures of the residual pass."""

from tests.engine import engine

__all__ = ["engine"]
