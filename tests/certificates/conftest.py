"""Fixtures of the request engine."""

from tests.engine import engine, lasting_engine

__all__ = ["engine", "lasting_engine"]
